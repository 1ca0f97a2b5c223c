"""One study, from space to confirmed winner: have trials made, record what happened, tell the search."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from pneumo_core.durability import flush, flush_tree
from pneumo_core.errors import DivergedError, OutOfMemoryError, StoreError, WorkerError
from search_spaces import SearchSpace
from tuning.attempt import Job
from tuning.checkpoints import Checkpoints
from tuning.confirmation import conclude, expected_s, next_retraining, retrainings
from tuning.confirmed import confirmation_summary, trial_summary
from tuning.events import (
    EXHAUSTED,
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
)
from tuning.executors import Begun, EpochReport, Executor, Finished, Left, Lost, Message, Raised
from tuning.journal import Journal, read_journal
from tuning.record import StudyRecord, TrialRecord
from tuning.search import Search
from tuning.signals import StopRequest
from tuning.store import StudyFolder
from tuning.trial import TrialResult, write_trial_files

Listener = Callable[[Event, StudyRecord], None]
"""Is told every event, with the record that the event is already part of."""

TIME_IS_UP = "time limit reached"
"""Why a study ended before its last trial."""

_POLL_S = 0.2


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """A study that is over."""

    record: StudyRecord
    wall_s: float

    def summary(self) -> dict[str, Any]:
        """Returns the document that `tune run --json` prints."""
        started, best = self.record.started, self.record.best()
        return {
            "study": started.study,
            "space": started.space,
            "objective": started.objective,
            "direction": started.direction,
            "folds": started.folds,
            "best": best and trial_summary(best),
            "confirmed": confirmation_summary(self.record),
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
        executor: makes the attempts, those of the search and those that confirm its leaders.
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
        self._checkpoints = Checkpoints(folder.checkpoints)
        self._journal = Journal(folder.journal, wall_clock)
        self._announcing = threading.RLock()  # the projection announces runs from a thread of its own
        self._running: dict[str, float] = {}
        self._waiting: list[str] = []
        self._search = Search(space)
        self._losses_in_a_row, self._last_loss = 0, -math.inf

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
            reason = self._work(begun)
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
        """Brings the search to where the journal ends, and lists the trials that were caught in the middle."""
        if self.record.trials:
            self._search.take_up(read_journal(self._folder.journal))
        if self.record.searching:
            self._waiting = [trial.trial for trial in self.record.open_searched]
        self._discard_checkpoints()

    def _work(self, begun: float) -> str:
        """Asks and waits until there is an end; returns why it came before the last trial, if it did."""
        while True:
            more = False
            if self._stop.requested:
                self._executor.leave()
            else:
                more = self._fill(self._clock() - begun)
            if not self._running and not more:
                break
            self._executor.wait(self._hear, _POLL_S)
        if not self._stop.requested and self._is_retrained():
            self._conclude()
        if self.record.is_complete() or (not self.record.searching and self.record.is_confirmed()):
            return ""
        if self._stop.requested:
            raise KeyboardInterrupt
        return EXHAUSTED if self._search.exhausted and self.record.is_confirmed() else TIME_IS_UP

    def _fill(self, elapsed_s: float) -> bool:
        """Hands out attempts: those caught in the middle first, then new ones; returns whether it waits for room."""
        while elapsed_s < self._limits.time_s:
            if not self._executor.room:
                return not self._is_done()
            trial = self._waiting.pop(0) if self._waiting else self._next_trial(elapsed_s)
            if trial is None:
                return False
            self._start_attempt(self.record.trials[trial])
        return False

    def _is_done(self) -> bool:
        """Whether nothing is left to hand out, for sure; else only asking would tell."""
        if self._waiting or self._running:
            return False
        return self.record.is_complete() or self._is_retrained()

    def _next_trial(self, elapsed_s: float) -> str | None:
        """The next trial of the search or, when that is over, the next that confirms its leaders."""
        event = self._search.next(self.record) if self._may_search(elapsed_s) else None
        searching = self.record.searching and bool(self.record.open_searched)
        if event is None and not searching:
            retraining = next_retraining(self.record, self._running)
            if isinstance(retraining, str):
                return retraining
            event = retraining
        if event is None:
            return None
        self.announce(event)
        return event.trial

    def _may_search(self, elapsed_s: float) -> bool:
        """Whether there is time for another trial and for confirming the leaders after it; for half of it there is."""
        limit_s = self._limits.time_s
        if not self.record.searching or math.isinf(limit_s):
            return self.record.searching
        return elapsed_s < limit_s / 2 or elapsed_s + expected_s(self.record) / max(self._executor.width, 1) < limit_s

    def _is_retrained(self) -> bool:
        """Whether all trainings that confirm the leaders are over, and nothing has been concluded from them."""
        planned = [self.record.trials.get(retraining.trial) for retraining in retrainings(self.record)]
        is_over = bool(planned) and all(trial is not None and trial.over for trial in planned)
        return is_over and not self.record.is_confirmed()

    def _conclude(self) -> None:
        for event in conclude(self.record, self._folder.confirmation):
            self.announce(event)

    def _start_attempt(self, trial: TrialRecord) -> None:
        self.announce(AttemptStarted(trial.trial, trial.attempts + 1))
        self._running[trial.trial] = self._clock()
        self._executor.submit(
            Job(
                trial=trial.trial,
                attempt=trial.attempts,
                config=trial.config,
                checkpoints=self._checkpoints.folder,
                folds=trial.folds,
                parent=trial.parent,
                prune_above=trial.prune_above,
                keep_state=trial.trial in self._search.in_use(),
                patience=self._patience(trial),
            )
        )

    def _patience(self, trial: TrialRecord) -> float:
        """How many times as long as a trial of the search a training that confirms one may take."""
        if not trial.confirms:
            return 1.0
        side = trial.config["image_size"] / self.record.trials[trial.confirms].config["image_size"]
        return float(max(trial.folds / self.record.started.folds, 1.0) * max(side, 1.0) ** 2)

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
            self._note_epoch(trial, message.epoch, message.metrics, message.usage)
            return
        begun = self._running.pop(message.trial)
        match message:
            case Finished():
                self._finish(trial, message.result, begun, message.worker)
            case Raised():
                if not isinstance(message.error, DivergedError | OutOfMemoryError):
                    raise message.error
                self._fail(trial, str(message.error), begun)
            case Lost():
                self.announce(AttemptFailed(trial.trial, trial.attempts, message.reason, message.blameless))
                if not message.blameless and begun >= self._last_loss:  # those of a machine with many workers are one
                    self._losses_in_a_row, self._last_loss = self._losses_in_a_row + 1, self._clock()
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

    def _note_epoch(
        self, trial: TrialRecord, epoch: int, metrics: dict[str, float], usage: dict[str, float] | None = None
    ) -> None:
        """Epochs are recorded once and in order; those repeated after a checkpoint are the same to the last digit."""
        if epoch == trial.epochs:
            self.announce(EpochEnded(trial.trial, epoch, metrics, usage or {}))

    def _finish(self, trial: TrialRecord, result: TrialResult, begun: float, worker: str) -> None:
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
            if trial.confirms:
                self._keep_scores(trial, result)
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
                intervals=result.intervals,
                threshold=result.operating_point.threshold,
                temperature=result.operating_point.temperature,
                worker=worker,
            )
        )
        self._tell(trial, score)

    def _keep_scores(self, trial: TrialRecord, result: TrialResult) -> None:
        """What the conclusion needs; the trial's other files leave for MLflow."""
        place = self._folder.confirmation / f"{trial.trial}.csv"
        place.parent.mkdir(exist_ok=True)
        unfinished = place.with_suffix(".unfinished")
        result.scores.to_csv(unfinished, index=False)
        flush(unfinished)
        unfinished.replace(place)
        flush(place.parent)

    def _fail(self, trial: TrialRecord, reason: str, begun: float) -> None:
        self.announce(TrialFailed(trial.trial, reason, self._clock() - begun))
        self._tell(trial, None)

    def _tell(self, trial: TrialRecord, score: float | None) -> None:
        if not trial.confirms:
            self._search.tell(trial.trial, score)
        self._discard_checkpoints()

    def _discard_checkpoints(self) -> None:
        """Removes what neither a trial nor a later rung can go on from."""
        self._checkpoints.discard_all_but(self.record.open.keys() | self._search.in_use())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = self._folder.root
            raise StoreError(f"study {place.name}: its files cannot be written to {place} ({error}).") from error
