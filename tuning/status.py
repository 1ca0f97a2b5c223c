"""`tune status`: how a study stands, as seen from another process, which reads its journal and changes nothing."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pneumo_core.errors import StoreError
from tuning.backlog import Cursor, entries_behind, journal_size
from tuning.events import EXHAUSTED
from tuning.journal import read_entries
from tuning.live.forecast import Forecast, confirmation_left, search_left
from tuning.live.standing import Standing, epochs_wanted
from tuning.live.words import gain, interval_of, overlap, score_of, span
from tuning.ranking import defined
from tuning.record import TrialRecord, replay
from tuning.store import Store, StudyFolder

_SETTLES_S = 5.0  # MLflow is written in the background, a little later


class StudyTail:
    """A study as its journal tells it so far; `read_on` takes in what was added since.

    Args:
        folder: of the study, which has begun.

    Attributes:
        folder: see above.
        standing: of the study.

    Raises:
        StoreError: if the journal is damaged.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self.folder = folder
        self.standing, self._read = self._begin()
        self.read_on()

    def read_on(self) -> bool:
        """Takes in what was added to the journal; returns whether anything was.

        A line in the making is left for the next time. A journal that became shorter is read anew.

        Raises:
            StoreError: if the journal is damaged.
        """
        before = self._read
        if journal_size(self.folder.journal) < self._read:
            self.standing, self._read = self._begin()
        try:
            self._take_in()
        except StoreError:  # of a place that is no longer where a line begins, or of real damage
            self.standing, self._read = self._begin()
            self._take_in()
        self.standing.process_died = self.standing.record.ended is None and not self.folder.is_held()
        return self._read != before

    @property
    def is_worked_on(self) -> bool:
        """Whether a process has the study: to run it, to finish writing to MLflow, or to take it up again."""
        return self.standing.goes_on or self.folder.is_held()

    def _take_in(self) -> None:
        for entry in read_entries(self.folder.journal, self._read):
            try:
                self.standing.record.apply(entry.event)
                self.standing.hear(entry.event, entry.at)
            except KeyError as error:
                raise StoreError(
                    f"study {self.folder.name}: its journal speaks of {error} before that started."
                ) from error
            self._read = entry.end

    def _begin(self) -> tuple[Standing, int]:
        first = next(read_entries(self.folder.journal), None)
        if first is None:
            raise StoreError(f"study {self.folder.name}: its journal has not begun.")
        return Standing(replay([first.event]), first.at), first.end


