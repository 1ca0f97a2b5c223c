"""The state of a study, as it follows from its events."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal

from pneumo_core.errors import StoreError
from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    Event,
    RunLinked,
    StudyConfirmed,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialConfirmed,
    TrialFailed,
    TrialStarted,
    TrialUnconfirmed,
)

TrialStatus = Literal["running", "completed", "pruned", "failed", "interrupted"]


@dataclasses.dataclass
class TrialRecord:
    """What is known of one trial.

    Attributes:
        params: values of the searched parameters; None for one whose condition did not hold.
        metrics: final ones, `val_roc_auc` and the like; empty before the end.
        epochs: how many were trained so far, those of the parent included.
        parent: trial whose training this one continues; empty for none.
        first_epoch: epochs that the parent has trained.
        prune_above: see `TrialStarted`.
        epoch_losses: validation loss of each epoch so far, by epochs trained.
        epoch_scores: the objective of each epoch so far, likewise, if it is known that early.
        training_s: seconds that its epochs took so far, without what comes before and after them.
        attempts: how many were started.
        lost_attempts: how many of them were lost with their process, and count.
        intervals: ends of each metric's 95 % interval.
        threshold: of the operating point that its scores choose.
        temperature: likewise.
        confirms: trial of the search that this one confirms; empty for a trial of the search.
        folds: that it is trained in; 1 for a hold-out.
        confirmed: its place among the confirmed ones, if it has one.
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
    parent: str = ""
    first_epoch: int = 0
    prune_above: dict[str, float] = dataclasses.field(default_factory=dict)
    epoch_losses: dict[int, float] = dataclasses.field(default_factory=dict)
    epoch_scores: dict[int, float] = dataclasses.field(default_factory=dict)
    training_s: float = 0.0
    attempts: int = 0
    lost_attempts: int = 0
    intervals: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    threshold: float | None = None
    temperature: float | None = None
    confirms: str = ""
    folds: int = 1
    confirmed: TrialConfirmed | None = None

    @property
    def place(self) -> TrialConfirmed | None:
        """Its place among the confirmed ones; None for a baseline that only stands beside them."""
        return self.confirmed if self.confirmed and self.confirmed.leads else None

    @property
    def over(self) -> bool:
        """Whether the trial has its result, good or bad."""
        return self.status in ("completed", "pruned", "failed")


