"""`tune gc` removes what nothing needs, and nothing that a registered version needs."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from pneumo_core.errors import StoreError, TrackingError
from tuning.cli import app
from tuning.models import disposal
from tuning.models.disposal import dispose
from tuning.models.holdings import Holdings
from tuning.models.registry import Registry
from tuning.moved_store import repair_moved
from tuning.ranking import load_record
from tuning.store import Store
from tuning.tracking import embedded_uri

LATER = time.time() + 90 * 86_400


@pytest.fixture
def copy(with_model: Store, tmp_path: Path) -> Store:
    """A store of one's own."""
    shutil.copytree(with_model.root, tmp_path / "copy")
    store = Store.at(tmp_path / "copy")
    repair_moved(store)
    return store


def _files(store: Store) -> set[str]:
    return {str(path.relative_to(store.root)) for path in store.root.rglob("*") if "mlflow.db-" not in path.name}


def _stray_run(store: Store) -> tuple[str, Path]:
    """A run with a file, deleted as the UI deletes it."""
    client = MlflowClient(embedded_uri(store))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment
    run = client.create_run(experiment.experiment_id).info.run_id
    client.log_text(run, "of no use", "note.txt")
    client.delete_run(run)
    return run, store.artifacts / "tiny" / run


def test_what_a_version_needs_stays_although_it_was_deleted(copy: Store) -> None:
    """Its run, the study's run above it and its logged model were deleted in the UI; the model still loads."""
    client, registry = MlflowClient(embedded_uri(copy)), Registry(copy)
    record = load_record(copy, "own")
    version = Holdings(embedded_uri(copy)).versions()[0]
    trial_run, study_run = record.trials["t0001"].run_id or "", record.run_id or ""
    for run in (trial_run, study_run):
        client.delete_run(run)
    client.delete_logged_model(version.model_id)
    stray, files = _stray_run(copy)
    done = dispose(copy, 0, now=LATER)
    assert [item.row for item in done.items if item.row] == [("run", stray)]
    assert not files.exists()
    assert sum("tiny/1 needs it" in remark for remark in done.remarks) == 3
    assert {run.run_id for run in Holdings(embedded_uri(copy)).runs()} == {trial_run, study_run}
    assert registry.keras_model(registry.find("tiny@champion")) is not None


def test_a_deleted_experiment_stays_while_a_version_needs_it(copy: Store) -> None:
    """And goes when nothing does."""
    client = MlflowClient(embedded_uri(copy))
    used = client.get_experiment_by_name("tiny")
    assert used
    unused = client.create_experiment("unused", artifact_location=(copy.artifacts / "unused").as_uri())
    run = client.create_run(unused).info.run_id
    client.log_text(run, "of no use", "note.txt")
    for experiment in (used.experiment_id, unused):
        client.delete_experiment(experiment)
    dispose(copy, 0, now=LATER)
    left = {experiment.name for experiment in Holdings(embedded_uri(copy)).experiments()}
    assert left == {"Default", "tiny"}
    assert not (copy.artifacts / "unused").exists()
    registry = Registry(copy)
    assert registry.folder(registry.find("tiny")).is_dir()


def test_a_dry_run_changes_nothing(copy: Store) -> None:
    """It says what would go, and how much."""
    run, _ = _stray_run(copy)
    (copy.study("own").checkpoints).mkdir(exist_ok=True)
    (copy.study("own").checkpoints / "t0001.1.npz").write_bytes(b"state")
    before = _files(copy)
    would = dispose(copy, 0, dry_run=True, now=LATER)
    assert _files(copy) == before
    assert ("run", run) in [item.row for item in would.items]
    assert "checkpoint t0001.1.npz" in " ".join(item.what for item in would.items)
    assert would.size > len(b"state")


def test_young_things_stay(copy: Store) -> None:
    """What was deleted yesterday can still be restored in the UI."""
    run, files = _stray_run(copy)
    assert not [item for item in dispose(copy).items if item.row]
    assert files.exists()
    assert run in {held.run_id for held in Holdings(embedded_uri(copy)).runs()}


def test_strays_of_promotions_and_folders_go_and_the_second_time_finds_nothing(copy: Store) -> None:
    """An upload that never became a version, a folder that MLflow does not know; journals and scores stay."""
    client = MlflowClient(embedded_uri(copy))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment
    half = client.create_logged_model(experiment.experiment_id, name="half").model_id
    lost = copy.artifacts / "tiny" / ("0" * 32) / "artifacts"
    lost.mkdir(parents=True)
    (copy.test_scores / "set").mkdir(parents=True)
    (copy.test_scores / "set" / "model.csv").write_text("path,label\n")
    (copy.test_scores / "set" / "model.unfinished").write_text("path")
    journal = copy.study("own").journal.read_bytes()
    done = dispose(copy, 0, now=LATER)
    assert ("model", half) in [item.row for item in done.items]
    assert not lost.parent.exists()
    assert [path.name for path in (copy.test_scores / "set").iterdir()] == ["model.csv"]
    assert copy.study("own").journal.read_bytes() == journal
    assert dispose(copy, 0, now=LATER).items == []


def test_one_that_is_broken_off_is_finished_by_the_next(copy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files go before their row: with the files gone, the row is found again."""
    run, files = _stray_run(copy)

    def die(self: Holdings, run_id: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(disposal.Holdings, "remove_run", die)
        with pytest.raises(KeyboardInterrupt):
            dispose(copy, 0, now=LATER)
    assert not files.exists()
    assert ("run", run) in [item.row for item in dispose(copy, 0, now=LATER).items]
    assert run not in {held.run_id for held in Holdings(embedded_uri(copy)).runs()}


def test_a_study_that_is_being_run_is_left_alone(copy: Store) -> None:
    """Neither its checkpoints nor its deleted runs go."""
    folder = copy.study("own")
    folder.checkpoints.mkdir(exist_ok=True)
    (folder.checkpoints / "t0001.1.npz").write_bytes(b"state")
    with folder.hold():
        done = dispose(copy, 0, now=LATER)
    assert (folder.checkpoints / "t0001.1.npz").exists()
    assert "study own: is being run; nothing of it is touched" in done.remarks


def test_a_moved_or_missing_store_is_refused(with_model: Store, tmp_path: Path) -> None:
    """Nothing is removed by addresses of another place."""
    shutil.copytree(with_model.root, tmp_path / "copy")
    with pytest.raises(TrackingError, match="tune doctor --fix"):
        dispose(Store.at(tmp_path / "copy"), 0, now=LATER)
    with pytest.raises(StoreError, match="expected a folder"):
        dispose(Store.at(tmp_path / "none"))


def test_the_command_prints_one_document(copy: Store) -> None:
    """What went, in bytes."""
    _stray_run(copy)
    result = CliRunner().invoke(app, ["gc", "--older-than", "0", "--json", "--store", str(copy.root)])
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["removed"] is True
    assert said["bytes"] == sum(item["bytes"] for item in said["items"]) > 0
