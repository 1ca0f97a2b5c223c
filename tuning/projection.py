"""The study's journal brought to MLflow, however long that takes.

The journal is the truth, MLflow a picture of it. A thread reads the journal and writes what MLflow lacks; a cursor in
the study's folder says how far MLflow has it. What comes after the cursor may be written again, which changes nothing:
runs are looked up before they are made, and everything bears the journal's times. So neither a server that is away nor
a process that dies costs anything but a delay.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pneumo_core.errors import PneumoError, StoreError
from tuning.events import (
    AttemptFailed,
    Event,
    RunLinked,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialStarted,
)
from tuning.journal import Entry, Journal, drop_torn_line, read_entries, read_journal
from tuning.record import StudyRecord, TrialRecord, replay
from tuning.store import Store, StudyFolder
from tuning.tracking import OutageError, RefusalError, Tracker, reachable_uri, recorded_uri, redacted, tracking_address

Draw = Callable[[Path, int, tuple[str, str]], None]
"""Draws the plots of a trial: from the files in its folder, its best epoch and the names of the classes."""

_GATHER_S = 0.5  # what comes within it is written in one go
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
_PASS_LIMIT = 500  # entries until the cursor moves
_POLL_S = 0.1
_SYNC_PATIENCE_S = 30.0
_ABANDONED_LIMIT_S = 10.0


@dataclasses.dataclass(frozen=True)
class Cursor:
    """How far MLflow has a study's journal.

    Attributes:
        written: bytes of the journal.
        closed: whether all of the study's runs are closed there.
    """

    written: int = 0
    closed: bool = False

    @classmethod
    def read(cls, folder: StudyFolder) -> Cursor:
        """Returns the cursor of a study: the journal's start if its file is missing or damaged."""
        try:
            fields = json.loads(_cursor_file(folder).read_text())
            cursor = cls(int(fields["written"]), bool(fields["closed"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()
        return cursor if cursor.written <= _size(folder.journal) else cls()

    def save(self, folder: StudyFolder) -> None:
        """Writes the cursor.

        Raises:
            StoreError: if the disk refuses.

        Side effects:
            Replaces the cursor's file at once.
        """
        place = _cursor_file(folder)
        unfinished = place.with_suffix(".new")
        try:
            unfinished.write_text(json.dumps(dataclasses.asdict(self)) + "\n")
            unfinished.replace(place)
        except OSError as error:
            raise StoreError(f"study {folder.name}: {place} cannot be written ({error.strerror or error}).") from error


class Projection:
    """Brings one study's journal to MLflow, in a thread of its own. The process must hold the study.

    Args:
        folder: of the study.
        tracker: writes to MLflow.
        announce: takes the `RunLinked` events of the runs that are made, and appends them to the journal.
        warn: takes a sentence for the user.
        draw: draws the plots of a trial before its files are handed over; None to leave that out.
        study_is_dead: nobody runs the study: once MLflow has all of it, its open runs are closed.
        pauses_s: between attempts while MLflow does not answer.
    """

    def __init__(
        self,
        folder: StudyFolder,
        tracker: Tracker,
        announce: Callable[[Event], None],
        warn: Callable[[str], None],
        draw: Draw | None = None,
        *,
        study_is_dead: bool = False,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self._folder, self._tracker, self._announce, self._warn, self._draw = folder, tracker, announce, warn, draw
        self._study_is_dead, self._pauses_s = study_is_dead, pauses_s
        self._server = redacted(tracker.uri)
        self._cursor, self._found_bytes = Cursor.read(folder), _size(folder.journal)
        self._backlog: _Backlog | None = None
        self._found: dict[str, str] | None = None
        self._refused: set[str] = set()
        self._failures, self._reason, self._told = 0, "", False
        self._appended, self._ending, self._left = threading.Event(), threading.Event(), threading.Event()
        self._progress_at = 0.0
        self._right_server = self._complete = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="projection", daemon=True)

    def start(self) -> None:
        """Begins to write what MLflow lacks.

        Side effects:
            Starts a thread that writes to MLflow, appends links to the journal and moves the cursor.
        """
        self._appended.set()
        self._thread.start()

    def notice(self, event: Event, record: StudyRecord) -> None:
        """A study's listener: the journal has grown. Returns at once."""
        self._appended.set()

    @property
    def behind(self) -> int:
        """How many entries of the journal MLflow may lack."""
        try:
            with self._folder.journal.open("rb") as file:
                file.seek(self._cursor.written)
                return file.read().count(b"\n")
        except OSError:
            return 0

    def finish(self, patience_s: float, limit_s: float = math.inf) -> bool:
        """Waits until MLflow has all of the journal.

        Args:
            patience_s: gives up when nothing could be written for so long.
            limit_s: gives up after so long.

        Returns:
            Whether MLflow has everything that it takes.

        Raises:
            StoreError: if the study's own files could not be read or written.

        Side effects:
            Ends the thread; a call of MLflow that hangs is left behind, and nothing follows it.
        """
        begun = self._progress_at = time.monotonic()
        self._ending.set()
        self._appended.set()
        try:
            while self._thread.is_alive():
                self._thread.join(_POLL_S)
                now = time.monotonic()
                if now - self._progress_at > patience_s or now - begun > limit_s:
                    break
        finally:
            self._left.set()
        if self._error is not None:
            raise self._error
        if not self._complete and not self._told:
            self._tell_outage()
        return self._complete

    def _work(self) -> None:
        try:
            while not self._left.is_set():
                last = self._ending.is_set()
                self._appended.clear()
                reached = self._catch_up()
                if reached and last:
                    self._complete = True
                    return
                self._rest(reached)
        except BaseException as error:  # raised again by `finish`, in the thread that runs the study
            self._error = error

    def _rest(self, reached: bool) -> None:
        if reached:
            self._appended.wait()
            self._ending.wait(_GATHER_S)
            return
        pause_s = self._pauses_s[min(self._failures, len(self._pauses_s)) - 1]
        if self._ending.is_set():
            self._left.wait(self._pauses_s[0])
        else:
            self._ending.wait(pause_s)

    def _catch_up(self) -> bool:
        """Returns whether MLflow could be brought to the journal's end."""
        try:
            while self._write_more():
                pass
        except OutageError as error:
            self._note_outage(str(error))
            return False
        return True

    def _write_more(self) -> bool:
        """Writes the next entries; returns whether there were any."""
        backlog = self._open_backlog()
        if backlog is None:
            return False
        taken = backlog.take_in(_PASS_LIMIT)
        if backlog.news:
            self._connect(backlog)
            self._write_news(backlog)
        closed = not taken and self._close(backlog)
        cursor = Cursor(backlog.read, closed)
        if cursor != self._cursor:
            cursor.save(self._folder)
            self._cursor = cursor
        return taken > 0

    def _open_backlog(self) -> _Backlog | None:
        if self._backlog is None and self._folder.has_begun():
            self._backlog = _Backlog(self._folder.journal, self._cursor.written, self._found_bytes)
        return self._backlog

    def _connect(self, backlog: _Backlog) -> None:
        """Another address than the study's may be another way to the same runs; if not, nothing is written there."""
        self._tracker.connect()
        logged_to = backlog.record.started.tracking_uri
        elsewhere = not self._right_server and self._server != logged_to and "" in backlog.runs
        if elsewhere and not self._tracker.has_run(backlog.runs[""]):
            raise OutageError(f"it does not have the runs of this study, which was logged to {logged_to}")
        self._right_server = True

    def _write_news(self, backlog: _Backlog) -> None:
        """Every trial's news, then the study's, as it may end with them."""
        record = backlog.record
        parent = self._study_run(backlog)
        for name in sorted(backlog.news, key=lambda name: name == ""):
            self._leave_if_told()
            with self._reporting_refusals(name):
                if name:
                    self._write_trial(backlog, record.trials[name], parent)
                else:
                    self._tracker.write_study(parent, record, backlog.news[name])
            del backlog.news[name]
            self._note_progress()

    def _write_trial(self, backlog: _Backlog, trial: TrialRecord, parent: str) -> None:
        news = backlog.news[trial.trial]
        run = self._trial_run(backlog, trial, parent)
        if run is None:
            return
        if any(isinstance(entry.event, TrialCompleted) for entry in news):
            self._draw_plots(backlog.record, trial)
        self._tracker.write_trial(run, backlog.record, trial, news, backlog.losses.get(trial.trial, {}))

    def _study_run(self, backlog: _Backlog) -> str:
        return backlog.runs.get("") or self._link(
            backlog, "", self._find("", backlog) or self._tracker.open_study(backlog.record, backlog.begun_at)
        )

    def _trial_run(self, backlog: _Backlog, trial: TrialRecord, parent: str) -> str | None:
        """The trial's run, new if need be; None if it was refused long ago."""
        name = trial.trial
        if name in backlog.runs:
            return backlog.runs[name]
        begun = next((entry.at for entry in backlog.news[name] if isinstance(entry.event, TrialStarted)), None)
        if begun is None:
            return None
        run = self._find(name, backlog) or self._tracker.open_trial(backlog.record, trial, parent, begun)
        return self._link(backlog, name, run)

    def _find(self, trial: str, backlog: _Backlog) -> str | None:
        """A run that was made when its link could not be recorded any more, or the answer was lost."""
        if self._found is None:
            self._look_up(backlog)
        return (self._found or {}).get(trial)

    def _look_up(self, backlog: _Backlog) -> None:
        """Learns what runs there are. Of two for one trial nothing was written to the one without a link."""
        study_id, found = backlog.record.started.study_id, dict[str, str]()
        for trial, runs in (self._tracker.find_runs(study_id) if study_id else {}).items():
            linked = backlog.runs.get(trial, runs[0])
            found[trial] = linked
            for stray in runs if linked in runs else []:
                if stray != linked:
                    with contextlib.suppress(RefusalError):
                        self._tracker.delete_run(stray)
        self._found = found

    def _link(self, backlog: _Backlog, trial: str, run: str) -> str:
        self._leave_if_told()
        backlog.link(trial, run)
        self._announce(RunLinked(trial, run))
        return run

    def _close(self, backlog: _Backlog) -> bool:
        """Returns whether all runs of the study are closed, after closing those of a dead one."""
        ended = backlog.record.ended is not None
        study_id = backlog.record.started.study_id
        if ended and self._found is None:
            self._connect(backlog)
            self._look_up(backlog)
        if not ended and self._study_is_dead and study_id and not self._cursor.closed:
            self._connect(backlog)
            with self._reporting_refusals(""):
                self._tracker.end_open_runs(study_id, backlog.last_at)
        return ended or self._study_is_dead

    def _draw_plots(self, record: StudyRecord, trial: TrialRecord) -> None:
        staging = self._folder.staging(trial.trial)
        if self._draw is None or not staging.is_dir() or (staging / "plots").exists():
            return
        negative, positive = record.started.class_names
        try:
            self._draw(staging, trial.best_epoch or 0, (negative, positive))
        except OSError as error:
            raise StoreError(
                f"study {self._folder.name}: plots cannot be written to {staging} ({error.strerror or error})."
            ) from error

    def _leave_if_told(self) -> None:
        if self._left.is_set():
            raise OutageError("given up")

    def _note_progress(self) -> None:
        self._progress_at = time.monotonic()
        if self._told:
            self._warn(f"MLflow at {self._server} takes what it is given again; what it lacks is being written.")
        self._failures, self._told = 0, False

    def _note_outage(self, reason: str) -> None:
        """The first failure of a row may be a connection that timed out; the second is told."""
        self._found = None
        self._failures, self._reason = self._failures + 1, reason
        if self._failures > 1 and not self._told and not self._left.is_set():
            self._tell_outage()

    def _tell_outage(self) -> None:
        self._told = True
        self._warn(
            f"MLflow at {self._server} takes nothing now ({self._reason or 'it is slow'}); no trial waits for it, and "
            f"what it lacks is written when it is back, or by: tune sync {self._folder.name}"
        )

    @contextlib.contextmanager
    def _reporting_refusals(self, trial: str) -> Iterator[None]:
        """Tells once for each run that MLflow does not take something, and goes on with the next."""
        try:
            yield
        except RefusalError as refusal:
            if trial not in self._refused:
                self._refused.add(trial)
                what = f"trial {trial}" if trial else f"study {self._folder.name}"
                self._warn(
                    f"MLflow at {self._server} refuses a part of {what} ({refusal}) and will lack it; files not yet "
                    f"there stay in {self._folder.staging(trial or 'study')}."
                )


class _Backlog:
    """What a journal says and MLflow may not know yet.

    Args:
        path: of the journal, which has begun.
        written: bytes of it that MLflow has.
        found: bytes of it when this process came; a version before wrote them to MLflow as they happened.

    Attributes:
        record: of the study, as far as the journal was taken in.
        news: entries by trial, those about the study as a whole under the empty name; to be removed when written.
        runs: ids of the runs that the journal names, by trial.
        losses: why attempts were lost, by trial and attempt.
        read: bytes of the journal that were taken in.
        begun_at: when the study began, in seconds since 1970.
        last_at: when it was last heard of.
    """

    def __init__(self, path: Path, written: int, found: int) -> None:
        entries = list(read_entries(path))
        self.record = replay([entries[0].event])
        if not self.record.started.study_id:
            written = written or found
        self.news: dict[str, list[Entry]] = {}
        self.runs = {entry.event.trial: entry.event.run_id for entry in entries if isinstance(entry.event, RunLinked)}
        self.losses: dict[str, dict[int, str]] = {}
        self.begun_at = self.last_at = entries[0].at
        self.read, self._path = 0, path
        for entry in itertools.takewhile(lambda entry: entry.end <= written, entries):
            self._fold(entry)
        self.news.clear()

    def take_in(self, limit: int) -> int:
        """Reads on, a number of entries at most; returns how many there were."""
        entries = list(itertools.islice(read_entries(self._path, self.read), limit))
        for entry in entries:
            self._fold(entry)
        return len(entries)

    def link(self, trial: str, run: str) -> None:
        """Remembers the run of a trial, or of the study under the empty name."""
        self.runs[trial] = run
        self.record.apply(RunLinked(trial, run))

    def _fold(self, entry: Entry) -> None:
        event = entry.event
        try:
            for name in self._concerned(event):
                self.news.setdefault(name, []).append(entry)
            if self.read:
                self.record.apply(event)
            if isinstance(event, TrialStarted):
                self.record.trials[event.trial].run_id = self.runs.get(event.trial)
        except KeyError as error:
            raise StoreError(f"journal {self._path}: speaks of {error} before that started.") from error
        if isinstance(event, AttemptFailed):
            self.losses.setdefault(event.trial, {})[event.attempt] = event.reason
        self.read, self.last_at = entry.end, entry.at

    def _concerned(self, event: Event) -> list[str]:
        """Whose runs an event changes."""
        match event:
            case RunLinked():
                return []
            case StudyStarted():
                return [""]
            case StudyEnded():
                return ["", *(trial.trial for trial in self.record.trials.values() if trial.status == "running")]
            case StudyResumed():
                return ["", *(trial.trial for trial in self.record.trials.values() if not trial.over)]
            case _:
                return [event.trial]


def sync_study(store: Store, name: str, tracking_uri: str | None, tell: Callable[[str], None]) -> bool:
    """Writes to MLflow what it lacks of a study that nobody runs, and closes runs that a dead process left open.

    Args:
        store: where the study is kept.
        name: of the study.
        tracking_uri: MLflow's; None for where the study was logged.
        tell: takes sentences for the user.

    Returns:
        Whether MLflow has everything that it takes.

    Raises:
        StudyError: if there is no such study, or a process runs it.
        StoreError: if its files cannot be read or written.
        TrackingError: if MLflow's address is not known.

    Side effects:
        Writes to MLflow and to the study's folder.
    """
    folder = store.existing().study(name)
    with folder.hold():
        record = _begun(folder)
        projection = _dead_study(store, folder, record, recorded_uri(record, tracking_uri), tell)
        projection.start()
        return projection.finish(_SYNC_PATIENCE_S)


def close_abandoned(store: Store, uri: str | None, limit_s: float = _ABANDONED_LIMIT_S) -> list[str]:
    """Writes to MLflow what it lacks of studies whose process died, and closes the runs that these left open.

    What MLflow cannot take now is left for the next time. Studies that are complete cost a look at their cursor.

    Args:
        store: with the studies.
        uri: of an MLflow in use, with its password; None for the store's own database.
        limit_s: for all of it.

    Returns:
        The names of the studies that were brought to an end in MLflow.

    Side effects:
        Writes to MLflow and to the folders of the studies.
    """
    deadline = time.monotonic() + limit_s
    current, away, closed = tracking_address(store, uri), set[str](), []
    for name in store.study_names():
        folder = StudyFolder(store.studies / name)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        if _is_settled(folder) or folder.is_held():
            continue
        with contextlib.suppress(PneumoError), folder.hold():  # a damaged study is told of when it is used
            record = _begun(folder)
            address = reachable_uri(record, current)
            if address is None or address in away or not record.started.study_id:
                continue
            projection = _dead_study(store, folder, record, address, lambda text: None)
            projection.start()
            if projection.finish(left_s, left_s):
                closed.append(name)
            else:
                away.add(address)
    return closed


def _dead_study(
    store: Store, folder: StudyFolder, record: StudyRecord, uri: str, tell: Callable[[str], None]
) -> Projection:
    tracker = Tracker(store, folder, uri, record.started.space, must_answer=False)
    announce = Journal(folder.journal).append
    return Projection(folder, tracker, announce, tell, _draw_plots, study_is_dead=True)


def _begun(folder: StudyFolder) -> StudyRecord:
    """The record of a study's first event; its journal is ready to be appended to."""
    drop_torn_line(folder.journal)
    return replay(itertools.islice(read_journal(folder.journal), 1))


def _draw_plots(folder: Path, best_epoch: int, class_names: tuple[str, str]) -> None:
    from tuning.figures import draw_plots  # brings TensorFlow along, which is seldom needed here

    draw_plots(folder, best_epoch, class_names)


def _is_settled(folder: StudyFolder) -> bool:
    cursor = Cursor.read(folder)
    return cursor.closed and cursor.written == _size(folder.journal)


def _cursor_file(folder: StudyFolder) -> Path:
    return folder.root / "projection.json"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
