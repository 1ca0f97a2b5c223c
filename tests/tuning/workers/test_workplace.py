"""What a worker keeps of a study, and for how long."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.core import Status

from tuning.workers.courier import scratch_folder
from tuning.workers.workplace import Session, Workplace


@pytest.fixture
def worker(tmp_path: Path) -> Any:
    """As Dask describes it to plugins."""
    notes: list[dict[str, Any]] = []
    return SimpleNamespace(
        local_directory=str(tmp_path),
        address="tcp://here:1",
        status=Status.running,
        notes=notes,
        log_event=lambda topic, note: notes.append(note),
    )


@pytest.fixture
def place(worker: Any) -> Workplace:
    """A study's, with a checkpoint."""
    place = Workplace(Session("c1", "me", local=False))
    place._worker = worker  # without TensorFlow, which `setup` begins with
    scratch_folder(worker, "c1").mkdir()
    scratch_folder(worker, "c1").joinpath("t1.1.npz").touch()
    return place


def test_a_worker_that_is_let_go_keeps_no_checkpoints(place: Workplace, worker: Any) -> None:
    """They may be large, and there may be many studies."""
    place.teardown(worker)
    assert place.leaving.is_set()
    assert not scratch_folder(worker, "c1").exists()
    assert worker.notes == []


def test_an_attempt_that_is_still_made_keeps_its_files_until_it_has_left(place: Workplace, worker: Any) -> None:
    """It leaves at the end of its epoch, and saves its state before."""
    place.at_work = True
    place.teardown(worker)
    assert scratch_folder(worker, "c1").exists()
    place.at_work = False
    place.clear_away()
    assert not scratch_folder(worker, "c1").exists()


def test_a_worker_that_is_shut_down_says_so(place: Workplace, worker: Any) -> None:
    """So that its attempt does not count as lost."""
    worker.status = Status.closing
    place.teardown(worker)
    assert worker.notes == [{"kind": "closing", "worker": "tcp://here:1"}]
