"""Worker processes on this machine, which a study starts and ends itself."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable

import dask
from distributed import Client, LocalCluster

from pneumo_core.errors import WorkerError
from tuning.workers.roster import Member

_CONFIGURATION = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-ttl": None,  # a worker may hold its interpreter for minutes; the timeout is ours
    "distributed.admin.tick.limit": "1h",  # and needs no warning about it
    "distributed.comm.retry.count": 0,
}


class LocalWorkers:
    """Worker processes that listen on the loopback interface only; one that is lost is replaced by its nanny.

    Args:
        count: how many.
    """

    local = True
    place = "this machine"

    def __init__(self, count: int) -> None:
        self._count = count
        self._cluster: LocalCluster | None = None

    def connect(self, given_up: Callable[[], bool]) -> Client:
        """See `WorkerSource`."""
        try:
            with dask.config.set(_CONFIGURATION):
                self._cluster = LocalCluster(
                    n_workers=self._count,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    memory_limit=None,
                    security=True,  # certificates of its own for every study: Dask would run whatever it is sent
                    silence_logs=logging.CRITICAL,
                )
                return Client(self._cluster, set_as_default=False)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise WorkerError(
                f"the worker processes could not be started ({error}); try again, or with --workers 0."
            ) from error

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


def _kill(pid: int | None) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