@dataclasses.dataclass(frozen=True)
class StudyStatus:
    """How a study stands, and what is around it.

    Attributes:
        standing: of the study.
        status: running, finished, failed, interrupted or killed.
        holder: process that has the study, as `process 12 on somewhere`; empty if none has.
        seen_at: when this was seen, in seconds since 1970.
        behind: entries of the journal that MLflow may lack.
        disk_free_bytes: where the store is.
        address: what commands have to be told to find the study.
    """

    standing: Standing
    status: str
    holder: str
    seen_at: float
    behind: int
    disk_free_bytes: int
    address: str

    @property
    def resume(self) -> str:
        """The command that goes on with the study; empty if it runs, or there is nothing to go on with."""
        return "" if self.status == "running" or _is_over(self.standing) else f"tune resume {self.address}"

    @property
    def silent_s(self) -> float:
        """Seconds since the study was last heard of."""
        return max(self.seen_at - self.standing.last_at, 0.0)

    @property
    def worked_s(self) -> float:
        """Seconds that the study's latest process worked, until now or its end."""
        if ended := self.standing.record.ended:
            return ended.wall_s
        until = self.standing.last_at if self.standing.process_died else self.seen_at
        return max(until - self.standing.taken_up_at, 0.0)

    @property
    def trials_per_hour(self) -> float | None:
        """Trials that this process brought to their end, those that confirm others included; None before the first."""
        return self.standing.over_here * 3600 / self.worked_s if self.standing.over_here and self.worked_s else None

    @property
    def median_trial_s(self) -> float | None:
        """Of the search, in seconds; None before the first is over."""
        times = [t.duration_s for t in self.standing.record.searched if t.over and t.duration_s is not None]
        return statistics.median(times) if times else None

    @property
    def left(self) -> Forecast | None:
        """Seconds until the end of search and confirmation, their ranges added; None if that is not known yet."""
        search, confirmation = search_left(self.standing), confirmation_left(self.standing)
        if not self.standing.goes_on or (search is None and not self.standing.confirms):
            return None
        parts = [part for part in (search, confirmation) if part]
        if not parts:
            return None
        return Forecast(sum(p.likely for p in parts), sum(p.low for p in parts), sum(p.high for p in parts))

    def document(self) -> dict[str, Any]:
        """Returns what `tune status --json` prints: times in seconds since 1970, durations in seconds."""
        standing, record = self.standing, self.standing.record
        best, base, gained = standing.best, standing.baseline, gain(standing)
        return {
            "study": record.started.study,
            "status": self.status,
            "stage": standing.stage(),
            "process": self.holder or None,
            "reason": record.ended.reason or None if record.ended else None,
            "begun_at": standing.begun_at,
            "taken_up_at": standing.taken_up_at,
            "last_event_at": standing.last_at,
            "seen_at": round(self.seen_at, 3),
            "objective": record.started.objective,
            "direction": record.started.direction,
            "trials": {"wanted": record.trials_wanted, "running": len(standing.running), **standing.over},
            "confirming": {"wanted": standing.retrainings, "over": standing.retrained} if record.confirm else None,
            "running": [self._running(record.trials[trial]) for trial in standing.running],
            "best": best and self._scored(best),
            "baseline": base and self._scored(base),
            "gain": gained and {**gained.to_mapping(), "intervals_overlap": overlap(standing)},
            "failed": dict(standing.failed.most_common()),
            "latest_failures": [failure._asdict() for failure in standing.failures],
            "trials_per_hour": self.trials_per_hour,
            "median_trial_s": self.median_trial_s,
            "left": {
                "search_s": _range(search_left(standing)),
                "confirmation_s": _range(confirmation_left(standing)),
                "all_s": _range(self.left),
            },
            "mlflow": {"entries_behind": self.behind},
            "disk_free_bytes": self.disk_free_bytes,
            "resume": self.resume or None,
        }

    def _running(self, trial: TrialRecord) -> dict[str, Any]:
        return {
            "trial": trial.trial,
            "confirms": trial.confirms or None,
            "since": self.standing.running[trial.trial],
            "attempt": trial.attempts,
            "epochs": trial.epochs,
            "epochs_wanted": epochs_wanted(trial),
            "val_loss": {str(epoch): defined(value) for epoch, value in self.standing.losses(trial).items()},
            "score": {str(epoch): defined(value) for epoch, value in self.standing.scores(trial).items()},
            "params": trial.params,
        }

    def _scored(self, trial: TrialRecord) -> dict[str, Any]:
        return {
            "trial": trial.trial,
            "score": score_of(trial),
            "interval": interval_of(self.standing, trial) or None,
            "confirmed": trial.confirmed is not None,
            "params": trial.params,
        }


def look(store: Store, tail: StudyTail, now: float | None = None) -> StudyStatus:
    """Returns how a study stands, as far as its journal was read.

    Args:
        store: of the study.
        tail: of its journal.
        now: seconds since 1970; the clock's if None.
    """
    standing, folder = tail.standing, tail.folder
    status = standing.record.ended.status if standing.record.ended else "killed" if standing.process_died else "running"
    return StudyStatus(
        standing=standing,
        status=status,
        holder=folder.holder(),
        seen_at=time.time() if now is None else now,
        behind=entries_behind(folder.journal, Cursor.read(folder).written),
        disk_free_bytes=shutil.disk_usage(store.root).free,
        address=_address(store, folder),
    )


