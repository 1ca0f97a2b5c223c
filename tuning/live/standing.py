"""How a running study stands, kept up event by event, so that a look at it costs little however many trials it has."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
from typing import Any, NamedTuple

from tuning.analysis.baseline import known_values, tried_values
from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    Event,
    StudyConfirmed,
    StudyEnded,
    StudyResumed,
    TrialCompleted,
    TrialConfirmed,
    TrialFailed,
    TrialUnconfirmed,
)
from tuning.record import StudyRecord, TrialRecord

_REMEMBERED = 5  # failures

Place = tuple[float, bool, float, int, int, str]


class Failure(NamedTuple):
    """A trial that failed, or an attempt that was lost."""

    trial: str
    reason: str
    at: float


@dataclasses.dataclass
class Durations:
    """Seconds that trials took, as their number, sum and sum of squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, seconds: float) -> None:
        """Takes in one more."""
        self.count, self.total, self.squares = self.count + 1, self.total + seconds, self.squares + seconds**2

    @property
    def mean(self) -> float:
        """Arithmetic mean; 0 of none."""
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """Standard deviation of a sample; 0 of fewer than two."""
        if self.count < 2:
            return 0.0
        return math.sqrt(max(self.squares - self.total * self.mean, 0.0) / (self.count - 1))


