"""Attempts handed out to worker processes, each to a worker that is free for it, and what is heard of them.

A worker that crashes, is killed for its memory or hangs costs one attempt. Dask itself never tries anything twice: the
study alone counts attempts. Messages carry the number of their attempt; those of one that was given up are stale.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import queue
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as Promise
from typing import TYPE_CHECKING, Any

from distributed import Future, KilledWorker

from pneumo_core.errors import WorkerError
from tuning.attempt import AttemptLeftError, DataSetup, Job, Report, run_attempt
from tuning.executors import Begun, EpochReport, Finished, Left, Lost, Message, Raised
from tuning.workers import courier
from tuning.workers.connection import Connection
from tuning.workers.roster import Member, Roster
from tuning.workers.source import WorkerSource
from tuning.workers.workplace import AttemptRepeatedError, make_attempt

if TYPE_CHECKING:
    from tuning.trial import TrialResult
    from tuning.trial_data import TrialData

_START_LIMIT_S = 300.0  # for a worker of this machine to be ready, and for any to take up an attempt
_HAND_OVER_LIMIT_S = 120.0  # for a result to arrive
_LOST_AT_START = 4  # workers of this machine, in a row, that ended before they were ready
_TOLD_WAITING_S = 15.0
_GONE = "its process ended unexpectedly (killed, out of memory, or crashed)"
_DISCONNECTED = "the connection to the scheduler was lost"


@dataclasses.dataclass
class _Attempt:
    """What the study's process knows of an attempt that was handed out."""

    job: Job
    worker: Member
    since: float
    future: Future | None = None
    begun: bool = False
    ended: bool = False
    lost_because: str = ""
    blameless: bool = False
    result: Promise[TrialResult] | None = None
    saving: Promise[None] | None = None
    unsaved: str = ""

    @property
    def over(self) -> bool:
        """Whether Dask has the end of it, good or bad."""
        return self.future is not None and self.future.done()