@dataclasses.dataclass
class StudyRecord:
    """What is known of one study.

    Attributes:
        started: its settings.
        trials: by id, in the order of their start; those that confirm others among them.
        run_id: of the study's own MLflow run.
        ended: how it ended; None while it runs, or if its process was killed.
        trials_wanted: how many trials are asked for, after resumes.
        forced: what had changed when the study was resumed, and was accepted.
        identity: the settings with data, space and program as they were when the study was last taken up.
        confirm: how the leaders are to be confirmed, see `search_spaces.Confirmation`; empty for not at all.
        confirmed: what became of it the last time; None before the end of that.
        outdated: whether there is something new since, or it is to be done in another way: the old one stands until
            then.
        searching: whether the search goes on; else its leaders as they are now are confirmed.
        generation: how many times the study went on although data or program had changed.
        open: the trials that are not over, by id: those of the search and those that confirm others.
    """

    started: StudyStarted
    trials: dict[str, TrialRecord] = dataclasses.field(default_factory=dict)
    run_id: str | None = None
    ended: StudyEnded | None = None
    trials_wanted: int = 0
    forced: list[str] = dataclasses.field(default_factory=list)
    identity: StudyStarted = dataclasses.field(init=False)
    confirm: dict[str, Any] = dataclasses.field(init=False)
    confirmed: StudyConfirmed | None = None
    outdated: bool = False
    searching: bool = True
    generation: int = 0
    open: dict[str, TrialRecord] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.trials_wanted = self.trials_wanted or self.started.trials
        self.identity, self.confirm = self.started, self.started.confirm
        # Kept up event by event: a study asks for both after every one, however many trials it has.
        self._searched = [trial for trial in self.trials.values() if not trial.confirms]
        self.open = {name: trial for name, trial in self.trials.items() if not trial.over}

    @property
    def searched(self) -> list[TrialRecord]:
        """The trials of the search, in the order of their start."""
        return self._searched.copy()

    @property
    def begun(self) -> int:
        """How many trials of the search were started."""
        return len(self._searched)

    @property
    def confirming(self) -> list[TrialRecord]:
        """The trials that confirm others, in the order of their start."""
        return [trial for trial in self.trials.values() if trial.confirms]

    @property
    def places(self) -> list[TrialConfirmed]:
        """The places of confirmed trials, the first first."""
        places = [trial.confirmed for trial in self.searched if trial.confirmed]
        return sorted(places, key=lambda place: place.rank)

    def ranked(self) -> list[TrialRecord]:
        """Returns the trials of the search: confirmed ones first, then by score, pruned ones, those without a score.

        Of equals the one that was trained longer comes first (a later rung of Hyperband), then the earlier one.
        """
        sign = -1 if self.started.direction == "max" else 1

        def key(trial: TrialRecord) -> tuple[float, bool, float, int, int]:
            rank = trial.place.rank if trial.place else math.inf
            score = math.inf if trial.score is None else sign * trial.score
            return (rank, trial.status != "completed", score, -trial.config.get("stop_after", 0), trial.number)

        return sorted(self.searched, key=key)

    def best(self) -> TrialRecord | None:
        """Returns the best completed trial, the best confirmed one if there are any."""
        return next((trial for trial in self.ranked() if trial.status == "completed"), None)

    def count(self, status: TrialStatus) -> int:
        """Returns how many trials of the search have the status."""
        return sum(trial.status == status for trial in self.searched)

    @property
    def open_searched(self) -> list[TrialRecord]:
        """The trials of the search that are not over, in the order of their start."""
        return [trial for trial in self.open.values() if not trial.confirms]

    def is_searched(self) -> bool:
        """Returns whether as many trials of the search as are wanted are over."""
        return self.begun >= self.trials_wanted and not self.open_searched

    def is_confirmed(self) -> bool:
        """Returns whether the leaders are confirmed, if they are to be and there are any."""
        done = self.confirmed is not None and not self.outdated
        return not self.confirm or done or self.best() is None

    def is_complete(self) -> bool:
        """Returns whether the search and what confirms it are over."""
        return self.is_searched() and self.is_confirmed()

    def counts(self) -> dict[str, int]:
        """Returns how many trials completed, failed and, if any, were pruned."""
        counts = {"completed": self.count("completed"), "failed": self.count("failed")}
        return counts | ({"pruned": self.count("pruned")} if self.count("pruned") else {})

    def apply(self, event: Event) -> None:
        """Takes in one event.

        Side effects:
            Changes this record.
        """
        match event:
            case TrialStarted():
                self._start(event)
            case AttemptStarted():
                self.trials[event.trial].attempts = event.attempt
            case AttemptFailed():
                self.trials[event.trial].lost_attempts += not event.blameless
            case RunLinked(trial=""):
                self.run_id = event.run_id
            case RunLinked():
                self.trials[event.trial].run_id = event.run_id
            case EpochEnded():
                trial = self.trials[event.trial]
                trial.epochs = event.epoch + 1
                trial.epoch_losses[trial.epochs] = event.metrics.get("val_loss", math.nan)
                if self.started.objective in event.metrics:
                    trial.epoch_scores[trial.epochs] = event.metrics[self.started.objective]
                trial.training_s += event.metrics.get("duration_s", 0.0)
            case TrialCompleted():
                self._complete(event)
            case TrialFailed():
                trial = self.trials[event.trial]
                trial.status, trial.reason, trial.duration_s = "failed", event.reason, event.duration_s
                self.open.pop(event.trial, None)
            case TrialConfirmed():
                self.trials[event.trial].confirmed = event
            case TrialUnconfirmed():
                self.trials[event.trial].confirmed = None
            case StudyConfirmed():
                self.confirmed, self.outdated = event, False
            case StudyEnded():
                self._end(event)
            case StudyResumed():
                self._resume(event)
            case StudyStarted():
                raise StoreError(f"study {event.study}: its journal begins twice; restore the file from a copy.")

    def _start(self, event: TrialStarted) -> None:
        trial = TrialRecord(event.trial, event.number, event.params, event.config)
        trial.parent, trial.first_epoch, trial.prune_above = event.parent, event.first_epoch, event.prune_above
        trial.epochs = event.first_epoch
        trial.confirms, trial.folds = event.confirms, event.folds or self.started.folds
        self.trials[event.trial] = self.open[event.trial] = trial
        if not event.confirms:
            self._searched.append(trial)
        self.outdated |= not event.confirms  # there is something new to compare with

    def _complete(self, event: TrialCompleted) -> None:
        trial = self.trials[event.trial]
        trial.status = "pruned" if event.pruned else "completed"
        trial.score, trial.metrics = event.score, event.metrics
        trial.best_epoch, trial.weights_digest = event.best_epoch, event.weights_digest
        trial.activations_digest, trial.variant_digests = event.activations_digest, event.variant_digests
        trial.intervals = {name: [_known(end) for end in ends] for name, ends in event.intervals.items()}
        trial.duration_s = event.duration_s
        trial.threshold, trial.temperature = event.threshold, event.temperature
        self.open.pop(event.trial, None)

    def _end(self, event: StudyEnded) -> None:
        self.ended = event
        for trial in self.trials.values():
            if trial.status == "running":
                trial.status = "interrupted"

    def _resume(self, event: StudyResumed) -> None:
        self.ended, self.trials_wanted = None, event.trials
        self.forced += event.forced
        self.identity = dataclasses.replace(self.identity, **event.identity)
        self.searching, self.generation = event.search, self.generation + bool(event.forced)
        if event.confirm is not None:
            self.confirm, self.outdated = event.confirm, True
            self._forget_lost()
        for trial in self.trials.values():
            if trial.status == "interrupted":
                trial.status = "running"

    def _forget_lost(self) -> None:
        """Trainings that confirm and were lost with their process are tried again when they are asked for again."""
        for trial in self.confirming:
            if trial.status == "failed" and trial.lost_attempts:
                trial.status, trial.lost_attempts, trial.reason = "interrupted", 0, None
        self.open = {name: trial for name, trial in self.trials.items() if not trial.over}


def _known(end: float | None) -> float | None:
    """An end of an interval, or None where it is undefined, by whatever name."""
    return end if end is not None and math.isfinite(end) else None


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