class Standing:
    """How a study stands.

    Args:
        record: of the study, which this object reads and whoever hears the events keeps up.
        at: when it began, in seconds since 1970.

    Attributes:
        record: see above.
        begun_at: when the study began.
        taken_up_at: when its latest process began with it.
        last_at: when it was last heard of.
        running: attempts under way: when each began, by trial.
        side_by_side: as many trials as were under way at once since it was taken up.
        over: trials of the search that are over, by status.
        over_here: those of them that this process brought to their end, those that confirm others included.
        failures: the latest failed trials and lost attempts, the last one last.
        failed: how many trials failed, those that confirm others included, by reason.
        process_died: whether nobody runs the study although it has not ended; whoever knows says so here.
        searched_s: how long trials of the search took.
        retrained_s: how long those took that confirm others.
    """

    def __init__(self, record: StudyRecord, at: float) -> None:
        self.record = record
        self.begun_at = self.taken_up_at = self.last_at = at
        self.process_died = False
        self.running: dict[str, float] = {}
        self.side_by_side = self.over_here = 0
        self.over = {"completed": 0, "failed": 0, "pruned": 0}
        self.failures: collections.deque[Failure] = collections.deque(maxlen=_REMEMBERED)
        self.failed: collections.Counter[str] = collections.Counter()
        self.searched_s, self.retrained_s = Durations(), Durations()
        self._places: list[Place] = []
        self._retrainings: list[str] = []
        self._scores: dict[str, dict[int, float]] = {}
        self._losses = {t.trial: dict(t.epoch_losses) for t in record.trials.values() if not t.over}
        self._known = known_values(record.started)
        self._baseline: TrialRecord | None = None
        for trial in record.trials.values():
            if trial.over:
                self._note_end(trial, at)

    def hear(self, event: Event, at: float) -> None:
        """Takes in an event that the record has taken in already.

        Args:
            event: what happened.
            at: when, in seconds since 1970.
        """
        self.last_at = at
        match event:
            case StudyResumed():
                self._resume(event, at)
            case AttemptStarted():
                self.running[event.trial] = at
                self.side_by_side = max(self.side_by_side, len(self.running))
                if self.record.trials[event.trial].confirms and event.trial not in self._retrainings:
                    self._plan()
            case AttemptFailed():
                self.running.pop(event.trial, None)
                self.failures.append(Failure(event.trial, f"attempt {event.attempt} lost: {event.reason}", at))
            case EpochEnded():
                self._note_epoch(event)
            case TrialCompleted() | TrialFailed():
                self.running.pop(event.trial, None)
                self.over_here += 1
                self._note_end(self.record.trials[event.trial], at)
            case TrialConfirmed() | TrialUnconfirmed() | StudyConfirmed():
                self._rank()
            case StudyEnded():
                self.running.clear()

    def leaders(self, top: int) -> list[TrialRecord]:
        """Returns the first trials of the search that have a score, in the order of `StudyRecord.ranked`."""
        return [self.record.trials[place[-1]] for place in self._places[:top]]

    @property
    def best(self) -> TrialRecord | None:
        """The best completed trial, as `StudyRecord.best` has it."""
        first = self.leaders(1)
        return first[0] if first and first[0].status == "completed" else None

    def rank(self, trial: TrialRecord) -> int:
        """Returns the rank of a trial that has a score, from 1."""
        return bisect.bisect_left(self._places, self._place(trial)) + 1

    @property
    def baseline(self) -> TrialRecord | None:
        """The trial that others are measured against, as `tuning.analysis.baseline.baseline` has it."""
        return self._baseline

    def losses(self, trial: TrialRecord) -> dict[int, float]:
        """Returns the validation loss of a trial's epochs, by epochs trained."""
        return self._losses.get(trial.trial, {})

    def scores(self, trial: TrialRecord) -> dict[int, float]:
        """Returns the objective after a trial's epochs, by epochs trained; empty if it is not told after each."""
        return self._scores.get(trial.trial, {})

    @property
    def done(self) -> int:
        """How many trials of the search are over."""
        return sum(self.over.values())

    @property
    def retrainings(self) -> int:
        """How many trainings confirm the leaders; before the first of them as many as there can be."""
        confirm = self.record.confirm
        most = (confirm["top"] + confirm.get("baseline", False)) * confirm["seeds"] if confirm else 0
        return len(self._retrainings) or most

    @property
    def retrained(self) -> int:
        """How many of the trainings that confirm the leaders are over."""
        begun = (self.record.trials.get(trial) for trial in self._retrainings)
        return sum(trial is not None and trial.over for trial in begun)

    @property
    def goes_on(self) -> bool:
        """Whether a process is at work on the study."""
        return self.record.ended is None and not self.process_died

    @property
    def confirms(self) -> bool:
        """Whether the search is over, for this process at least, and its leaders are being confirmed."""
        return any(self.record.trials[trial].confirms for trial in self.running) or (
            bool(self.record.confirm) and (not self.record.searching or self.done >= self.record.trials_wanted)
        )

    def stage(self) -> str:
        """Returns what is going on, in a word or two."""
        if self.record.ended is not None:
            return self.record.ended.status
        if self.process_died:
            return "killed"
        if self.confirms:
            return "confirmation"
        running = [self.record.trials[trial] for trial in self.running]
        is_first = self.over_here == 0 and all(trial.epochs == trial.first_epoch for trial in running)
        return "images and frozen layers" if is_first else "search"

    def _resume(self, event: StudyResumed, at: float) -> None:
        self.taken_up_at, self.running, self.side_by_side, self.over_here = at, {}, 0, 0
        self._retrainings = []
        if event.confirm is not None:
            self.retrained_s = Durations()

    def _plan(self) -> None:
        """The trainings that confirm the leaders, which are known once the first of them begins."""
        from tuning.confirmation import retrainings  # its libraries take a second to load

        self._retrainings = [planned.trial for planned in retrainings(self.record)]

    def _note_epoch(self, event: EpochEnded) -> None:
        """Copies, as another thread may be drawing while the record grows."""
        metrics, objective = event.metrics, self.record.started.objective
        self._losses.setdefault(event.trial, {})[event.epoch + 1] = metrics.get("val_loss", math.nan)
        if objective in metrics:
            self._scores.setdefault(event.trial, {})[event.epoch + 1] = metrics[objective]

    def _note_end(self, trial: TrialRecord, at: float) -> None:
        if trial.status == "failed":
            reason = trial.reason or "unknown"
            self.failures.append(Failure(trial.trial, reason, at))
            self.failed[reason] += 1
        if trial.confirms:
            self.retrained_s.add(trial.duration_s or 0.0)
            return
        self.over[trial.status] += 1
        self.searched_s.add(trial.duration_s or 0.0)
        if trial.score is not None:
            bisect.insort(self._places, self._place(trial))
        if self._known is not None and trial.status == "completed" and tried_values(trial) == self._known:
            rivals = [trial, *([self._baseline] if self._baseline else [])]
            self._baseline = max(rivals, key=lambda rival: (rival.epochs, -rival.number))

    def _rank(self) -> None:
        """The places change all at once when leaders are confirmed, which is rare."""
        self._places = sorted(self._place(self.record.trials[place[-1]]) for place in self._places)

    def _place(self, trial: TrialRecord) -> Place:
        sign = -1 if self.record.started.direction == "max" else 1
        rank = trial.place.rank if trial.place else math.inf
        score = math.inf if trial.score is None else sign * trial.score
        length = -trial.config.get("stop_after", 0)
        return (rank, trial.status != "completed", score, length, trial.number, trial.trial)


def epochs_wanted(trial: TrialRecord) -> int:
    """Returns how many epochs a trial is trained at most."""
    return int(trial.config["stop_after"] or trial.config["epochs"])


def varying(trials: list[TrialRecord]) -> list[str]:
    """Returns the names of the searched parameters in which trials differ; all of a single trial's."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    if len(trials) < 2:
        return names
    return [name for name in names if any(_value(trial, name) != _value(trials[0], name) for trial in trials)]


def _value(trial: TrialRecord, name: str) -> Any:
    return trial.params.get(name)
