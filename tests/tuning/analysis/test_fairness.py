"""What makes a comparison less than fair."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from made_scores import renamed

from tests.tuning.synthetic import write_study
from tuning.analysis.fairness import reservations
from tuning.analysis.subjects import Subject
from tuning.events import TrialConfirmed
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store

PLACE = TrialConfirmed("t0002", 1, 0.9, 0.8, 1.0, False, [0, 0, 0], None, {}, [], 0.5, 1.0)


@pytest.fixture
def records(tmp_path: Path) -> tuple[StudyRecord, StudyRecord]:
    """Two studies that are alike but for their names and draws."""
    store = Store.at(tmp_path)
    for seed, name in enumerate(("one", "other")):
        write_study(store, name, trials=9, failed=0.0, pruned=0.0, seed=seed)
    return load_record(store, "one"), load_record(store, "other")


def _trials(*records: StudyRecord) -> list[Subject]:
    """One of each study that is not its best, so that nothing chose it."""
    return [Subject(record, record.ranked()[3]) for record in records]


def test_nothing_is_said_of_a_fair_comparison(records: tuple[StudyRecord, StudyRecord]) -> None:
    """Trials of one study that nobody chose."""
    assert reservations([Subject(records[0], trial) for trial in records[0].ranked()[3:6]]) == []
    assert reservations(_trials(*records)) == []


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"data_digest": "f" * 64}, "other images"),
        ({"split_digest": "f" * 64}, "divided otherwise"),
        ({"class_names": ["healthy", "sick"]}, "other classes"),
        ({"code": {"pneumo_core/model.py": "1"}}, "different versions"),
    ],
)
def test_other_conditions_are_said(
    records: tuple[StudyRecord, StudyRecord], identity: dict[str, object], words: str
) -> None:
    """Whatever but the configuration could be the cause of a difference."""
    (sentence,) = reservations(_trials(records[0], renamed(records[1], **identity)))
    assert words in sentence


def test_a_leader_that_was_tried_again_is_no_second_finding(records: tuple[StudyRecord, StudyRecord]) -> None:
    """A study that begins with another one's leader comes to the same score, as it is the same training."""
    subjects = _trials(*records)
    subjects[1].trial.config = dict(subjects[0].trial.config)
    (sentence,) = reservations(subjects)
    assert (
        sentence == f"{subjects[0].name} and {subjects[1].name} are one training made again: same configuration, "
        "seed and images"
    )
    subjects[1].trial.config["seed"] += 1
    assert reservations(subjects) == []


def test_other_folds_are_said_with_their_numbers(records: tuple[StudyRecord, StudyRecord]) -> None:
    """A trial of five folds learned from more images than one of a hold-out."""
    subjects = _trials(*records)
    subjects[1].trial.folds = 5
    (sentence,) = reservations(subjects)
    assert f"(1: {subjects[0].name}; 5: {subjects[1].name})" in sentence


def test_a_winner_of_a_search_is_flattered_until_it_is_confirmed(records: tuple[StudyRecord, StudyRecord]) -> None:
    """By how much is said; a confirmed one beside one that is not is said too."""
    one, other = records
    best = one.best()
    assert best is not None
    winner, rival = Subject(one, best), _trials(other)[0]
    (sentence,) = reservations([winner, rival])
    assert sentence.startswith(
        f"{winner.name} was chosen as the best of 9 configurations, which flatters it by about 0.0"
    )
    confirmed = Subject(other, dataclasses.replace(rival.trial, confirmed=PLACE))
    assert "not: only one training of each can be compared" in reservations([winner, confirmed])[-1]
    both = [Subject(one, dataclasses.replace(best, confirmed=PLACE)), confirmed]
    assert reservations(both) == []


def test_trials_that_did_not_end_well_and_forced_studies_are_said(records: tuple[StudyRecord, StudyRecord]) -> None:
    """A pruned trial was trained for less; a forced study is no longer what its journal began with."""
    subjects = _trials(*records)
    subjects[0].trial.status = "pruned"
    records[1].forced = ["code: a was changed", "data: b"]
    said = reservations(subjects)
    assert said[0] == f"{subjects[0].name} was ended early"
    assert "study other went on although" in said[1]
    assert "(2 changes)" in said[1]


def test_a_rung_of_hyperband_is_told_beside_a_longer_training(records: tuple[StudyRecord, StudyRecord]) -> None:
    """More epochs alone put a trial ahead."""
    first, other = records[0].ranked()[3:5]
    first.config["stop_after"] = 1
    said = reservations([Subject(records[0], first), Subject(records[0], other)])
    assert said == [f"one/{first.trial} was stopped by Hyperband after 1 epochs"]
