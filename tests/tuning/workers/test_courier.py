"""Checkpoints travel whole, the newest first, and what does not arrive says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributed.core import Status

from pneumo_core.errors import StoreError
from tuning.attempt import Job
from tuning.workers import courier


class Worker:
    """The other end: runs functions in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.local_directory, self.status = str(folder), Status.running

    def run(self, address: str, function: Any, *arguments: Any) -> Any:
        """See `courier.Run`."""
        more = {"dask_worker": self} if function.__name__ in ("_put", "_complete") else {}
        return function(*arguments, **more)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """A worker that does not see the study's folder."""
    return Worker(tmp_path / "worker")


def _job(tmp_path: Path, trial: str, attempt: int, parent: str = "") -> Job:
    (tmp_path / "study").mkdir(exist_ok=True)
    return Job(trial, attempt, {}, tmp_path / "study", parent=parent)


def test_a_checkpoint_goes_there_and_comes_back(worker: Worker, tmp_path: Path) -> None:
    """An attempt goes on from the last one before it, and its own takes that one's place."""
    job, scratch = _job(tmp_path, "t1", 3), courier.scratch_folder(worker, "c1")  # type: ignore[arg-type]
    for attempt in (1, 2):
        (job.checkpoints / f"t1.{attempt}.npz").write_bytes(bytes([attempt]))
    courier.bring(worker.run, "tcp://there", "c1", job)
    assert [(path.name, path.read_bytes()) for path in scratch.iterdir()] == [("t1.2.npz", b"\2")]
    (scratch / "t1.3.npz").write_bytes(b"\3")
    courier.fetch(worker.run, "tcp://there", str(scratch / "t1.3.npz"), job)
    assert [(path.name, path.read_bytes()) for path in job.checkpoints.iterdir()] == [("t1.3.npz", b"\3")]


def test_a_rung_is_brought_the_state_of_the_one_before(worker: Worker, tmp_path: Path) -> None:
    """Until it has one of its own; a trial that begins is brought nothing."""
    job = _job(tmp_path, "t2", 1, parent="t1")
    courier.bring(worker.run, "tcp://there", "c1", job)
    scratch = courier.scratch_folder(worker, "c1")  # type: ignore[arg-type]
    assert not scratch.exists()
    (job.checkpoints / "t1.1.npz").write_bytes(b"parent")
    courier.bring(worker.run, "tcp://there", "c1", job)
    assert [path.name for path in scratch.iterdir()] == ["t1.1.npz"]


def test_a_disk_of_the_study_that_refuses_is_told_from_a_worker_that_is_gone(worker: Worker, tmp_path: Path) -> None:
    """The first ends the study, the second costs an attempt."""
    job = _job(tmp_path, "t1", 1)
    with pytest.raises(FileNotFoundError):
        courier.fetch(worker.run, "tcp://there", "/nowhere/t1.1.npz", job)
    there = tmp_path / "t1.1.npz"
    there.write_bytes(b"state")
    blocked = Job("t1", 1, {}, there)
    with pytest.raises(StoreError, match="cannot be written"):
        courier.fetch(worker.run, "tcp://there", str(there), blocked)


def test_what_earlier_studies_left_at_a_worker_is_cleared_away(worker: Worker, tmp_path: Path) -> None:
    """It may serve hundreds of them, with checkpoints of hundreds of MB; what is not ours stays."""
    for study in ("c1", "c2"):
        courier.scratch_folder(worker, study).mkdir(parents=True)  # type: ignore[arg-type]
    (tmp_path / "worker" / "storage").mkdir()
    courier.clear_scratch(worker)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "worker").iterdir()] == ["storage"]


def test_a_large_checkpoint_is_brought_in_pieces(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler answers nobody while it copies an argument; what an earlier try left behind is overwritten."""
    monkeypatch.setattr(courier, "_PIECE_BYTES", 4)
    job, scratch = _job(tmp_path, "t1", 2), courier.scratch_folder(worker, "c1")  # type: ignore[arg-type]
    (job.checkpoints / "t1.1.npz").write_bytes(b"0123456789")
    scratch.mkdir(parents=True)
    (scratch / "t1.1.unfinished.npz").write_bytes(b"of an earlier try")
    courier.bring(worker.run, "tcp://there", "c1", job)
    assert [(path.name, path.read_bytes()) for path in scratch.iterdir()] == [("t1.1.npz", b"0123456789")]


def test_a_disk_of_a_worker_that_refuses_is_told_from_a_worker_that_is_gone(worker: Worker, tmp_path: Path) -> None:
    """The first is refused, the second asked again."""
    job = _job(tmp_path, "t1", 2)
    (job.checkpoints / "t1.1.npz").write_bytes(b"state")
    Path(worker.local_directory).touch()
    with pytest.raises(StoreError, match="cannot be written"):
        courier.bring(worker.run, "tcp://there", "c1", job)
