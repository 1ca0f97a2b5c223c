"""Worker processes on this machine, which a study starts and ends itself."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

import dask
import psutil
from distributed import Client, Nanny, Scheduler, Security, SpecCluster

from pneumo_core.errors import WorkerError
from tuning.usage import private_memory_bytes
from tuning.workers.resources import environments, gpus_here
from tuning.workers.roster import Member
from tuning.workers.source import silence_dask

_CONFIGURATION = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-ttl": None,  # a worker may hold its interpreter for minutes; the timeout is ours
    "distributed.admin.tick.limit": "1h",  # and needs no warning about it
    "distributed.comm.retry.count": 0,
    "distributed.worker.profile.enabled": False,  # it would look at every thread 100 times a second
}


class LocalWorkers:
    """Worker processes that listen on the loopback interface only; one that is lost is replaced by its nanny.

    Each sees one of the machine's GPUs, if it has any.

    Args:
        count: how many.
        memory_limit_bytes: that each may have in RAM for itself; None for no limit.
    """

    local = True
    place = "this machine"
    caution = ""

    def __init__(self, count: int, memory_limit_bytes: int | None = None) -> None:
        self._count, self._memory_limit_bytes = count, memory_limit_bytes
        self._cluster: SpecCluster | None = None

    def connect(self, given_up: Callable[[], bool]) -> Client:
        """See `WorkerSource`."""
        silence_dask()
        try:
            with dask.config.set(_CONFIGURATION):
                self._cluster = _cluster(environments(self._count, gpus_here()))
                return Client(self._cluster, set_as_default=False)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise WorkerError(
                f"the worker processes could not be started ({error}); try again, or with --workers 0."
            ) from error

    def objection(self, worker: Member) -> str:
        """See `WorkerSource`: it takes more memory than it may, activations that are mapped from disk aside."""
        limit_bytes = self._memory_limit_bytes
        if limit_bytes is None or worker.pid is None:
            return ""
        with contextlib.suppress(psutil.Error):  # it is gone, and a note tells so
            if private_memory_bytes(worker.pid) > limit_bytes:
                return f"it needed more than {limit_bytes / 1e9:g} GB (--worker-memory)"
        return ""

    def end(self, client: Client, worker: Member) -> None:
        """See `WorkerSource`."""
        _kill(worker.pid)

    def close(self) -> None:
        """See `WorkerSource`."""
        if self._cluster is None:
            return
        for nanny in self._cluster.workers.values():  # to end by themselves takes them a second
            nanny.auto_restart = False
            _kill(nanny.pid)
        self._cluster.close(timeout=5)


def _cluster(environments: list[dict[str, str]]) -> SpecCluster:
    """A scheduler in this process, and a worker process for each of some environments."""
    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "protocol": "tls://",
        "security": Security.temporary(),  # certificates of its own for every study: Dask would run whatever it is sent
    }
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {**options, "port": 0, "dashboard_address": "127.0.0.1:0"}},
        workers={number: _worker(options, environment) for number, environment in enumerate(environments)},
        security=options["security"],
        silence_logs=logging.CRITICAL,
    )


def _worker(options: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    own = {"nthreads": 1, "memory_limit": None, "dashboard": False, "silence_logs": logging.CRITICAL}
    return {"cls": Nanny, "options": {**options, **own, "env": environment}}


def _kill(pid: int | None) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
