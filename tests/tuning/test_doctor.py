"""`tune doctor` names what is wrong and what to do, and changes nothing unless it is told to."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from pneumo_core import gpus
from tuning import installation_health
from tuning.cli import app
from tuning.diagnosis import Diagnosis, diagnosed, healthy
from tuning.doctor import examine
from tuning.models.holdings import Holdings, local_folder
from tuning.models.registry_health import ledger
from tuning.moved_store import repair_moved
from tuning.store import Store
from tuning.tracking import embedded_uri


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for Kaggle here."""
    monkeypatch.setattr(installation_health, "_KAGGLE", "localhost")
    monkeypatch.setattr(installation_health, "_KAGGLE_PATIENCE_S", 0.2)


@pytest.fixture
def copy(with_model: Store, tmp_path: Path) -> Store:
    """A store of one's own to break."""
    shutil.copytree(with_model.root, tmp_path / "copy")
    store = Store.at(tmp_path / "copy")
    repair_moved(store)
    return store


def _by_name(found: Iterable[Diagnosis]) -> dict[str, Diagnosis]:
    return {diagnosis.what: diagnosis for diagnosis in found}


def _look(store: Store) -> dict[str, Diagnosis]:
    return _by_name(examine(store, tensorflow=False))


def test_a_whole_store_is_healthy(copy: Store) -> None:
    """Every part is looked at, and nothing is found."""
    found = _look(copy)
    assert healthy(list(found.values()))
    assert {
        "python",
        "packages",
        "disk",
        "store",
        "MLflow database",
        "test ledger",
        "cache",
        "registry",
    } <= found.keys()
    assert found["registry"].seen == "models: 1, versions: 1"
    assert found["Kaggle"].state == "note"


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A missing store is a remark, not a traceback and not a new folder."""
    found = _look(Store.at(tmp_path / "none"))
    assert found["store"].state == "note"
    assert not (tmp_path / "none").exists()


def test_what_is_broken_is_named(copy: Store) -> None:
    """A damaged journal, a damaged model, changed test scores and a damaged cache entry, all in one look."""
    folder = copy.study("own")
    lines = folder.journal.read_text().splitlines(keepends=True)
    folder.journal.write_text("".join([*lines[:2], "gibberish\n", *lines[3:]]))
    files = local_folder(Holdings(embedded_uri(copy)).versions()[0].location)
    assert files
    (files / "data" / "model.keras").write_bytes(b"nothing")
    next(copy.cache.glob("*/data.bin")).write_bytes(b"short")
    copy.test_scores.mkdir(exist_ok=True)
    (copy.test_scores / "x.csv").write_text("changed")
    entry = {"v": 1, "at": 1.0, "outcome": "scored", "test_digest": "d", "images": 1, "study": "own", "trial": "t0001"}
    entry |= {"model": "tiny", "model_digest": "m", "scores": "test_scores/x.csv", "scores_digest": "0"}
    copy.test_ledger.write_text(json.dumps(entry) + "\n")
    found = _look(copy)
    assert "line 3: damaged" in found["study own"].seen
    assert "damaged" in found["model tiny/1"].seen
    assert "was changed" in found["test scores"].seen
    assert found["cache"].state == "warning"
    assert not healthy(list(found.values()))


def test_openings_that_the_ledger_lost_are_missed(tmp_path: Path) -> None:
    """Scores are kept of a look that no line tells of."""
    store = Store.at(tmp_path)
    kept = store.test_scores / ("a" * 64) / f"{'b' * 64}.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("path,label\n")
    first = next(iter(ledger(store)))
    assert (first.state, first.seen[:25]) == ("problem", "1 score tables are kept w")


def test_a_database_of_another_mlflow_or_none_at_all_is_told(copy: Store) -> None:
    """A schema that this MLflow does not know, then a file that is no database; neither is touched."""
    with sqlite3.connect(copy.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    assert "newer MLflow" in _look(copy)["MLflow database"].seen
    for path in copy.root.glob("mlflow.db*"):
        path.unlink()
    copy.database.write_bytes(b"no database " * 100)
    assert "damaged" in _look(copy)["MLflow database"].seen
    assert copy.database.read_bytes() == b"no database " * 100


def test_uploads_that_never_became_a_version_are_told(copy: Store) -> None:
    """As a promotion leaves them that was killed."""
    client = MlflowClient(embedded_uri(copy))
    experiment = client.search_experiments()[0].experiment_id
    client.create_logged_model(experiment, name="half")
    states = [d for d in examine(copy, tensorflow=False) if d.what == "registry" and d.state == "warning"]
    assert "1 uploads" in states[0].seen


def test_a_server_that_does_not_answer_is_a_warning_within_seconds(copy: Store) -> None:
    """The rest is looked at all the same."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = _by_name(examine(copy, f"http://127.0.0.1:{port}", tensorflow=False))
    assert found[f"MLflow at http://127.0.0.1:{port}"].state == "warning"
    assert found["cache"].state == "ok"


def test_a_check_that_breaks_is_a_problem_of_its_own() -> None:
    """One broken part does not hide the others."""

    def check() -> Iterable[Diagnosis]:
        raise RuntimeError("no such thing\nand more")

    assert [d.seen for d in diagnosed("part", check)] == ["cannot be looked at (RuntimeError: no such thing)"]


def test_the_command_repairs_a_copied_store(with_model: Store, tmp_path: Path) -> None:
    """Without --fix exit 1 and the advice; with it exit 0; stdout holds one JSON document."""
    shutil.copytree(with_model.root, tmp_path / "copy")
    words = ["doctor", "--no-tensorflow", "--json", "--store", str(tmp_path / "copy")]
    ill = CliRunner().invoke(app, words)
    assert ill.exit_code == 1
    problem = next(check for check in json.loads(ill.stdout)["checks"] if check["state"] == "problem")
    assert problem["advice"] == "tune doctor --fix"
    well = CliRunner().invoke(app, [*words, "--fix"])
    assert well.exit_code == 0
    assert len(json.loads(well.stdout)["mended"]) == 1


def test_a_gpu_that_tensorflow_cannot_use_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its driver is there, its libraries are not: training on the processor would go unnoticed."""
    monkeypatch.setattr(gpus, "visible_gpus", lambda: [gpus.Gpu("NVIDIA T4", 16_000_000_000)])
    (found,) = installation_health.processors(tensorflow=True)
    assert found.state == "warning"
    assert found.seen.startswith("NVIDIA T4, 16 GB: there, but TensorFlow cannot use it")
    assert "tensorflow[and-cuda]" in found.advice


@pytest.mark.parametrize(("problem", "state"), [("", "ok"), ("libdevice not found", "problem")])
def test_a_gpu_is_of_use_only_if_the_frozen_layers_compile_for_it(
    monkeypatch: pytest.MonkeyPatch, problem: str, state: str
) -> None:
    """Libraries that load do not suffice: XLA needs NVIDIA's assembler as well."""
    import tensorflow as tf

    monkeypatch.setattr(gpus, "visible_gpus", lambda: [gpus.Gpu("NVIDIA T4", 16_000_000_000)])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(installation_health, "_xla_problem", lambda: problem)
    (found,) = installation_health.processors(tensorflow=True)
    assert found.state == state
    assert found.seen.startswith("1: NVIDIA T4, 16 GB")
    assert problem in found.seen
