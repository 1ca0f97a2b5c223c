"""The winner is looked at through validation images that its model had not seen, where that is cheap."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from mlflow import MlflowClient
from synthetic import write_study

from tuning.analysis.winner import _learning_rates, explained, picture_of_winner, why_unexplainable
from tuning.events import EpochEnded
from tuning.journal import Journal
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store


def test_a_finished_study_has_its_picture_and_mlflow_its_report(
    finished: tuple[Store, StudyRecord, dict[str, object]],
) -> None:
    """At the end of every study, beside its journal and where MLflow's UI shows it; asked again nothing is read."""
    store, record, _ = finished
    picture = picture_of_winner(store.study("first"), record)
    assert picture is not None
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert explained(store, "first", lambda: pytest.fail("the images are not needed again")) == ""
    client = MlflowClient(record.started.tracking_uri)
    names = {file.path for file in client.list_artifacts(record.run_id or "")}
    assert {"report.html", "report.md", "plots", "journal.jsonl"} <= names
    assert "Grad-CAM of" in (store.study("first").root / "report.html").read_text()


def test_a_long_training_in_folds_is_not_repeated_for_a_picture(tmp_path: Path) -> None:
    """The report says why instead."""
    store = Store.at(tmp_path)
    write_study(store, "s", trials=2, failed=0.0, pruned=0.0)
    record = load_record(store, "s")
    best = record.best()
    assert best is not None
    assert why_unexplainable(record) == ""
    best.folds, best.training_s = 5, 5 * 3600.0
    assert "takes too long for a report" in why_unexplainable(record)
    best.training_s, best.config = 10.0, best.config | {"augmentation": "mild"}
    assert "takes too long" in why_unexplainable(record)


def test_the_learning_rates_of_a_later_rung_begin_with_those_of_the_first(tmp_path: Path) -> None:
    """Its training went on from there; what the first did beyond that point does not count."""
    store = Store.at(tmp_path)
    folder = write_study(store, "s", trials=2, failed=0.0, pruned=0.0)
    journal = Journal(folder.journal)
    for epoch, rate in ((1, 0.5), (2, 0.25)):
        journal.append(EpochEnded("t0002", epoch, {"learning_rate": rate, "val_loss": 0.1}))
    record = load_record(store, "s")
    later = dataclasses.replace(record.trials["t0002"], parent="t0001", first_epoch=1, best_epoch=2)
    assert _learning_rates(folder, record, later) == [1e-3, 0.5, 0.25]