class DaskExecutor:
    """Worker processes; they are looked for in the background, and import TensorFlow as soon as they are found.

    Args:
        source: where they come from.
        timeout_s: an attempt that takes longer is given up, and its process ended; None for no limit.
        tell: takes sentences about what takes long, and about workers that come, go or are refused.
        attempt: what is done in a worker.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        source: WorkerSource,
        timeout_s: float | None = None,
        tell: Callable[[str], None] = lambda text: None,
        attempt: Callable[[Job, TrialData, Report, Callable[[], bool]], TrialResult] = run_attempt,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._timeout_s = source, timeout_s
        self._tell, self._attempt, self._clock = tell, attempt, clock
        self._roster, self._attempts = Roster(), dict[str, _Attempt]()
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._setup: Promise[DataSetup] = Promise()
        self._errands = ThreadPoolExecutor(4, thread_name_prefix="errands")
        self._leaving = self._closed = self._ever_ready = False
        self._lost_at_start = 0
        self._alone_since, self._told_waiting = clock(), False
        self._connecting = self._connect()

    def open(self, setup: DataSetup) -> None:
        """Gives the workers, those to come included, what they need to know of the study.

        Raises:
            WorkerError: if there can be no workers.
        """
        self._connecting.result()
        self._setup.set_result(setup)
        self._alone_since = self._clock()

    @property
    def room(self) -> int:
        """See `Executor`."""
        return len(self._roster.those("idle"))

    @property
    def width(self) -> int:
        """See `Executor`."""
        return len(self._roster.those("idle", "busy"))

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        worker = self._roster.those("idle")[0]
        worker.standing = "busy"
        attempt = _Attempt(job, worker, self._clock())
        self._attempts[job.trial] = attempt
        if self._source.local:
            self._hand_over(self._connection, attempt)
        else:
            self._errands.submit(self._bring_and_hand_over, self._connection, attempt)

    def wait(self, hear: Callable[[Message], None], timeout_s: float) -> None:
        """See `Executor`.

        Raises:
            WorkerError: if there can be no workers any more.
        """
        self._look_after_connection(hear)
        with contextlib.suppress(queue.Empty):
            note = self._inbox.get(timeout=timeout_s)
            while True:
                self._take(note, hear)
                note = self._inbox.get_nowait()
        self._give_up_excessive()
        for attempt in list(self._attempts.values()):
            self._conclude(attempt, hear)
        self._look_after_roster()

    def leave(self) -> None:
        """See `Executor`."""
        if not self._leaving:
            self._leaving = True
            self._ask_to_leave()

    def close(self) -> None:
        """See `Executor`."""
        if self._closed:
            return
        self._closed = True
        self._errands.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(Exception):  # whatever did not start, or is gone already
            connection = self._connecting.result()
            if not self._source.local:
                connection.let_go()
            self._source.close()
            connection.close()

    @property
    def _connection(self) -> Connection:
        return self._connecting.result()

    def _connect(self) -> Promise[Connection]:
        starter = ThreadPoolExecutor(1, thread_name_prefix="workers")
        try:
            return starter.submit(
                Connection.make, self._source, self._setup, self._inbox.put, given_up=lambda: self._closed
            )
        finally:
            starter.shutdown(wait=False)

    def _look_after_connection(self, hear: Callable[[Message], None]) -> None:
        """Attempts that go on behind a lost connection are lost with it, through no fault of theirs."""
        if not self._connecting.done() or self._connection.holds():
            return
        self._tell(f"{_DISCONNECTED}: {self._source.place}; waiting for it")
        self._connection.close()
        self._roster.clear()
        attempts, self._attempts = list(self._attempts.values()), {}
        self._connecting = self._connect()
        for attempt in attempts:
            hear(Lost(attempt.job.trial, attempt.job.attempt, _DISCONNECTED, blameless=True))

    def _look_after_roster(self) -> None:
        """Says when there is nobody to work for long; ends a study that nobody will ever work for."""
        if self._roster.those("idle", "busy"):
            self._alone_since, self._told_waiting = self._clock(), False
            return
        alone_s = self._clock() - self._alone_since
        if self._source.local and (alone_s > _START_LIMIT_S or self._lost_at_start >= _LOST_AT_START):
            raise WorkerError(
                f"no worker became ready ({self._lost_at_start} ended before); look at memory and disk, or try with "
                "--workers 0."
            )
        if alone_s > _TOLD_WAITING_S and not self._told_waiting and not self._roster.those("new"):
            self._told_waiting = True
            self._tell(f"{self._source.place}: no worker is free for this study; it waits for one")

    def _take(self, note: dict[str, Any], hear: Callable[[Message], None]) -> None:
        match note["kind"]:
            case "told":
                self._tell(note["text"])
            case "arrived":
                self._roster.enter(note["member"])
            case "gone":
                self._miss(note["worker"])
            case "ready" | "refused":
                self._settle(note)
            case _:
                attempt = self._attempts.get(note["trial"])
                if attempt is not None and attempt.job.attempt == note["attempt"]:  # else it is stale
                    self._take_news(note, attempt, hear)

    def _take_news(self, note: dict[str, Any], attempt: _Attempt, hear: Callable[[Message], None]) -> None:
        job = attempt.job
        match note["kind"]:
            case "begun":
                attempt.begun, attempt.since = True, self._clock()
                hear(Begun(job.trial, job.attempt))
                if self._leaving:
                    self._ask_to_leave()
            case "epoch":
                hear(EpochReport(job.trial, job.attempt, note["epoch"], note["metrics"], note["usage"]))
            case "saved":
                attempt.unsaved = note["path"]
                self._fetch(attempt)
            case "ended":
                attempt.ended, attempt.since = True, self._clock()

    def _miss(self, address: str) -> None:
        """A worker is gone; what it was making is lost."""
        worker = self._roster.find(address)
        if worker is None:
            return
        self._roster.remove(address)
        if worker.standing == "new":
            self._lost_at_start += 1
        for attempt in self._attempts.values():
            if attempt.worker is worker and not attempt.lost_because:
                attempt.lost_because = _GONE if self._source.local else f"worker {worker} is gone"

    def _settle(self, note: dict[str, Any]) -> None:
        """A worker is ready for attempts, or is none for this study."""
        worker = self._roster.find(note["worker"])
        if worker is None:
            return
        worker.standing = "idle" if note["kind"] == "ready" else "refused"
        if worker.standing == "idle":
            self._ever_ready, self._lost_at_start = True, 0
            if not self._source.local:
                self._tell(f"worker {worker} joins")
            return
        error = note.get("error")
        if self._source.local and error is not None:
            raise error
        self._tell(f"worker {worker} is refused: " + "; ".join(note["reasons"]))
        if not self._ever_ready and not self._roster.those("new", "idle", "busy"):
            raise WorkerError(f"{self._source.place}: no worker there can serve this study; the reasons are above.")

    def _bring_and_hand_over(self, connection: Connection, attempt: _Attempt) -> None:
        try:
            courier.bring(connection.run, attempt.worker.address, connection.session.id, attempt.job)
            self._hand_over(connection, attempt)
        except Exception as error:
            attempt.lost_because = f"worker {attempt.worker} could not be given it ({error})"

    def _hand_over(self, connection: Connection, attempt: _Attempt) -> None:
        job = attempt.job
        attempt.future = connection.client.submit(
            functools.partial(make_attempt, connection.session, self._attempt),
            job,
            key=f"{job.trial}-{job.attempt}-{connection.session.id}",
            workers=[attempt.worker.address],
            pure=False,
            retries=0,
        )
        attempt.future.add_done_callback(lambda _: self._wake(job))

    def _wake(self, job: Job) -> None:
        self._inbox.put({"kind": "done", "trial": job.trial, "attempt": job.attempt})

    def _fetch(self, attempt: _Attempt) -> None:
        """Has the newest checkpoint of an attempt fetched, one at a time."""
        if not attempt.unsaved or (attempt.saving is not None and not attempt.saving.done()):
            return
        place, attempt.unsaved = attempt.unsaved, ""
        arguments = (self._connection.run, attempt.worker.address, place, attempt.job)
        attempt.saving = self._errands.submit(courier.fetch, *arguments)

    def _conclude(self, attempt: _Attempt, hear: Callable[[Message], None]) -> None:
        """Passes on how an attempt ended: when its last words were heard and all of it is here, or it is lost."""
        if not attempt.lost_because:
            if attempt.future is None or not attempt.over or not self._is_here(attempt, attempt.future):
                return
            self._notice_loss(attempt)
        if not attempt.ended and not attempt.lost_because:
            return
        message = _outcome(attempt, "" if self._source.local else attempt.worker.name)
        del self._attempts[attempt.job.trial]
        if attempt.future is not None:
            attempt.future.release()
        if attempt.worker.standing == "busy":
            attempt.worker.standing = "idle"
        hear(message)

    def _is_here(self, attempt: _Attempt, future: Future) -> bool:
        """Returns whether the result and the last checkpoint have arrived; has them fetched if need be."""
        if attempt.result is None:
            attempt.result = self._errands.submit(future.result)
            attempt.result.add_done_callback(lambda _: self._wake(attempt.job))
        self._fetch(attempt)
        return attempt.result.done() and (attempt.saving is None or attempt.saving.done())

    def _notice_loss(self, attempt: _Attempt) -> None:
        """Takes in what Dask says of a task that no worker could end."""
        match attempt.result and attempt.result.exception():
            case AttemptRepeatedError():  # the worker was taken by another study, which thought this one gone
                attempt.lost_because, attempt.blameless = f"worker {attempt.worker} serves another study", True
                attempt.worker.standing = "new"
                self._connection.take_on(attempt.worker)
            case KilledWorker() | CancelledError():
                attempt.lost_because = _GONE

    def _give_up_excessive(self) -> None:
        """Ends the process of an attempt that takes too long (to be taken up, made, or handed over) or too much."""
        for attempt in self._attempts.values():
            passed_s = self._clock() - attempt.since
            limit_s = None if self._timeout_s is None else self._timeout_s * attempt.job.patience
            if attempt.lost_because:
                continue
            if attempt.ended or attempt.over:
                if passed_s > _HAND_OVER_LIMIT_S:
                    self._give_up(attempt, f"its result did not arrive in {_HAND_OVER_LIMIT_S:.0f} s")
            elif not attempt.begun:
                if passed_s > _START_LIMIT_S:
                    attempt.blameless = True
                    self._give_up(attempt, f"its worker did not take it up in {_START_LIMIT_S:.0f} s")
            elif limit_s is not None and passed_s > limit_s:
                self._give_up(attempt, f"it took longer than {limit_s:g} s (--trial-timeout)")
            elif objection := self._source.objection(attempt.worker):
                self._give_up(attempt, objection)

    def _give_up(self, attempt: _Attempt, reason: str) -> None:
        attempt.lost_because, attempt.worker.standing = reason, "ending"
        if attempt.future is not None:
            attempt.future.cancel()
        self._source.end(self._connection.client, attempt.worker)

    def _ask_to_leave(self) -> None:
        if self._connecting.done():
            self._connection.ask_to_leave()


def _outcome(attempt: _Attempt, worker: str) -> Message:
    job = attempt.job
    if attempt.lost_because or attempt.result is None:
        return Lost(job.trial, job.attempt, attempt.lost_because, attempt.blameless)
    match attempt.result.exception():
        case None:
            return Finished(job.trial, job.attempt, attempt.result.result(), worker)
        case AttemptLeftError():
            return Left(job.trial, job.attempt)
        case error:
            return Raised(job.trial, job.attempt, error)
