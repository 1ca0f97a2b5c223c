"""Where a study's workers come from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from distributed import Client

from tuning.settings import WorkSettings
from tuning.workers.roster import Member


class WorkerSource(Protocol):
    """Workers that a study starts itself, or that somebody else keeps.

    Attributes:
        local: whether the workers are this process's own, on its machine: they see its files, and end with it.
        place: how users call it.
        caution: what users should know of it; empty for nothing.
    """

    local: bool
    place: str
    caution: str

    def connect(self, given_up: Callable[[], bool]) -> Client:
        """Returns a connection to the scheduler, after waiting for it if it is known to have been there before.

        Args:
            given_up: asked while waiting whether to go on waiting.

        Raises:
            WorkerError: if there is no scheduler, or it cannot be spoken to.
        """

    def objection(self, worker: Member) -> str:
        """Returns why a worker must not go on with what it is doing; empty if it may."""

    def end(self, client: Client, worker: Member) -> None:
        """Ends a worker's process, hard, without waiting for it."""

    def close(self) -> None:
        """Ends what was started."""


def silence_dask() -> None:
    """Leaves out what Dask would say in this process: what a user should know is told in our words.

    Side effects:
        Sets the levels of Dask's loggers.
    """
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def source_of(work: WorkSettings) -> WorkerSource:
    """Returns where the workers come from that a user asks for.

    Raises:
        ConfigError: if the address of a cluster is none.
    """
    from tuning.workers.cluster import ClusterWorkers
    from tuning.workers.local import LocalWorkers

    if work.cluster is not None:
        return ClusterWorkers(work.cluster)
    return LocalWorkers(work.workers, work.worker_memory_bytes)
