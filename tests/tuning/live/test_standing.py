"""How a study stands, kept up event by event, is what its record says when looked through as a whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from synthetic import SPACE, synthetic_space, write_study

from tuning.analysis.baseline import baseline
from tuning.confirmation import retrainings
from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    StudyEnded,
    StudyResumed,
    TrialCompleted,
    TrialConfirmed,
    TrialStarted,
    TrialUnconfirmed,
)
from tuning.journal import Entry, read_entries
from tuning.live.standing import Standing, varying
from tuning.record import StudyRecord
from tuning.store import Store


def _entries(folder: Path, **options: object) -> list[Entry]:
    return list(read_entries(write_study(Store.at(folder), **options).journal))  # type: ignore[arg-type]


def _after(entries: list[Entry]) -> Standing:
    record = StudyRecord(entries[0].event)  # type: ignore[arg-type]
    standing = Standing(record, entries[0].at)
    for entry in entries[1:]:
        record.apply(entry.event)
        standing.hear(entry.event, entry.at)
    return standing


def _place(trial: str, rank: int) -> TrialConfirmed:
    return TrialConfirmed(trial, rank, 0.9, 0.8, 1.0, False, [0, 0, 0], None, {}, [], 0.5, 1.0)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_it_is_what_the_record_says(tmp_path: Path, direction: str) -> None:
    """Order, counts and baseline at any moment of a study, whatever is best."""
    objective = {"max": "val_roc_auc", "min": "val_brier"}[direction]
    space = synthetic_space(f"objective: {objective}\ndirection: {direction}\n{SPACE}")
    entries = _entries(tmp_path, trials=60, failed=0.2, pruned=0.3, space=space)
    for upto in (2, 60, 133, len(entries)):
        standing = _after(entries[:upto])
        record = standing.record
        scored = [trial for trial in record.ranked() if trial.score is not None]
        assert standing.leaders(100) == scored
        assert [standing.rank(trial) for trial in scored] == list(range(1, len(scored) + 1))
        assert standing.best is record.best()
        assert standing.baseline is baseline(record)
        assert {s: n for s, n in standing.over.items() if n or s != "pruned"} == record.counts()


def test_another_process_begins_from_the_record(tmp_path: Path) -> None:
    """A study that is taken up again stands as if this process had heard all of it."""
    entries = _entries(tmp_path, trials=30, ended=False)
    heard = _after(entries)
    read = Standing(heard.record, 0.0)
    assert (read.leaders(30), read.over, read.failed) == (heard.leaders(30), heard.over, heard.failed)
    assert read.baseline is heard.baseline
    assert read.over_here == 0


def test_confirmed_ones_go_first(tmp_path: Path) -> None:
    """As in the leaderboard, at once; and back again when they no longer are."""
    standing = _after(_entries(tmp_path, trials=20))
    last = standing.leaders(20)[-1]
    events = [_place(last.trial, 1), TrialUnconfirmed(last.trial)]
    for event, is_first in zip(events, (True, False), strict=True):
        standing.record.apply(event)
        standing.hear(event, 1.0)
        assert (standing.leaders(1) == [last]) is is_first
        assert standing.leaders(20) == [trial for trial in standing.record.ranked() if trial.score is not None]


def test_what_runs_and_what_was_lost_is_known(tmp_path: Path) -> None:
    """Attempts begin and are lost; curves grow; a resume finds nothing running."""
    standing = _after(_entries(tmp_path, trials=3, failed=0.0, pruned=0.0, ended=False))
    config = next(iter(standing.record.trials.values())).config

    def hear(event: object, at: float) -> None:
        standing.record.apply(event)  # type: ignore[arg-type]
        standing.hear(event, at)  # type: ignore[arg-type]

    assert standing.stage() == "confirmation" if standing.confirms else "search"
    for number in (4, 5):
        hear(TrialStarted(f"t{number}", number, {"dropout": 0.1}, config), 10.0)
        hear(AttemptStarted(f"t{number}", 1), 11.0)
    hear(EpochEnded("t4", 0, {"val_loss": 0.5, "val_roc_auc": 0.8}), 12.0)
    assert standing.running == {"t4": 11.0, "t5": 11.0}
    assert standing.side_by_side == 2
    assert standing.scores(standing.record.trials["t4"]) == {1: 0.8}
    assert standing.losses(standing.record.trials["t4"]) == {1: 0.5}
    hear(AttemptFailed("t5", 1, "it was killed"), 13.0)
    assert (list(standing.running), standing.failures[-1].reason) == (["t4"], "attempt 1 lost: it was killed")
    hear(StudyEnded("interrupted", "", 9.0), 14.0)
    assert (standing.stage(), standing.running) == ("interrupted", {})
    hear(StudyResumed(8, []), 20.0)
    assert (standing.taken_up_at, standing.side_by_side) == (20.0, 0)
    assert standing.stage() == "images and frozen layers"
    hear(AttemptStarted("t4", 2), 21.0)
    hear(TrialCompleted("t4", 0.9, {"val_roc_auc": 0.9}, 0, "", 1.0), 22.0)
    assert (standing.stage(), standing.over_here, standing.last_at) == ("search", 1, 22.0)


def test_parameters_that_do_not_differ_are_not_shown(tmp_path: Path) -> None:
    """What all leaders have in common says nothing about them."""
    first, second = _after(_entries(tmp_path, trials=2, failed=0.0)).leaders(2)
    second.params = {**first.params, "dropout": 0.123}
    assert varying([first, second]) == ["dropout"]
    assert varying([first]) == list(first.params)


def test_trainings_that_confirm_are_counted_as_they_are_planned(tmp_path: Path) -> None:
    """Those of leaders that no longer lead do not count; before the first begins it is as many as there can be."""
    confirmed = SPACE.replace("confirm: {top: 0}", "confirm: {top: 2, seeds: 2, folds: 3}")
    space = synthetic_space(confirmed)
    standing = _after(_entries(tmp_path, trials=8, failed=0.0, pruned=0.0, space=space, ended=False))
    record = standing.record
    record.confirm = space.confirm.model_dump()
    assert (standing.retrained, standing.retrainings) == (0, 4)
    planned = retrainings(record)
    stale = dataclasses.replace(planned[0], trial="t9999-f3-32px-s1")
    for at, retraining in enumerate([stale, *planned[:3]]):
        events = (
            TrialStarted(retraining.trial, 9 + at, {}, retraining.config, confirms=retraining.confirms, folds=3),
            AttemptStarted(retraining.trial, 1),
            TrialCompleted(retraining.trial, 0.9, {"val_roc_auc": 0.9}, 0, "", 2.0),
        )
        for event in events:
            record.apply(event)
            standing.hear(event, 1.0)
    assert (standing.retrained, standing.retrainings) == (3, 4)
    assert standing.stage() == "confirmation"
