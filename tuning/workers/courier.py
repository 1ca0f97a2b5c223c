"""Checkpoints that travel between the study's folder and workers that do not see it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distributed import Worker

from pneumo_core.durability import flush
from pneumo_core.errors import StoreError
from tuning.attempt import Job
from tuning.checkpoints import Checkpoints

_SCRATCH = "checkpoints-"
_PIECE_BYTES = 16_000_000  # what is sent as an argument holds up the scheduler and is copied there several times

Run = Callable[..., Any]
"""Runs a function in one worker: `run(address, function, *arguments)`; returns what it returns."""


def scratch_folder(worker: Worker, session: str) -> Path:
    """Returns where a worker keeps the checkpoints of one study's process, within the folder that Dask gave it."""
    return Path(worker.local_directory) / f"{_SCRATCH}{session}"


def clear_scratch(worker: Worker) -> None:
    """Removes what studies left on a worker: it may live for months, and Dask cleans up when it ends.

    Side effects:
        Deletes files; what the disk refuses to delete stays.
    """
    for folder in Path(worker.local_directory).glob(f"{_SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)


def bring(run: Run, address: str, session: str, job: Job) -> None:
    """Brings a worker the checkpoint that an attempt goes on from, if there is one.

    Args:
        run: see `Run`.
        address: of the worker.
        session: id of the study's process.
        job: the attempt, with the study's own folder of checkpoints.

    Raises:
        OSError: if the worker is gone.
        StoreError: if its disk refuses.
    """
    checkpoints = Checkpoints(job.checkpoints)
    source = checkpoints.newest(job.trial, job.attempt) or checkpoints.newest(job.parent, None)
    if source is None:
        return
    with source.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            run(address, _put, session, source.name, file.tell() - len(piece), piece)
    run(address, _complete, session, source.name)


def fetch(run: Run, address: str, place: str, job: Job) -> None:
    """Fetches the checkpoint that a worker has written; of several only the last is there.

    Args:
        run: see `Run`.
        address: of the worker.
        place: of the file, there.
        job: the attempt, with the study's own folder of checkpoints.

    Raises:
        OSError: if the worker is gone.
        StoreError: if the study's disk refuses.

    Side effects:
        Writes the checkpoint, and removes those of earlier attempts.
    """
    checkpoints = Checkpoints(job.checkpoints)
    content, path = run(address, _get, place), checkpoints.path(job.trial, job.attempt)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _unfinished(path).write_bytes(content)
        _put_in_place(path)
    checkpoints.discard_older(job.trial, job.attempt)


def _put(session: str, name: str, begin: int, piece: bytes, dask_worker: Worker) -> None:
    path = scratch_folder(dask_worker, session) / name
    with _writing(path):  # there an OSError would look like a worker that is gone
        path.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(path).open("r+b" if begin else "wb") as file:
            file.seek(begin)
            file.write(piece)


def _complete(session: str, name: str, dask_worker: Worker) -> None:
    path = scratch_folder(dask_worker, session) / name
    with _writing(path):
        _put_in_place(path)


def _get(place: str) -> bytes:
    return Path(place).read_bytes()


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.stem}.unfinished{path.suffix}")


def _put_in_place(path: Path) -> None:
    flush(_unfinished(path))
    _unfinished(path).replace(path)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"checkpoint {path}: cannot be written ({error.strerror or error}).") from error