def studies_to_show(store: Store) -> list[str]:
    """Returns the names of the studies that run, oldest first; of none of them, the one that began last, if any."""
    names = store.study_names()
    running = [name for name in names if store.study(name).is_held()]
    return running or names[-1:]


def status_lines(status: StudyStatus) -> Iterator[str]:
    """Returns what there is to say of a study beside its progress, leaders and curves."""
    standing = status.standing
    yield from _process_lines(status)
    for trial in standing.record.trials.values():
        if not standing.goes_on and not trial.over:
            yield f"left in the middle: {trial.trial}, after {trial.epochs} of {epochs_wanted(trial)} epochs"
    for reason, count in standing.failed.most_common(3):
        yield f"failed: {count} × {reason}"
    if standing.failures and standing.goes_on:
        last = standing.failures[-1]
        yield f"last failure: {last.trial} at {_clock(last.at)}: {last.reason}"
    yield from _speed_lines(status)
    lacks = f"lacks the last {status.behind} entries of the journal" if status.behind else "has all of the journal"
    late = status.behind and status.silent_s > _SETTLES_S
    command = f"; write them with: tune sync {status.address}" if late and not status.holder else ""
    yield f"MLflow: {lacks}{command}"
    yield f"disk: {status.disk_free_bytes / 1e9:.1f} GB free"
    if status.resume:
        yield f"go on with: {status.resume}"


def summary_line(status: StudyStatus) -> str:
    """Returns how a study stands in one line, for a log."""
    standing, record = status.standing, status.standing.record
    done = f"{standing.done} of {record.trials_wanted} trials"
    if standing.confirms:
        done = f"{standing.retrained} of {standing.retrainings} trainings that confirm"
    best = standing.best
    led = f", best {score_of(best):.4f} ({best.trial})" if best else ""
    return f"{record.started.study}: {standing.stage()}, {done}{led}"


def _process_lines(status: StudyStatus) -> Iterator[str]:
    standing, ended = status.standing, status.standing.record.ended
    heard = f"last heard of {span(status.silent_s)} ago"
    since = f"since {_clock(standing.taken_up_at)}, {span(status.worked_s)}"
    match status.status:
        case "running":
            yield f"running: by {status.holder or 'a process'} {since}; {heard}"
        case "killed":
            yield f"killed: its process died; {heard}, after {span(status.worked_s)}"
        case _:
            reason = f" ({ended.reason})" if ended and ended.reason else ""
            yield f"{status.status}{reason}: after {span(status.worked_s)}; {heard}"
            if status.holder:
                yield f"still held by {status.holder}: it writes to MLflow, or takes the study up again"


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _speed_lines(status: StudyStatus) -> Iterator[str]:
    median, rate = status.median_trial_s, status.trials_per_hour
    if median is not None:
        yield f"speed: a trial takes {span(median)} (median)" + (f", {_rate(rate)} trials/h" if rate else "")
    if status.standing.goes_on:
        left = status.left
        if left is None:
            yield "end: not known yet"
            return
        likely, low, high = (_clock(status.seen_at + seconds) for seconds in (left.likely, left.low, left.high))
        yield f"end: about {likely}" + (f" ({low} to {high})" if low != high else "")


def _is_over(standing: Standing) -> bool:
    record = standing.record
    exhausted = record.ended is not None and record.ended.reason == EXHAUSTED
    return record.is_complete() or (exhausted and record.is_confirmed())


def _address(store: Store, folder: StudyFolder) -> str:
    """What a command has to be told to find the study."""
    return folder.name + ("" if store.root == Path("mlruns").resolve() else f" --store {shlex.quote(str(store.root))}")


def _range(forecast: Forecast | None) -> dict[str, float] | None:
    if forecast is None:
        return None
    return {name: round(seconds, 1) for name, seconds in dataclasses.asdict(forecast).items()}


def _clock(at: float) -> str:
    """A time of today; with its date if it is of another day."""
    shown, today = time.localtime(at), time.localtime()
    return time.strftime("%H:%M" if shown[:3] == today[:3] else "%Y-%m-%d %H:%M", shown)
