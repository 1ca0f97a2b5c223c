"""Attempts handed out to worker processes, each to a worker that is free for it, and what is heard of them.

A worker that crashes, is killed for its memory or hangs costs one attempt. Dask itself never tries anything twice: the
study alone counts attempts. Messages carry the number of their attempt; those of one that was given up are stale.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future as Promise
from typing import TYPE_CHECKING, Any

from pneumo_core.errors import StoreError, WorkerError
from tuning.attempt import DataSetup, Job, Report, run_attempt
from tuning.executors import Begun, EpochReport, Lost, Message
from tuning.workers import courier
from tuning.workers.connection import Connection
from tuning.workers.errands import errand
from tuning.workers.ongoing import Ongoing
from tuning.workers.parcel import parcel
from tuning.workers.roster import Member, Roster, Standing
from tuning.workers.source import WorkerSource
from tuning.workers.workplace import make_attempt

if TYPE_CHECKING:
    from tuning.trial import TrialResult
    from tuning.trial_data import TrialData

_START_LIMIT_S = 300.0  # for a worker of this machine to be ready, and for any to take up an attempt
_HAND_OVER_LIMIT_S = 120.0  # for a result to arrive
_LOST_AT_START = 4  # workers of this machine, in a row, that ended before they were ready
_TOLD_WAITING_S = 10.0
_GONE = "its process ended unexpectedly (killed, out of memory, or crashed)"
_DISCONNECTED = "the connection to the scheduler was lost"


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
        self._roster, self._attempts = Roster(), dict[str, Ongoing]()
        self._setup: Promise[DataSetup] = Promise()
        self._leaving = self._closed = self._ever_ready = False
        self._lost_at_start = 0
        self._alone_since, self._told_waiting = clock(), False
        self._connecting = self._connect()
        if source.caution:
            tell(source.caution)

    def reach(self) -> None:
        """Returns when there is a connection to the scheduler.

        Raises:
            WorkerError: if there can be none.
        """
        self._connecting.result()

    def open(self, setup: DataSetup) -> None:
        """Gives the workers, those to come included, what they need to know of the study.

        Raises:
            WorkerError: if there can be no workers.
        """
        self.reach()
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
        attempt = Ongoing(job, worker, self._clock())
        self._attempts[job.trial] = attempt
        if self._source.local:
            self._hand_over(self._connection, attempt)
        else:
            errand(self._bring_and_hand_over, self._connection, attempt)

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
        if not self._source.local and not self._connecting.done():  # it gives up by itself, or comes too late
            self._connecting.add_done_callback(_close)
            return
        with contextlib.suppress(Exception):  # whatever did not start, or is gone already
            connection = self._connecting.result()
            if not self._source.local:
                connection.let_go(self._addresses("new", "idle", "busy"))
            connection.close()
            self._source.close()

    @property
    def _connection(self) -> Connection:
        return self._connecting.result()

    def _connect(self) -> Promise[Connection]:
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()  # what came by an earlier one is stale
        return errand(Connection.make, self._source, self._setup, self._inbox.put, lambda: self._closed)

    def _addresses(self, *standings: Standing) -> list[str]:
        return [worker.address for worker in self._roster.those(*standings)]

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
        if self._roster.those("idle", "busy") or not self._connecting.done():
            self._alone_since, self._told_waiting = self._clock(), False
            return
        alone_s = self._clock() - self._alone_since
        if self._source.local and (alone_s > _START_LIMIT_S or self._lost_at_start >= _LOST_AT_START):
            raise WorkerError(
                f"no worker became ready ({self._lost_at_start} ended before); look at memory and disk, or try with "
                "--workers 0."
            )
        owners = sorted({worker.owner for worker in self._roster.those("taken")})
        getting_ready = bool(self._roster.those("new"))
        if self._told_waiting or (getting_ready and self._source.local):
            return
        if alone_s > _TOLD_WAITING_S or (owners and not getting_ready):
            self._told_waiting = True
            nobody = "its workers are being examined" if getting_ready else "no worker is free"
            why = f"its workers serve another study ({', '.join(owners)})" if owners else nobody
            self._tell(f"{self._source.place}: {why}; waiting for one")

    def _take(self, note: dict[str, Any], hear: Callable[[Message], None]) -> None:
        match note["kind"]:
            case "told":
                self._tell(note["text"])
            case "arrived":
                self._roster.enter(note["member"])
            case "gone" | "closing":
                self._miss(note)
            case "taken":
                self._leave_to_other(note)
            case "ready" | "refused":
                self._settle(note)
            case _:
                attempt = self._attempts.get(note["trial"])
                if attempt is not None and attempt.job.attempt == note["attempt"]:  # else it is stale
                    self._take_news(note, attempt, hear)

    def _take_news(self, note: dict[str, Any], attempt: Ongoing, hear: Callable[[Message], None]) -> None:
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
            case "over":
                attempt.over, attempt.since = True, self._clock()

    def _miss(self, note: dict[str, Any]) -> None:
        """A worker is gone, or shuts down; what it was making is lost, unless that is here already."""
        worker = self._roster.find(note["worker"])
        if worker is None:
            return
        self._roster.remove(worker.address)
        if worker.standing == "new":
            self._lost_at_start += 1
            if not self._source.local:
                self._tell(f"worker {worker} is gone before it could join")
        shut_down = note["kind"] == "closing" or note["expected"]
        reason = f"worker {worker} " + ("was shut down" if shut_down else "is gone")
        for attempt in self._attempts.values():
            if attempt.worker is worker and not attempt.is_here:
                unreached = not (attempt.begun or self._source.local)  # then the trial did nothing there
                attempt.lose(_GONE if self._source.local else reason, blameless=shut_down or unreached)

    def _leave_to_other(self, note: dict[str, Any]) -> None:
        worker = self._roster.find(note["worker"])
        if worker is not None:
            worker.standing, worker.owner = "taken", note["owner"]

    def _settle(self, note: dict[str, Any]) -> None:
        """A worker is ready for attempts, or is none for this study."""
        worker = self._roster.find(note["worker"])
        if worker is None or worker.standing not in ("new", "taken"):
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
        self._refuse(worker, "; ".join(note["reasons"]))

    def _refuse(self, worker: Member, reason: str) -> None:
        """Leaves a worker aside until it is started again; one that is gone by now need not be."""
        if self._roster.find(worker.address) is not worker:
            return
        is_last = worker.standing == "busy" or not self._ever_ready
        worker.standing = "refused"
        self._tell(f"worker {worker} is refused: {reason}")
        if is_last and not self._roster.those("new", "taken", "idle", "busy"):
            raise WorkerError(f"{self._source.place}: no worker there can serve this study: {worker}: {reason}")

    def _bring_and_hand_over(self, connection: Connection, attempt: Ongoing) -> None:
        try:
            courier.bring(connection.run, attempt.worker.address, connection.session.id, attempt.job)
            if not attempt.lost_because:
                self._hand_over(connection, attempt)
        except Exception as error:
            attempt.result = Promise()
            attempt.result.set_exception(error)
            self._report("over", attempt)

    def _hand_over(self, connection: Connection, attempt: Ongoing) -> None:
        job = attempt.job
        attempt.future = connection.client.submit(
            *parcel(make_attempt, connection.session, self._attempt, job),
            key=(f"attempt-{connection.session.id}", job.trial, job.attempt),  # Dask keeps something of each first part
            workers=[attempt.worker.address],
            pure=False,
            retries=0,
        )
        attempt.future.add_done_callback(lambda _: self._report("over", attempt))

    def _report(self, kind: str, attempt: Ongoing) -> None:
        self._inbox.put({"kind": kind, "trial": attempt.job.trial, "attempt": attempt.job.attempt})

    def _fetch(self, attempt: Ongoing) -> None:
        """Has the newest checkpoint of an attempt fetched, one at a time."""
        if not attempt.unsaved or (attempt.saving is not None and not attempt.saving.done()):
            return
        place, attempt.unsaved = attempt.unsaved, ""
        attempt.saving = errand(courier.fetch, self._connection.run, attempt.worker.address, place, attempt.job)
        attempt.saving.add_done_callback(lambda _: self._report("wake", attempt))

    def _conclude(self, attempt: Ongoing, hear: Callable[[Message], None]) -> None:
        """Passes on how an attempt ended: when all of it is here, or it is lost. Its last words were heard before."""
        self._fetch(attempt)
        if attempt.over and not attempt.lost_because:
            self._collect(attempt)
        if not attempt.lost_because and not attempt.is_here:
            return
        message = attempt.outcome("" if self._source.local else attempt.worker.name)
        del self._attempts[attempt.job.trial]
        if attempt.future is not None:
            attempt.future.release()
        if attempt.worker.standing == "busy":
            attempt.worker.standing = "idle"
        hear(message)

    def _collect(self, attempt: Ongoing) -> None:
        """Has the result brought here, and looks at what came."""
        if attempt.result is None and attempt.future is not None:
            attempt.result = errand(attempt.future.result)
            attempt.result.add_done_callback(lambda _: self._report("wake", attempt))
        if not attempt.is_here or not self._connection.holds():  # else Dask has cancelled it, with all others
            return
        worker = attempt.worker
        if attempt.was_never_made:
            why = f"could not be given it ({attempt.error})" if attempt.future is None else "serves another study"
            attempt.lose(f"worker {worker} {why}", blameless=True)
            worker.standing = "new"  # asked again, it may be gone
            self._connection.take_on(worker)
        elif attempt.was_killed:
            attempt.lose(_GONE)
        elif attempt.is_fault_of_worker and not self._source.local:
            why = " ".join(str(attempt.error).split())
            attempt.lose(f"worker {worker} could not make it: {why}", blameless=True)
            self._connection.let_go([worker.address])
            self._refuse(worker, why)
        elif attempt.saving is not None:
            self._look_at_checkpoint(attempt, attempt.saving.exception())

    def _look_at_checkpoint(self, attempt: Ongoing, error: BaseException | None) -> None:
        """The last checkpoint may be what a later rung goes on from."""
        if isinstance(error, StoreError):
            raise error
        if error is not None and attempt.job.keep_state:
            attempt.lose(f"its checkpoint could not be fetched from worker {attempt.worker} ({error})", blameless=True)

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

    def _give_up(self, attempt: Ongoing, reason: str) -> None:
        attempt.lost_because, attempt.worker.standing = reason, "ending"
        if attempt.future is not None:
            attempt.future.cancel()
        self._source.end(self._connection.client, attempt.worker)

    def _ask_to_leave(self) -> None:
        if self._connecting.done():
            self._connection.ask_to_leave(self._addresses("busy"))


def _close(late: Promise[Connection]) -> None:
    if late.exception() is None:
        late.result().close()
