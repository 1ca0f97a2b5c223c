"""Attempts in worker processes under Dask `distributed`. The only module that knows Dask.

A worker that crashes, is killed for its memory or hangs costs one attempt; its nanny starts another. Dask itself never
tries anything twice: the study alone counts attempts. Workers listen on the loopback interface only, and are shielded
from the signals that stop a study; when the study's process dies they end with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Worker, WorkerPlugin, get_worker

from pneumo_core.errors import WorkerError
from pneumo_core.runtime import start_tensorflow
from tuning.attempt import AttemptLeftError, DataSetup, Job, Report, run_attempt
from tuning.checkpoints import Checkpoints
from tuning.executors import Begun, EpochReport, Finished, Left, Lost, Message, Raised
from tuning.usage import Meter

if TYPE_CHECKING:
    from tuning.trial import TrialResult
    from tuning.trial_data import TrialData

_TOPIC, _START, _PLACE = "attempts", "start", "workplace"
_SHIELDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_START_LIMIT_S = 300.0  # for a worker to be ready for an attempt
_HAND_OVER_LIMIT_S = 120.0  # for a result to arrive
_GONE = "its process ended unexpectedly (killed, out of memory, or crashed)"
_CONFIGURATION = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-ttl": None,  # a worker may hold its interpreter for minutes; the timeout is ours
    "distributed.admin.tick.limit": "1h",  # and needs no warning about it
    "distributed.comm.retry.count": 0,
}


@dataclasses.dataclass
class _Attempt:
    """What the study's process knows of an attempt that was handed out."""

    job: Job
    future: Future
    since: float
    pid: int | None = None
    begun: bool = False
    ended: bool = False
    lost_because: str = ""


