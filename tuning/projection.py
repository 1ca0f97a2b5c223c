"""The study's journal brought to MLflow, however long that takes.

The journal is the truth, MLflow a picture of it. A thread reads the journal and writes what MLflow lacks; a cursor in
the study's folder says how far MLflow has it. What comes after the cursor may be written again, which changes nothing:
runs are looked up before they are made, and everything bears the journal's times. So neither a server that is away nor
a process that dies costs anything but a delay.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pneumo_core.errors import StoreError
from tuning.backlog import Backlog, Cursor, entries_behind, journal_size
from tuning.events import (
    Event,
    RunLinked,
    StudyEnded,
    TrialCompleted,
    TrialStarted,
)
from tuning.record import StudyRecord, TrialRecord
from tuning.store import StudyFolder
from tuning.tracking import OutageError, RefusalError, Tracker, redacted

Draw = Callable[[Path, int, tuple[str, str]], None]
"""Draws the plots of a trial: from the files in its folder, its best epoch and the names of the classes."""

DrawStudy = Callable[[], None]
"""Draws what the run of a study that is over shall have besides its journal, into the study's staging folder."""

_GATHER_S = 0.5  # what comes within it is written in one go
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
_PASS_LIMIT = 500  # entries until the cursor moves
_POLL_S = 0.1


class Projection:
    """Brings one study's journal to MLflow, in a thread of its own. The process must hold the study.

    Args:
        folder: of the study.
        tracker: writes to MLflow.
        announce: takes the `RunLinked` events of the runs that are made, and appends them to the journal.
        warn: takes a sentence for the user.
        draw: draws the plots of a trial before its files are handed over; None to leave that out.
        draw_study: draws the study's report when it is over, before its files are handed over; None to leave that out.
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
        draw_study: DrawStudy | None = None,
        study_is_dead: bool = False,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self._folder, self._tracker, self._announce, self._warn, self._draw = folder, tracker, announce, warn, draw
        self._draw_study, self._drawing = draw_study, False
        self._drawn_for: StudyEnded | None = None
        self._study_is_dead, self._pauses_s = study_is_dead, pauses_s
        self._server = redacted(tracker.uri)
        self._cursor, self._found_bytes = Cursor.read(folder), journal_size(folder.journal)
        self._backlog: Backlog | None = None
        self._found: dict[str, str] | None = None
        self._refused: set[str] = set()
        self._failures, self._reason, self._told = 0, "", False
        self._appended, self._ending, self._left = threading.Event(), threading.Event(), tracker.given_up
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
        return entries_behind(self._folder.journal, self._cursor.written)

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
                if self._drawing:
                    self._progress_at = now
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
            self._warn(f"MLflow gets nothing more of study {self._folder.name} for now ({error}); trials go on.")

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
            self._draw_unsent()
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
        self._leave_if_told()
        cursor = Cursor(backlog.read, closed)
        if cursor != self._cursor:
            cursor.save(self._folder)
            self._cursor = cursor
        return taken > 0

    def _open_backlog(self) -> Backlog | None:
        if self._backlog is None and self._folder.has_begun():
            self._backlog = Backlog(self._folder.journal, self._cursor.written, self._found_bytes)
        return self._backlog

    def _connect(self, backlog: Backlog) -> None:
        """Another address than the study's may be another way to the same runs; if not, nothing is written there."""
        self._tracker.connect()
        logged_to = backlog.record.started.tracking_uri
        elsewhere = not self._right_server and self._server != logged_to and "" in backlog.runs
        if elsewhere and not self._tracker.has_run(backlog.runs[""]):
            raise OutageError(f"it does not have the runs of this study, which was logged to {logged_to}")
        self._right_server = True

    def _write_news(self, backlog: Backlog) -> None:
        """Every trial's news, then the study's, as it may end with them."""
        record = backlog.record
        parent = self._study_run(backlog)
        for name in sorted(backlog.news, key=lambda name: name == ""):
            self._leave_if_told()
            with self._reporting_refusals(name):
                if name:
                    self._write_trial(backlog, record.trials[name], parent)
                else:
                    self._draw_report(record)
                    self._tracker.write_study(parent, record, backlog.news[name])
            del backlog.news[name]
            self._note_progress()

    def _write_trial(self, backlog: Backlog, trial: TrialRecord, parent: str) -> None:
        news = backlog.news[trial.trial]
        run = self._trial_run(backlog, trial, parent)
        if run is None:
            return
        if any(isinstance(entry.event, TrialCompleted) for entry in news):
            self._draw_plots(backlog.record, trial)
        self._tracker.write_trial(run, backlog.record, trial, news, backlog.losses.get(trial.trial, {}))

    def _study_run(self, backlog: Backlog) -> str:
        return backlog.runs.get("") or self._link(
            backlog, "", self._find("", backlog) or self._tracker.open_study(backlog.record, backlog.begun_at)
        )

    def _trial_run(self, backlog: Backlog, trial: TrialRecord, parent: str) -> str | None:
        """The trial's run, new if need be; None if it was refused long ago."""
        name = trial.trial
        if name in backlog.runs:
            return backlog.runs[name]
        begun = next((entry.at for entry in backlog.news[name] if isinstance(entry.event, TrialStarted)), None)
        if begun is None:
            return None
        run = self._find(name, backlog) or self._tracker.open_trial(backlog.record, trial, parent, begun)
        return self._link(backlog, name, run)

    def _find(self, trial: str, backlog: Backlog) -> str | None:
        """A run that was made when its link could not be recorded any more, or the answer was lost."""
        if self._found is None:
            self._look_up(backlog)
        return (self._found or {}).get(trial)

    def _look_up(self, backlog: Backlog) -> None:
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

    def _link(self, backlog: Backlog, trial: str, run: str) -> str:
        self._leave_if_told()
        backlog.link(trial, run)
        self._announce(RunLinked(trial, run))
        return run

    def _close(self, backlog: Backlog) -> bool:
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
        except ValueError as error:  # of tables that a power cut left damaged
            self._warn(f"plots of trial {trial.trial} cannot be drawn ({type(error).__name__}: {error}).")

    def _draw_report(self, record: StudyRecord) -> None:
        """Once for each good end of the study. Whatever goes wrong with it, the study has its result."""
        ended = record.ended
        if self._draw_study is None or ended is None or ended.status != "finished" or ended is self._drawn_for:
            return
        self._drawn_for, self._drawing = ended, True
        try:
            self._draw_study()
        except Exception as error:
            self._warn(
                f"no report could be written of study {self._folder.name} ({type(error).__name__}: {error}); try "
                f"again with: tune report {self._folder.name}"
            )
        finally:
            self._drawing = False

    def _draw_unsent(self) -> None:
        """The report of a study that is over lies in its folder also where MLflow is away."""
        if self._backlog and self._ending.is_set() and not (self._left.is_set() or self._study_is_dead):
            self._draw_report(self._backlog.record)

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
