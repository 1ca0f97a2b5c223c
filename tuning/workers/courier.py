"""Checkpoints that travel between the study's folder and workers that do not see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Worker

from pneumo_core.durability import flush
from pneumo_core.errors import StoreError
from tuning.attempt import Job
from tuning.checkpoints import Checkpoints

Run = Callable[..., Any]
"""Runs a function in one worker: `run(address, function, *arguments)`; returns what it returns."""


def scratch_folder(worker: Worker, session: str) -> Path:
    """Returns where a worker keeps the checkpoints of one study's process, within the folder that Dask gave it."""
    return Path(worker.local_directory) / f"checkpoints-{session}"


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
    if source is not None:
        run(address, _put, session, source.name, source.read_bytes())


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
    try:
        _write(path, content)
    except OSError as error:
        raise StoreError(f"checkpoint {path}: cannot be written ({error.strerror or error}).") from error
    checkpoints.discard_older(job.trial, job.attempt)


def _put(session: str, name: str, content: bytes, dask_worker: Worker) -> None:
    path = scratch_folder(dask_worker, session) / name
    try:
        _write(path, content)
    except OSError as error:  # which would look like a worker that is gone
        raise StoreError(f"checkpoint {path}: cannot be written ({error.strerror or error}).") from error


def _get(place: str) -> bytes:
    return Path(place).read_bytes()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    unfinished.write_bytes(content)
    flush(unfinished)
    unfinished.replace(path)
