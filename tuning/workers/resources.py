"""What a machine has, shared out among the worker processes of a study: processors and GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pneumo_core.gpus import gpu_identifiers, visible_gpus
from tuning.settings import WorkSettings

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def threads_for(work: WorkSettings, asked: int = 0) -> int:
    """Returns how many threads one TensorFlow operation uses where a study's trials are made.

    It is the same for all workers: another number adds in another order and changes last digits. Workers of a cluster,
    whose machines may differ, get the number of the study's machine.

    Args:
        work: how the study is run.
        asked: for by the user, or recorded when the study began; 0 if neither.

    Returns:
        The number; 0, for TensorFlow's own choice, only where trials are made in the study's process.
    """
    if asked or not work.separate:
        return asked
    if work.cluster is not None:
        return processors_here()
    return affinity() if work.workers == 1 else shared_threads(work.workers, processors_here())


def shared_threads(workers: int, processors: int) -> int:
    """Returns how many threads each of some workers has that share some processors."""
    return max(1, processors // workers)


def affinity() -> int:
    """Returns how many processors this process may run on: TensorFlow's own choice, which knows of no other limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processors_here() -> int:
    """Returns how many processors' time this process may use: by its affinity, and by the limits of its container."""
    from dask.system import cpu_count

    return int(cpu_count())


def gpus_here(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Returns the names by which `CUDA_VISIBLE_DEVICES` would make single ones of this process's GPUs visible.

    Args:
        environment: of this process.
    """
    return gpu_identifiers(len(visible_gpus()), environment)


def environments(workers: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Returns what the environment of each worker has beyond this process's: one GPU that it sees, if there are any.

    Args:
        workers: how many; more than there are GPUs share them.
        gpus: from `gpus_here`.
    """
    return [{_VISIBLE: gpus[number % len(gpus)]} if gpus else {} for number in range(workers)]
