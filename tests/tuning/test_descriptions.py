"""Descriptions in MLflow say what a trial and a study were, and nothing that further trials make untrue."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from synthetic import write_study

from tuning.descriptions import study_description, trial_description
from tuning.events import TrialConfirmed
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store


@pytest.fixture
def record(tmp_path: Path) -> StudyRecord:
    """Of a made-up study of forty trials, some of which failed or ended early."""
    write_study(Store.at(tmp_path), trials=40, failed=0.1, pruned=0.2)
    return load_record(Store.at(tmp_path), "made")


def test_a_trial_is_told_by_its_active_values_its_score_and_its_interval(record: StudyRecord) -> None:
    """What its condition leaves out is not named."""
    first = record.trials["t0001"]
    text = trial_description(record, first)
    assert text.startswith(
        "Trial 1 of study made: head_units 512, dropout 0.5, unfrozen_layers 0, learning_rate 0.001,"
    )
    assert f"val_roc_auc {first.score:.4f} ({first.score - 0.01:.4f} to {first.score + 0.01:.4f}, 95 %)" in text
    assert "best after epoch 3 of 3" in text
    assert "backbone" not in text


def test_what_became_of_a_trial_is_said(record: StudyRecord) -> None:
    """Pruned and failed ones, with the reason."""
    pruned = next(trial for trial in record.searched if trial.status == "pruned")
    failed = next(trial for trial in record.searched if trial.status == "failed")
    assert "Ended early after epoch 1" in trial_description(record, pruned)
    assert "Failed: loss became nan in epoch 2." in trial_description(record, failed)


def test_a_reason_with_markup_is_shown_as_it_is(record: StudyRecord) -> None:
    """Reasons hold words of files and libraries; MLflow renders Markdown and HTML."""
    failed = dataclasses.replace(record.trials["t0002"], status="failed", reason="<img src=x> [a](b) `c`")
    text = trial_description(record, failed)
    assert "<img" not in text
    assert r"\[a\](b)" in text


def test_a_confirmed_trial_says_its_place(record: StudyRecord) -> None:
    """And whether it can be told from the first."""
    place = TrialConfirmed("t0001", 2, 0.95, 0.94, 0.96, True, [0.0, -0.1, 0.1], None, {}, [], 0.5, 1.0)
    text = trial_description(record, dataclasses.replace(record.trials["t0001"], confirmed=place))
    assert "0.9500 (0.9400 to 0.9600, 95 %), place 2 of those confirmed, not told apart from the first." in text


def test_a_study_begins_with_its_best_and_names_baseline_and_space(record: StudyRecord) -> None:
    """MLflow shows the first lines; the rest on a click."""
    best = record.best()
    assert best is not None
    text = study_description(record)
    assert text.startswith(f"Best of 40 trials: {best.trial} (")
    assert "- Baseline, t0001: head_units 512, dropout 0.5" in text
    gain = best.score - record.trials["t0001"].score
    assert f"Gain of the best over the baseline: +{gain:.4f}, in the search, which flatters its best." in text
    assert "not confirmed" in text.lower()
    assert "| dropout | 0 to 0.6 in steps of 0.1 |" in text
    assert "| backbone_lr_fraction | 0.01 to 0.1, logarithmic; where unfrozen_layers is 1 or 2 |" in text
    assert "3654 training and 914 validation images; none of the test folder" in text


def test_a_study_without_a_result_says_what_it_searches(record: StudyRecord) -> None:
    """From its first moment on, and if all of its trials fail."""
    text = study_description(StudyRecord(record.started))
    assert text.startswith("## Searched")
    assert "Space synthetic, 40 trials, proposed by tpe" in text
