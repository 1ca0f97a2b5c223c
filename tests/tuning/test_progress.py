"""The view of a running study: plain lines in a pipe, bars on a terminal, the same events for both."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    Event,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
    TrialStarted,
)
from tuning.progress import PatientConsole, ProgressView
from tuning.record import StudyRecord

STARTED = StudyStarted(
    study="s", space="vgg16", space_digest="", definition={}, objective="val_roc_auc", direction="max",
    algorithm="tpe", trials=2, seed=0, parameters=["dropout"], data="demo", data_root="", data_digest="",
    split_digest="", class_names=["A", "B"], images={"training": 80, "validation": 20}, commit="", versions={},
    threads=1, tracking_uri="",
)  # fmt: skip
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor
CONFIG = {"epochs": 2, "stop_after": 0}
EVENTS: list[Event] = [
    STARTED,
    TrialStarted("t0001", 1, {"dropout": 0.25}, CONFIG),
    AttemptStarted("t0001", 1),
    EpochEnded("t0001", 0, {}),
    EpochEnded("t0001", 1, {}),
    TrialCompleted("t0001", 0.91234, {"val_roc_auc": 0.91234}, 1, "", 3.21),
    TrialStarted("t0002", 2, {"dropout": 0.5}, CONFIG),
    AttemptStarted("t0002", 1),
    TrialFailed("t0002", "loss became nan", 1.0),
    StudyEnded("finished", "", 5.0),
]


def _shown(events: Sequence[Event] = EVENTS, *, terminal: bool) -> str:
    file = io.StringIO()
    view = ProgressView(Console(file=file, force_terminal=terminal, width=120, color_system=None))
    record = StudyRecord(STARTED)
    for event in events:
        if event is not STARTED:
            record.apply(event)
        view(event, record)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_every_trial_gets_its_line(terminal: bool) -> None:
    """Score, best mark, duration and parameters; failures with their reason."""
    shown = _shown(terminal=terminal)
    assert "t0001  val_roc_auc 0.9123 *  3.2 s  dropout=0.25" in shown
    assert "t0002  failed: loss became nan  1.0 s  dropout=0.5" in shown
    assert "study s: finished after 5.0 s, 1 completed, 1 failed" in shown


def test_a_pipe_gets_no_control_characters() -> None:
    """A log file holds lines, not bars."""
    shown = _shown(terminal=False)
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 4


def test_a_closed_pipe_stops_no_study() -> None:
    """`tune run 2>&1 | head -3` goes on when head has gone."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    view, record = ProgressView(PatientConsole(file=Closed())), StudyRecord(STARTED)
    for event in EVENTS:
        if event is not STARTED:
            record.apply(event)
        view(event, record)


def test_of_equal_scores_the_longer_training_ranks_first() -> None:
    """A Hyperband rung of one epoch does not win over its own continuation."""
    record = StudyRecord(STARTED)
    for number, epochs in ((1, 1), (2, 3), (3, 1)):
        record.apply(TrialStarted(f"t{number}", number, {}, {"stop_after": epochs}))
        record.apply(TrialCompleted(f"t{number}", 0.9, {}, 0, "", 1.0))
    assert [trial.trial for trial in record.ranked()] == ["t2", "t1", "t3"]


def test_a_terminal_gets_bars() -> None:
    """Below the lines stands how far the study is; at the end the cursor is back."""
    shown = _shown(terminal=True)
    assert "0/2" in shown
    assert shown.count(HIDE) == shown.count(SHOW) == 1
    assert HIDE not in _shown(terminal=False)


@pytest.mark.parametrize("terminal", [False, True])
def test_what_was_lost_and_taken_up_again_is_told(terminal: bool) -> None:
    """A lost attempt with its reason; where a resumed study stands."""
    events: list[Event] = [
        *EVENTS[:7],
        AttemptFailed("t0002", 1, "it took longer than 9 s"),
        AttemptStarted("t0002", 2),
        StudyEnded("interrupted", "", 5.0),
        StudyResumed(3, []),
        AttemptStarted("t0002", 3),
        TrialCompleted("t0002", 0.95, {"val_roc_auc": 0.95}, 1, "", 3.21, pruned=True),
        StudyEnded("finished", "", 5.0),
    ]
    shown = _shown(events, terminal=terminal)
    assert "t0002  attempt 1 lost: it took longer than 9 s" in shown
    assert "study s: goes on at 1 of 3 trials by tpe" in shown
    assert "t0002  val_roc_auc 0.9500   pruned" in shown
    assert "1 completed, 0 failed, 1 pruned" in shown
