"""The view of a running study: bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import contextlib

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tuning.confirmed import confirmation_sentences
from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    Event,
    StudyConfirmed,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
)
from tuning.protocol import images_in_words
from tuning.ranking import format_value
from tuning.record import StudyRecord, TrialRecord


class PatientConsole(Console):
    """A console that falls silent when its pipe or terminal is closed, instead of ending the program."""

    def on_broken_pipe(self) -> None:
        """Called by rich, whose own way is to exit."""
        self.quiet = True


class ProgressView:
    """A study's listener that shows what happens.

    Args:
        console: where to; bars are drawn only if it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._study = TaskID(0)
        self._trials: dict[str, TaskID] = {}

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Shows one event; a display that is gone (a closed pipe or terminal) never stops the study."""
        with contextlib.suppress(OSError):
            self._show(event, record)

    def _show(self, event: Event, record: StudyRecord) -> None:
        match event:
            case StudyStarted():
                self._start(record, f"{event.trials} trials")
            case StudyResumed(search=False):
                self._start(record, f"confirms its leaders; {len(record.searched)} trials")
            case StudyResumed():
                self._start(record, f"goes on at {_searched(record)} of {event.trials} trials")
            case AttemptStarted():
                self._start_trial(record.trials[event.trial])
            case AttemptFailed():
                self._say(f"{event.trial}  attempt {event.attempt} lost: {event.reason}")
            case EpochEnded():
                self._advance(event, record)
            case TrialCompleted():
                self._finish_trial(record.trials[event.trial], self._score_text(record, event.trial), record)
            case TrialFailed():
                self._finish_trial(record.trials[event.trial], f"failed: {event.reason}", record)
            case StudyConfirmed():
                for sentence in confirmation_sentences(record):
                    self._say(f"study {record.started.study}: {sentence}")
            case StudyEnded():
                self._stop(event, record)

    def _start(self, record: StudyRecord, what: str) -> None:
        started = record.started
        self._say(
            f"study {started.study}: {what} by {started.algorithm} over "
            f"{', '.join(started.parameters) or 'one configuration'}; "
            f"{images_in_words(started)}{_confirmation_in_words(record)}"
        )
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console, transient=True)
            self._bars.columns += (TextColumn("left"), TimeRemainingColumn())
            self._trials = {}
            total = record.trials_wanted + _retrainings(record)
            self._study = self._bars.add_task("trials", total=total, completed=_done(record), note="")
            self._bars.start()

    def _start_trial(self, trial: TrialRecord) -> None:
        if self._bars and trial.trial not in self._trials:
            note = f"{trial.trial} {_values(trial.params)}"
            self._trials[trial.trial] = self._bars.add_task("epochs", total=_epochs(trial), note=note)

    def _advance(self, event: EpochEnded, record: StudyRecord) -> None:
        if self._bars and event.trial in self._trials:
            self._bars.update(self._trials[event.trial], completed=event.epoch + 1)
            parts = (record.trials[trial].epochs / _epochs(record.trials[trial]) for trial in self._trials)
            self._bars.update(self._study, completed=_done(record) + sum(parts))

    def _finish_trial(self, trial: TrialRecord, outcome: str, record: StudyRecord) -> None:
        self._say(f"{trial.trial}  {outcome}  {trial.duration_s:.1f} s  {_values(trial.params)}")
        if self._bars:
            if trial.trial in self._trials:
                self._bars.remove_task(self._trials.pop(trial.trial))
            best = record.best()
            note = f"best {best.score:.4f} ({best.trial})" if best else ""
            self._bars.update(self._study, completed=_done(record), note=note)

    def _score_text(self, record: StudyRecord, trial: str) -> str:
        best = record.best()
        star = " *" if best and best.trial == trial else "  "
        pruned = " pruned" if record.trials[trial].status == "pruned" else ""
        return f"{record.started.objective} {record.trials[trial].score:.4f}{star}{pruned}"

    def _stop(self, event: StudyEnded, record: StudyRecord) -> None:
        if self._bars:
            self._bars.stop()
        study, counts = record.started.study, ", ".join(f"{n} {status}" for status, n in record.counts().items())
        reason = f" ({event.reason})" if event.reason else ""
        self._say(f"study {study}: {event.status}{reason} after {event.wall_s:.1f} s, {counts}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _retrainings(record: StudyRecord) -> int:
    return record.confirm["top"] * record.confirm["seeds"] if record.confirm else 0


def _confirmation_in_words(record: StudyRecord) -> str:
    if not record.confirm:
        return ""
    top, seeds = record.confirm["top"], record.confirm["seeds"]
    return f"; then the best {top} are confirmed, {seeds} seed{'s' if seeds > 1 else ''} each"


def _searched(record: StudyRecord) -> int:
    return sum(trial.over for trial in record.searched)


def _done(record: StudyRecord) -> int:
    return sum(trial.over for trial in record.trials.values())


def _epochs(trial: TrialRecord) -> int:
    return int(trial.config["stop_after"] or trial.config["epochs"])


def _values(params: dict[str, object]) -> str:
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items() if value is not None)
