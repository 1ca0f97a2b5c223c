"""The state of a study, as it follows from its events."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal

from pneumo_core.errors import StoreError
from tuning.events import (
    EpochEnded,
    Event,
    RunLinked,
    StudyEnded,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
    TrialStarted,
)

TrialStatus = Literal["running", "completed", "failed", "interrupted"]


@dataclasses.dataclass
class TrialRecord:
    """What is known of one trial.

    Attributes:
        params: values of the searched parameters; None for one whose condition did not hold.
        metrics: final ones, `val_roc_auc` and the like; empty before the end.
        epochs: how many were trained so far.
    """

    trial: str
    number: int
    params: dict[str, Any]
    config: dict[str, Any]
    status: TrialStatus = "running"
    score: float | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    epochs: int = 0
    best_epoch: int | None = None
    weights_digest: str | None = None
    activations_digest: str | None = None
    variant_digests: list[str] = dataclasses.field(default_factory=list)
    run_id: str | None = None
    duration_s: float | None = None
    reason: str | None = None


@dataclasses.dataclass
class StudyRecord:
    """What is known of one study.

    Attributes:
        started: its settings.
        trials: by id, in the order of their start.
        run_id: of the study's own MLflow run.
        ended: how it ended; None while it runs, or if its process was killed.
    """

    started: StudyStarted
    trials: dict[str, TrialRecord] = dataclasses.field(default_factory=dict)
    run_id: str | None = None
    ended: StudyEnded | None = None

    def ranked(self) -> list[TrialRecord]:
        """Returns all trials, best score first, those without a score at the end.

        Of equals the one that was trained longer comes first (a later rung of Hyperband), then the earlier one.
        """
        sign = -1 if self.started.direction == "max" else 1

        def key(trial: TrialRecord) -> tuple[float, int, int]:
            score = math.inf if trial.score is None else sign * trial.score
            return (score, -trial.config.get("stop_after", 0), trial.number)

        return sorted(self.trials.values(), key=key)

    def best(self) -> TrialRecord | None:
        """Returns the best completed trial, if any."""
        return next((trial for trial in self.ranked() if trial.status == "completed"), None)

    def count(self, status: TrialStatus) -> int:
        """Returns how many trials have the status."""
        return sum(trial.status == status for trial in self.trials.values())

    def apply(self, event: Event) -> None:
        """Takes in one event.

        Side effects:
            Changes this record.
        """
        match event:
            case TrialStarted():
                self.trials[event.trial] = TrialRecord(event.trial, event.number, event.params, event.config)
            case RunLinked(trial=""):
                self.run_id = event.run_id
            case RunLinked():
                self.trials[event.trial].run_id = event.run_id
            case EpochEnded():
                self.trials[event.trial].epochs = event.epoch + 1
            case TrialCompleted():
                self._complete(event)
            case TrialFailed():
                trial = self.trials[event.trial]
                trial.status, trial.reason, trial.duration_s = "failed", event.reason, event.duration_s
            case StudyEnded():
                self._end(event)
            case StudyStarted():
                raise StoreError(f"study {event.study}: its journal begins twice; restore the file from a copy.")

    def _complete(self, event: TrialCompleted) -> None:
        trial = self.trials[event.trial]
        trial.status, trial.score, trial.metrics = "completed", event.score, event.metrics
        trial.best_epoch, trial.weights_digest = event.best_epoch, event.weights_digest
        trial.activations_digest, trial.variant_digests = event.activations_digest, event.variant_digests
        trial.duration_s = event.duration_s

    def _end(self, event: StudyEnded) -> None:
        self.ended = event
        for trial in self.trials.values():
            if trial.status == "running":
                trial.status = "interrupted"


def replay(events: Iterable[Event]) -> StudyRecord:
    """Folds the events of a study, in order, to its record.

    Raises:
        StoreError: if the events do not begin with the study's start, or speak of trials that never started.
    """
    events = iter(events)
    first = next(events, None)
    if not isinstance(first, StudyStarted):
        raise StoreError("the study's journal does not begin with its start; the study never began.")
    record = StudyRecord(first)
    for event in events:
        try:
            record.apply(event)
        except KeyError as error:
            raise StoreError(f"study {first.study}: its journal speaks of {error} before that started.") from error
    return record
