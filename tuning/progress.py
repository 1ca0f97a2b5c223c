"""The view of a running study: bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import contextlib

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tuning.events import EpochEnded, Event, StudyEnded, StudyStarted, TrialCompleted, TrialFailed, TrialStarted
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
        self._study = self._trial = TaskID(0)

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Shows one event; a display that is gone (a closed pipe or terminal) never stops the study."""
        with contextlib.suppress(OSError):
            self._show(event, record)

    def _show(self, event: Event, record: StudyRecord) -> None:
        match event:
            case StudyStarted():
                self._start(event)
            case TrialStarted():
                self._start_trial(event)
            case EpochEnded():
                self._advance(event, record)
            case TrialCompleted():
                self._finish_trial(record.trials[event.trial], self._score_text(record, event.trial), record)
            case TrialFailed():
                self._finish_trial(record.trials[event.trial], f"failed: {event.reason}", record)
            case StudyEnded():
                self._stop(event, record)

    def _start(self, event: StudyStarted) -> None:
        images = event.images
        self._say(
            f"study {event.study}: {event.trials} trials by {event.algorithm} over "
            f"{', '.join(event.parameters) or 'one configuration'}; "
            f"{images['training']} training and {images['validation']} validation images"
        )
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bars = Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console, transient=True)
            self._bars.columns += (TextColumn("left"), TimeRemainingColumn())
            self._study = self._bars.add_task("trials", total=event.trials, note="")
            self._trial = self._bars.add_task("epochs", total=1, note="")
            self._bars.start()

    def _start_trial(self, event: TrialStarted) -> None:
        if self._bars:
            epochs = event.config["stop_after"] or event.config["epochs"]
            self._bars.reset(self._trial, total=epochs, note=f"{event.trial} {_values(event.params)}")

    def _advance(self, event: EpochEnded, record: StudyRecord) -> None:
        if self._bars:
            config = record.trials[event.trial].config
            part = (event.epoch + 1) / (config["stop_after"] or config["epochs"])
            self._bars.update(self._trial, completed=event.epoch + 1)
            self._bars.update(self._study, completed=len(record.trials) - 1 + part)

    def _finish_trial(self, trial: TrialRecord, outcome: str, record: StudyRecord) -> None:
        self._say(f"{trial.trial}  {outcome}  {trial.duration_s:.1f} s  {_values(trial.params)}")
        if self._bars:
            best = record.best()
            note = f"best {best.score:.4f} ({best.trial})" if best else ""
            self._bars.update(self._study, completed=len(record.trials), note=note)

    def _score_text(self, record: StudyRecord, trial: str) -> str:
        best = record.best()
        star = " *" if best and best.trial == trial else "  "
        return f"{record.started.objective} {record.trials[trial].score:.4f}{star}"

    def _stop(self, event: StudyEnded, record: StudyRecord) -> None:
        if self._bars:
            self._bars.stop()
        study, counts = record.started.study, f"{record.count('completed')} completed, {record.count('failed')} failed"
        reason = f" ({event.reason})" if event.reason else ""
        self._say(f"study {study}: {event.status}{reason} after {event.wall_s:.1f} s, {counts}")
        if event.status == "interrupted" and record.best():
            self._say(f"what is finished is kept: tune leaderboard {study}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _values(params: dict[str, object]) -> str:
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items() if value is not None)
