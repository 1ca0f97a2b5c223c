"""What a record keeps up event by event is what its trials say."""

from __future__ import annotations

from tuning.events import (
    AttemptFailed,
    Event,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
    TrialStarted,
)
from tuning.record import StudyRecord

STARTED = StudyStarted(
    study="s", space="tiny", space_digest="", definition={}, objective="val_roc_auc", direction="max", algorithm="tpe",
    trials=3, seed=0, parameters=["dropout"], data="", data_root="", data_digest="", split_digest="",
    class_names=["A", "B"], images={}, commit="", versions={}, threads=1, tracking_uri="", confirm={"top": 1},
)  # fmt: skip


def _begin(trial: str, number: int, confirms: str = "") -> TrialStarted:
    return TrialStarted(trial, number, {"dropout": 0.1}, {}, confirms=confirms)


def _complete(trial: str) -> TrialCompleted:
    return TrialCompleted(trial, 0.9, {"val_roc_auc": 0.9}, 1, "w", 1.0)


EVENTS: list[Event] = [
    _begin("t0001", 1),
    _begin("t0002", 2),
    _complete("t0002"),
    TrialFailed("t0001", "loss became nan", 1.0),
    _begin("t0003", 3),
    StudyEnded("interrupted", "", 1.0),
    StudyResumed(4, []),
    _complete("t0003"),
    _begin("t0004", 4),
    _complete("t0004"),
    _begin("c0001", 5, confirms="t0002"),
    AttemptFailed("c0001", 1, "killed"),
    TrialFailed("c0001", "lost 2 times", 1.0),
    StudyEnded("finished", "", 2.0),
    StudyResumed(4, [], confirm={"top": 1}, search=False),  # trainings that were lost are tried again
    _complete("c0001"),
]


def test_searched_and_open_trials_follow_from_all_trials_after_every_event() -> None:
    """They are not gone through again for each event; also in a record that begins with trials."""
    record, seen = StudyRecord(STARTED), set[tuple[str, ...]]()
    for event in EVENTS:
        record.apply(event)
        trials = record.trials.values()
        assert record.searched == [trial for trial in trials if not trial.confirms]
        assert record.begun == len(record.searched)
        assert record.open == {trial.trial: trial for trial in trials if not trial.over}
        assert record.open_searched == [trial for trial in record.searched if not trial.over]
        assert record.is_searched() == (len(record.searched) >= record.trials_wanted and not record.open_searched)
        again = StudyRecord(STARTED, dict(record.trials))
        assert (again.searched, again.open) == (record.searched, record.open)
        seen.add(tuple(record.open))
    assert {("t0001", "t0002"), (), ("c0001",)} <= seen


def test_the_list_of_searched_trials_is_the_callers_own() -> None:
    """Sorting it, or adding to it, changes nothing in the record."""
    record = StudyRecord(STARTED)
    record.apply(EVENTS[0])
    record.searched.clear()
    assert record.begun == len(record.searched) == 1
