"""One search, from space to winner: ask the oracle, have the trial made, record what happened, tell the oracle."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from pneumo_core.durability import flush_tree
from pneumo_core.errors import DivergedError, OutOfMemoryError, StoreError, WorkerError
from search_spaces import SearchSpace
from tuning.attempt import Job
from tuning.checkpoints import Checkpoints
from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    Event,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    StudyStatus,
    TrialCompleted,
    TrialFailed,
    TrialStarted,
)
from tuning.executors import Begun, EpochReport, Executor, Finished, Left, Lost, Message, Raised
from tuning.journal import Journal, read_journal
from tuning.oracles import NoSuggestion, SearchOracle, Suggestion
from tuning.pruning import pruning_thresholds
from tuning.record import StudyRecord, TrialRecord
from tuning.signals import StopRequest
from tuning.spaces import base_config
from tuning.store import StudyFolder
from tuning.trial import TrialResult, write_trial_files

Listener = Callable[[Event, StudyRecord], None]
"""Is told every event, with the record that the event is already part of."""

EXHAUSTED = "every configuration was tried"
"""Why a study ended, if its space holds fewer configurations than it was asked for."""

_POLL_S = 0.2


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """A study that is over."""

    record: StudyRecord
    wall_s: float

    def summary(self) -> dict[str, Any]:
        """Returns the document that `tune run --json` prints."""
        started, best = self.record.started, self.record.best()
        winner = best and {"trial": best.trial, "score": best.score, "params": best.params, "run_id": best.run_id}
        return {
            "study": started.study,
            "space": started.space,
            "objective": started.objective,
            "direction": started.direction,
            "best": winner,
            "trials": self.record.counts(),
            "wall_s": round(self.wall_s, 3),
        }


@dataclasses.dataclass(frozen=True)
class StudyLimits:
    """When a study gives up.

    Attributes:
        time_s: no trial is started after this many seconds.
        attempts: a trial whose attempts were lost this many times has failed.
    """

    time_s: float = math.inf
    attempts: int = 2


class Study:
    """A search in progress. Every event is on disk before a listener hears of it.

    Args:
        record: all that was decided beforehand, and what happened already if the study is taken up again.
        space: what is searched.
        folder: of the study, held by this process.
        executor: makes the attempts.
        limits: when to give up.
        stop: asked between events whether the user wants to stop.
        clock: monotonic, in seconds.
        wall_clock: in seconds since 1970, for the journal.

    Attributes:
        record: what happened so far.
        listeners: told of every event; to be filled before `run`.
    """

    def __init__(
        self,
        record: StudyRecord,
        space: SearchSpace,
        folder: StudyFolder,
        executor: Executor,
        *,
        limits: StudyLimits | None = None,
        stop: StopRequest | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.record = record
        self.listeners: list[Listener] = []
        self._space, self._folder, self._executor = space, folder, executor
        self._limits, self._stop, self._clock = limits or StudyLimits(), stop or StopRequest(), clock
        self._base = base_config(space)
        self._checkpoints = Checkpoints(folder.checkpoints)
        self._journal = Journal(folder.journal, wall_clock)
        self._announcing = threading.RLock()  # the projection announces runs from a thread of its own
        self._running: dict[str, float] = {}
        self._waiting: list[str] = []
        self._oracle = SearchOracle(space, self._base.epochs)
        self._exhausted = False
        self._losses_in_a_row = 0

    def announce(self, event: Event) -> None:
        """Records an event and tells the listeners.

        Side effects:
            Appends to the journal.
        """
        with self._announcing:
            self._journal.append(event)
            if not isinstance(event, StudyStarted):
                self.record.apply(event)
            for listener in self.listeners:
                listener(event, self.record)

    def run(self, first: StudyStarted | StudyResumed) -> StudyResult:
        """Runs the search to its end.

        Args:
            first: what is recorded first: that the study starts, or that it goes on.

        Raises:
            PneumoError: if something failed that every further trial would meet.
            KeyboardInterrupt: if the user interrupts; trials are left at a state they can be taken up from.
        """
        begun, status, reason = self._clock(), "failed", ""
        self.announce(first)
        try:
            self._take_up()
            reason = self._search(begun)
            if self.record.best():
                status = "finished"
            else:
                reason = reason or "no trial completed"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._executor.close()
            self.announce(StudyEnded(cast(StudyStatus, status), reason, self._clock() - begun))
        return StudyResult(self.record, self._clock() - begun)

    def _take_up(self) -> None:
        """Brings the oracle to where the journal ends, and lists the trials that were caught in the middle."""
        for event in self._history():
            if isinstance(event, TrialStarted):
                values = {name: value for name, value in event.params.items() if value is not None}
                self._oracle.restore(
                    event.trial, {p.name: values[p.name] for p in self._space.parameters if p.name in values}
                )
            else:
                self._oracle.tell(event.trial, event.score if isinstance(event, TrialCompleted) else None)
        self._waiting = [trial.trial for trial in self.record.trials.values() if not trial.over]
        self._discard_checkpoints()

    def _history(self) -> list[TrialStarted | TrialCompleted | TrialFailed]:
        if not self.record.trials:
            return []
        kinds = (TrialStarted, TrialCompleted, TrialFailed)
        return [event for event in read_journal(self._folder.journal) if isinstance(event, kinds)]

    def _search(self, begun: float) -> str:
        """Asks and waits until there is an end; returns why it came before the last trial, if it did."""
        while True:
            in_time = self._clock() - begun < self._limits.time_s
            if self._stop.requested:
                self._executor.leave()
            elif in_time:
                self._fill()
            if not self._running:
                break
            self._executor.wait(self._hear, _POLL_S)
        if self.record.is_complete():
            return ""
        if self._stop.requested:
            raise KeyboardInterrupt
        return EXHAUSTED if self._exhausted else "time limit reached"

    def _fill(self) -> None:
        """Hands out attempts while there is room: trials that were caught in the middle first, then new ones."""
        while self._executor.room:
            trial = self._waiting.pop(0) if self._waiting else self._next_trial()
            if trial is None:
                return
            self._start_attempt(self.record.trials[trial])

    def _next_trial(self) -> str | None:
        number = len(self.record.trials) + 1
        if number > self.record.trials_wanted:
            return None
        trial = f"t{number:04d}"
        suggestion = self._oracle.ask(trial)
        if isinstance(suggestion, NoSuggestion):
            self._exhausted = suggestion is NoSuggestion.EXHAUSTED
            return None
        config = suggestion.config(self._base)
        finished = [other.epoch_losses for other in self.record.trials.values() if other.score is not None]
        thresholds = pruning_thresholds(self.record.started.pruning, finished, config.epochs_to_run)
        self.announce(
            TrialStarted(
                trial,
                number,
                self._params(suggestion),
                config.to_mapping(),
                suggestion.parent,
                suggestion.first_epoch,
                {str(epochs): loss for epochs, loss in thresholds.items()},
            )
        )
        return trial

    def _params(self, suggestion: Suggestion) -> dict[str, Any]:
        """Every searched parameter, so that all trials have the same keys; None where a condition does not hold."""
        params = {name: suggestion.values.get(name) for name in self.record.started.parameters}
        return params | ({"stop_after": suggestion.stop_after} if suggestion.stop_after else {})

    def _start_attempt(self, trial: TrialRecord) -> None:
        self.announce(AttemptStarted(trial.trial, trial.attempts + 1))
        self._running[trial.trial] = self._clock()
        self._executor.submit(
            Job(
                trial=trial.trial,
                attempt=trial.attempts,
                config=trial.config,
                checkpoints=self._checkpoints.folder,
                folds=self.record.started.folds,
                parent=trial.parent,
                prune_above=trial.prune_above,
                keep_state=trial.trial in self._oracle.in_use(),
            )
        )

    def _hear(self, message: Message) -> None:
        """Takes in a message; one of an attempt that was given up is stale."""
        trial = self.record.trials[message.trial]
        if message.trial not in self._running or message.attempt != trial.attempts:
            return
        if isinstance(message, Begun):
            self._running[message.trial] = self._clock()
            return
        if isinstance(message, EpochReport):
            self._losses_in_a_row = 0
            self._note_epoch(trial, message.epoch, message.metrics)
            return
        begun = self._running.pop(message.trial)
        match message:
            case Finished():
                self._finish(trial, message.result, begun)
            case Raised():
                if not isinstance(message.error, DivergedError | OutOfMemoryError):
                    raise message.error
                self._fail(trial, str(message.error), begun)
            case Lost():
                self.announce(AttemptFailed(trial.trial, trial.attempts, message.reason))
                self._losses_in_a_row += 1
                if self._losses_in_a_row >= 2 * self._limits.attempts:  # two trials: then it is not their fault
                    raise WorkerError(
                        f"{self._losses_in_a_row} workers in a row were lost before an epoch was trained, at last "
                        f"because {message.reason}; look at memory, disk and data, then resume the study."
                    )
                if trial.lost_attempts >= self._limits.attempts:
                    self._fail(trial, f"lost {trial.lost_attempts} times, at last because {message.reason}", begun)
                else:
                    self._waiting.append(trial.trial)
            case Left():
                pass

    def _note_epoch(self, trial: TrialRecord, epoch: int, metrics: dict[str, float]) -> None:
        """Epochs are recorded once and in order; those repeated after a checkpoint are the same to the last digit."""
        if epoch == trial.epochs:
            self.announce(EpochEnded(trial.trial, epoch, metrics))

    def _finish(self, trial: TrialRecord, result: TrialResult, begun: float) -> None:
        for epoch, metrics in enumerate(result.history):
            self._note_epoch(trial, epoch, metrics)
        score = result.metrics[self._space.objective]
        if not math.isfinite(score):
            reason = f"{self._space.objective} is undefined: no validation image was called that class"
            self._fail(trial, reason, begun)
            return
        with self._writing():
            write_trial_files(result, self._folder.staging(trial.trial))
            flush_tree(self._folder.staging(trial.trial))
        self.announce(
            TrialCompleted(
                trial=trial.trial,
                score=score,
                metrics=result.metrics,
                best_epoch=result.best_epoch,
                weights_digest=result.weights_digest,
                activations_digest=result.activations_digest,
                variant_digests=list(result.variant_digests),
                duration_s=self._clock() - begun,
                pruned=result.pruned,
            )
        )
        self._tell(trial, score)

    def _fail(self, trial: TrialRecord, reason: str, begun: float) -> None:
        self.announce(TrialFailed(trial.trial, reason, self._clock() - begun))
        self._tell(trial, None)

    def _tell(self, trial: TrialRecord, score: float | None) -> None:
        self._oracle.tell(trial.trial, score)
        self._discard_checkpoints()

    def _discard_checkpoints(self) -> None:
        """Removes what neither a trial nor a later rung can go on from."""
        open_trials = {trial.trial for trial in self.record.trials.values() if not trial.over}
        self._checkpoints.discard_all_but(open_trials | self._oracle.in_use())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = self._folder.root
            raise StoreError(f"study {place.name}: its files cannot be written to {place} ({error}).") from error
