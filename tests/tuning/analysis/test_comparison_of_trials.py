"""Trials side by side: what a comparison finds, and what it does where scores cannot be had."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from made_scores import made_table, scored_study, stage

from tests.tuning.synthetic import write_study
from tuning.analysis import subjects
from tuning.analysis.comparison import compare_trials
from tuning.events import TrialCompleted, TrialConfirmed, TrialStarted
from tuning.journal import Journal
from tuning.store import Store, StudyFolder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Study `one` with a good and a poor trial and one whose scores are gone; `other` with a middling one."""
    store = Store.at(tmp_path / "mlruns")
    scored_study(store, "one", {"t0001": 1.0, "t0002": 3.0})
    scored_study(store, "other", {"t0001": 2.0}, folds=2)
    return store


def _confirm(folder: StudyFolder, trial: str, distances: list[float]) -> None:
    """Writes what a confirmation with a training for each seed leaves behind."""
    runs = [f"{trial}-f1-32px-s{seed}" for seed in range(1, 1 + len(distances))]
    folder.confirmation.mkdir(exist_ok=True)
    journal = Journal(folder.journal)
    for number, (run, distance) in enumerate(zip(runs, distances, strict=True)):
        made_table(distance, seed=50 + number).to_csv(folder.confirmation / f"{run}.csv", index=False)
        journal.append(TrialStarted(run, 90 + number, {}, {}, confirms=trial))
        journal.append(TrialCompleted(run, 0.9, {"val_roc_auc": 0.9}, 0, "w", 1.0))
    metrics = {"val_roc_auc": [0.9, 0.8, None]}
    journal.append(TrialConfirmed(trial, 1, 0.9, 0.8, 1.0, False, [0.0, 0.0, 0.0], 0.01, metrics, runs, 0.5, 1.0))


def test_trials_of_several_studies_are_compared_with_the_first(store: Store) -> None:
    """Each by its own scores, over the images that it shares with the reference."""
    found = compare_trials(store, ["one/t0001", "one/t0002", "other/t0001"])
    auc = {name: pair.comparison.differences["roc_auc"] for name, pair in found.pairs.items()}
    assert auc["one/t0002"].low > 0
    assert auc["one/t0002"].value > auc["other/t0001"].value > 0
    assert found.pairs["other/t0001"].models == 2
    assert (found.basis, found.missing, found.unpaired) == ("search", {}, {})


def test_confirmed_trials_are_compared_over_their_seeds(store: Store) -> None:
    """Where all trials are confirmed it is these scores that count, and they need not be in MLflow."""
    _confirm(StudyFolder(store.studies / "one"), "t0001", [1.0, 1.1])
    _confirm(StudyFolder(store.studies / "other"), "t0001", [3.0, 3.1])
    found = compare_trials(store, ["one", "other"])
    assert [subject.name for subject in found.subjects] == ["one/t0001", "other/t0001"]
    assert found.basis == "confirmed"
    assert [len(scored.tables) for scored in found.scores.values()] == [2, 2]
    assert found.pairs["other/t0001"].comparison.differences["roc_auc"].low > 0
    assert compare_trials(store, ["one", "one/t0002"]).basis == "search"


def test_the_rest_is_said_where_scores_cannot_be_had(store: Store) -> None:
    """A trial whose files are gone takes the paired differences with it, and nothing else."""
    found = compare_trials(store, ["one/t0001", "one/t0003", "one/t0002"])
    assert "mlflow.db: is not there" in found.missing["one/t0003"]
    assert found.unpaired == {"one/t0003": "the scores of one/t0003 cannot be had"}
    assert list(found.pairs) == ["one/t0002"]
    assert found.contrasts[0].differing


def test_scores_of_other_images_are_neither_subtracted_nor_drawn_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the same names in another folder are not the same images."""
    load = subjects.load_record

    def elsewhere(store: Store, study: str) -> object:
        record = load(store, study)
        if study == "other":
            record.identity = dataclasses.replace(record.identity, data_digest="f" * 64)
        return record

    monkeypatch.setattr(subjects, "load_record", elsewhere)
    found = compare_trials(store, ["one/t0001", "other/t0001"])
    assert found.unpaired == {"other/t0001": "it was scored on other images than one/t0001"}
    assert list(found.comparable_scores()) == ["one/t0001"]


def test_a_damaged_table_is_one_line(store: Store) -> None:
    """A score that is none: the pair is missing, the command goes on."""
    folder = StudyFolder(store.studies / "one")
    stage(folder, "t0003", made_table(1.0).assign(probability=2.0))
    found = compare_trials(store, ["one/t0001", "one/t0003"])
    assert "expected probabilities from 0 to 1" in found.unpaired["one/t0003"]


def test_the_document_is_json_without_nan(store: Store) -> None:
    """Also of a failed trial, which has no metrics."""
    write_study(store, "ill", trials=2, failed=1.0)
    document = compare_trials(store, ["one/t0001", "one/t0002", "ill/t0002"]).to_mapping()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert list(document["less_reference"]) == ["one/t0002"]
    assert document["trials"][2]["metrics"] == {}
    assert "as it is failed" in document["missing_scores"]["ill/t0002"]