class DaskExecutor:
    """Worker processes on this machine; they start in the background, and import TensorFlow at once.

    Args:
        workers: how many attempts are made side by side.
        timeout_s: an attempt that takes longer is killed; None for no limit.
        tell: takes sentences about what takes long.
        attempt: what is done in a worker.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        workers: int,
        timeout_s: float | None = None,
        tell: Callable[[str], None] = lambda text: None,
        attempt: Callable[[Job, TrialData, Report, Callable[[], bool]], TrialResult] = run_attempt,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers, self._timeout_s = workers, timeout_s
        self._tell, self._attempt, self._clock = tell, attempt, clock
        self._attempts: dict[str, _Attempt] = {}
        self._inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._leaving = False
        starter = ThreadPoolExecutor(1, thread_name_prefix="workers")
        self._started = starter.submit(self._start)
        starter.shutdown(wait=False)

    def open(self, setup: DataSetup) -> None:
        """Gives the workers, those to come included, what they need to know of the study.

        Raises:
            WorkerError: if the workers could not be started.
        """
        try:
            self._client.register_plugin(_Workplace(setup))
        except (OSError, RuntimeError, TimeoutError) as error:
            raise WorkerError(
                f"the worker processes could not be started ({error}); try again, or with --workers 0."
            ) from error

    @property
    def room(self) -> int:
        """See `Executor`."""
        return self._workers - len(self._attempts)

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        key = f"{job.trial}-{job.attempt}"
        future = self._client.submit(_make_attempt, self._attempt, job, key=key, pure=False, retries=0)
        self._attempts[job.trial] = _Attempt(job, future, self._clock())
        future.add_done_callback(
            lambda _: self._inbox.put({"kind": "done", "trial": job.trial, "attempt": job.attempt})
        )

    def wait(self, hear: Callable[[Message], None], timeout_s: float) -> None:
        """See `Executor`."""
        with contextlib.suppress(queue.Empty):
            note = self._inbox.get(timeout=timeout_s)
            while True:
                self._take(note, hear)
                note = self._inbox.get_nowait()
        self._give_up_overdue()
        for attempt in list(self._attempts.values()):
            self._conclude(attempt, hear)

    def leave(self) -> None:
        """See `Executor`."""
        if not self._leaving:
            self._leaving = True
            self._ask_to_leave()

    def close(self) -> None:
        """See `Executor`."""
        with contextlib.suppress(Exception):  # whatever did not start, or is gone already
            client, cluster = self._started.result()
            for nanny in cluster.workers.values():  # to end by themselves takes them a second
                nanny.auto_restart = False
                _kill(nanny.pid)
            client.close(timeout=2)
            cluster.close(timeout=5)

    @property
    def _client(self) -> Client:
        return self._started.result()[0]

    def _start(self) -> tuple[Client, LocalCluster]:
        with dask.config.set(_CONFIGURATION):
            cluster = LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=None,
                security=True,  # certificates of its own for every study: Dask would run whatever it is sent
                silence_logs=logging.CRITICAL,
            )
            client = Client(cluster, set_as_default=False)
        client.subscribe_topic(_TOPIC, lambda event: self._inbox.put(event[1]))
        client.register_plugin(_Start())
        return client, cluster

    def _take(self, note: dict[str, Any], hear: Callable[[Message], None]) -> None:
        if note["kind"] == "told":
            self._tell(note["text"])
            return
        attempt = self._attempts.get(note["trial"])
        if attempt is None or attempt.job.attempt != note["attempt"]:
            return  # stale
        if note["kind"] == "epoch":
            hear(EpochReport(note["trial"], note["attempt"], note["epoch"], note["metrics"], note["usage"]))
        elif note["kind"] == "taken":
            attempt.pid = note["pid"]
        elif note["kind"] == "begun":
            attempt.begun, attempt.since = True, self._clock()
            hear(Begun(note["trial"], note["attempt"]))
            if self._leaving:
                self._ask_to_leave()
        elif note["kind"] == "ended":
            attempt.ended, attempt.since = True, self._clock()

    def _conclude(self, attempt: _Attempt, hear: Callable[[Message], None]) -> None:
        """Passes on how an attempt ended: when its last words were heard and its result is here, or it is lost."""
        if not attempt.future.done() and not (attempt.ended and attempt.lost_because):
            return
        if attempt.future.status == "finished" and not attempt.ended:
            return
        message = _outcome(attempt)
        if isinstance(message, Lost) or attempt.ended:
            del self._attempts[attempt.job.trial]
            attempt.future.release()
            hear(message)

    def _give_up_overdue(self) -> None:
        """Kills the process of an attempt that takes too long: to be taken up, to be made, or to be handed over."""
        for attempt in self._attempts.values():
            passed_s = self._clock() - attempt.since
            if attempt.lost_because or attempt.future.done():
                continue
            if attempt.ended:
                if passed_s > _HAND_OVER_LIMIT_S:
                    attempt.lost_because = f"its result did not arrive in {_HAND_OVER_LIMIT_S:.0f} s"
            elif not attempt.begun:
                if passed_s > _START_LIMIT_S:
                    attempt.lost_because = f"no worker was ready for it in {_START_LIMIT_S:.0f} s"
                    attempt.future.cancel()
                    _kill(attempt.pid)
            elif self._timeout_s is not None and passed_s > self._timeout_s * attempt.job.patience:
                attempt.lost_because = (
                    f"it took longer than {self._timeout_s * attempt.job.patience:g} s (--trial-timeout)"
                )
                _kill(attempt.pid)

    def _ask_to_leave(self) -> None:
        """In a thread, because a worker that hangs does not answer."""
        threading.Thread(target=self._client.run, args=(_leave,), kwargs={"on_error": "ignore"}, daemon=True).start()


def _outcome(attempt: _Attempt) -> Message:
    job, future = attempt.job, attempt.future
    lost = Lost(job.trial, job.attempt, attempt.lost_because or _GONE)
    try:
        return Finished(
            job.trial, job.attempt, future.result(timeout=0 if attempt.lost_because else _HAND_OVER_LIMIT_S)
        )
    except AttemptLeftError:
        return Left(job.trial, job.attempt)
    except (KilledWorker, AttemptRepeatedError, CancelledError):
        return lost
    except Exception as error:
        gone = attempt.lost_because or future.status != "error"  # a result that could not be fetched
        return lost if gone else Raised(job.trial, job.attempt, error)


def _kill(pid: int | None) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


class AttemptRepeatedError(Exception):
    """Dask makes an attempt again because its result went with its worker; only the study tries again."""


class _Start(WorkerPlugin):  # type: ignore[misc]  # Dask has no type information
    """What a worker process begins with, before it knows of any study."""

    name = _START

    def setup(self, worker: Worker) -> None:
        """Called in the main thread of each worker."""
        for number in _SHIELDED:
            signal.signal(number, signal.SIG_IGN)
        self.importing = threading.Thread(target=start_tensorflow, daemon=True)
        self.importing.start()


class _Workplace(WorkerPlugin):  # type: ignore[misc]
    """What a worker process knows of the study."""

    name = _PLACE

    def __init__(self, setup: DataSetup) -> None:
        self._setup = setup

    def setup(self, worker: Worker) -> None:
        """Called in each worker when it starts."""
        self._worker = worker
        self._data: TrialData | None = None
        self.leaving = threading.Event()

    def data(self) -> TrialData:
        """The images, opened when they are first needed."""
        if self._data is None:
            self._worker.plugins[_START].importing.join()
            start_tensorflow(self._setup.threads)
            self._data = self._setup.open(lambda text: self.say(kind="told", text=text))
            self._data.expect(self._setup.expected)
        return self._data

    def say(self, **note: Any) -> None:
        """Sends a note to the study's process; notes arrive in their order."""
        self._worker.log_event(_TOPIC, note)


def _make_attempt(attempt: Callable[..., TrialResult], job: Job) -> TrialResult:
    """Runs in a worker."""
    place: _Workplace = get_worker().plugins[_PLACE]
    mark = {"trial": job.trial, "attempt": job.attempt}
    meter = Meter()

    def report(epoch: int, metrics: dict[str, float]) -> None:
        place.say(kind="epoch", epoch=epoch, metrics=metrics, usage=meter.read(), **mark)

    place.say(kind="taken", pid=os.getpid(), **mark)
    try:
        if not Checkpoints(job.checkpoints).begin(job.trial, job.attempt):
            raise AttemptRepeatedError
        data = place.data()
        place.say(kind="begun", **mark)
        return attempt(job, data, report, place.leaving.is_set)
    finally:
        place.say(kind="ended", **mark)


def _leave(dask_worker: Worker) -> None:
    """Runs in a worker's event loop, beside the attempt it is making."""
    if _PLACE in dask_worker.plugins:
        dask_worker.plugins[_PLACE].leaving.set()
