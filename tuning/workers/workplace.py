"""What happens in a worker process: a study takes it on, it makes the study's attempts, and is let go.

The study's process runs these functions in workers, through Dask. A worker serves one study's process at a time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distributed import Worker, WorkerPlugin, get_worker
from distributed.core import Status

from pneumo_core.errors import PneumoError
from pneumo_core.runtime import start_tensorflow
from tuning.attempt import DataSetup, Job
from tuning.checkpoints import Checkpoints
from tuning.usage import Meter
from tuning.workers.admission import (
    Program,
    at_this_worker,
    program_here,
    refusals_of_images,
    refusals_of_weights,
)
from tuning.workers.courier import clear_scratch, scratch_folder

if TYPE_CHECKING:
    from tuning.trial import TrialResult
    from tuning.trial_data import TrialData

_NAME = "workplace"
_SHIELDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True)
class Session:
    """A study's process, as workers know it.

    Attributes:
        id: of its connection to the scheduler.
        owner: how users know it.
        local: it started the workers, on its own machine.
    """

    id: str
    owner: str
    local: bool

    @property
    def topic(self) -> str:
        """By which workers' notes go: a name that the scheduler forgets with the connection."""
        return self.id


@dataclasses.dataclass(frozen=True)
class Introduction:
    """How a worker introduces itself.

    Attributes:
        name: of its machine or, if it was given one, its own.
        pid: of the process.
        program: what it runs.
        serves: another study's process that it works for, whose orders it goes on with; None if it is free.
    """

    name: str
    pid: int
    program: Program
    serves: Session | None = None


class AttemptRepeatedError(Exception):
    """Dask makes an attempt again because its worker or its result was lost; only the study tries again."""


class Workplace(WorkerPlugin):  # type: ignore[misc]  # Dask has no type information
    """What a worker process knows of the study that it works for.

    Attributes:
        session: of the study's process.
        leaving: set when attempts shall be left.
        begun: attempts that were taken up, by trial and number.
        at_work: an attempt is being made.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.leaving = threading.Event()
        self.begun: set[tuple[str, int]] = set()
        self.at_work = False
        self._data: TrialData | None = None
        self._left = False

    def setup(self, worker: Worker) -> None:
        """Called by Dask in the worker's main thread."""
        self._worker = worker
        clear_scratch(worker)  # what an attempt wrote that went on when its study had let go of the worker
        if self.session.local:  # a request to stop is for the study, which asks its workers to leave
            for number in _SHIELDED:
                signal.signal(number, signal.SIG_IGN)
        threading.Thread(target=start_tensorflow, daemon=True).start()  # takes long: until the images are known

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the worker is let go, or closes."""
        self.leaving.set()
        self._left = True
        self.clear_away()
        if worker.status in (Status.closing, Status.closing_gracefully):
            self.say(kind="closing", worker=worker.address)

    def clear_away(self) -> None:
        """Removes the study's checkpoints from this worker, when it has left the study and its last attempt."""
        if self._left and not self.at_work and not self.session.local:
            shutil.rmtree(scratch_folder(self._worker, self.session.id), ignore_errors=True)

    def open(self, setup: DataSetup) -> list[str]:
        """Makes the study's images ready; returns why this worker cannot serve it, one line each."""
        here = setup if self.session.local else at_this_worker(setup)
        if not self.session.local and (reasons := refusals_of_images(here)):
            return reasons
        start_tensorflow(here.threads)
        if not self.session.local and (reasons := refusals_of_weights(here)):
            return reasons
        self._data = here.open(lambda text: self.say(kind="told", text=text))
        self._data.expect(here.expected)
        return []

    @property
    def data(self) -> TrialData:
        """The images."""
        if self._data is None:
            raise AttemptRepeatedError
        return self._data

    def say(self, **note: Any) -> None:
        """Sends a note to the study's process; notes arrive in their order."""
        self._worker.log_event(self.session.topic, note)


async def greet(session: Session, instead_of: Session | None, dask_worker: Worker) -> Introduction:
    """Offers a worker to work for a study.

    Args:
        session: of the study's process.
        instead_of: whose process is known to be gone; what it had this worker do is left.
        dask_worker: set by Dask.
    """
    place = _place(dask_worker)
    introduction = Introduction(_name(dask_worker), os.getpid(), program_here())
    if place is not None and place.session not in (session, instead_of):
        return dataclasses.replace(introduction, serves=place.session)
    if place is None or place.session != session:
        await dask_worker.plugin_add(Workplace(session), name=_NAME)
    return introduction


async def take_on(session: Session, setup: DataSetup, dask_worker: Worker) -> list[str]:
    """Makes a worker ready for a study's attempts; returns why it cannot serve, one line each.

    Raises:
        PneumoError: if the images cannot be made ready.
        ConnectionAbortedError: if another study took the worker meanwhile.
    """
    place = _place(dask_worker)
    if place is None or place.session != session:
        raise ConnectionAbortedError("another study took it")
    try:
        return await asyncio.to_thread(place.open, setup)
    except OSError as error:
        if isinstance(error, PneumoError):
            raise
        return [f"{type(error).__name__}: {error}"]  # else it would look like a worker that is gone


def leave(session: Session, dask_worker: Worker) -> None:
    """Asks a worker to leave the attempt that it makes."""
    place = _place(dask_worker)
    if place is not None and place.session == session:
        place.leaving.set()


async def let_go(session: Session, dask_worker: Worker) -> None:
    """Frees a worker for other studies."""
    place = _place(dask_worker)
    if place is not None and place.session == session:
        await dask_worker.plugin_remove(_NAME)


def make_attempt(session: Session, attempt: Callable[..., TrialResult], job: Job) -> TrialResult:
    """Makes an attempt; Dask runs it as a task.

    Raises:
        AttemptRepeatedError: if this process was not taken on for the attempt, or has begun it before.
    """
    place = _place(get_worker())
    mark = {"trial": job.trial, "attempt": job.attempt}
    if place is None or place.session != session or (job.trial, job.attempt) in place.begun:
        raise AttemptRepeatedError
    place.begun.add((job.trial, job.attempt))
    meter, told = Meter(), {}
    if not session.local:
        job = dataclasses.replace(job, checkpoints=scratch_folder(get_worker(), session.id))
        Checkpoints(job.checkpoints).discard_all_but({job.trial, job.parent})
        told = {"saved": lambda path: place.say(kind="saved", path=str(path), **mark)}

    def report(epoch: int, metrics: dict[str, float]) -> None:
        place.say(kind="epoch", epoch=epoch, metrics=metrics, usage=meter.read(), **mark)

    place.say(kind="begun", **mark)
    place.at_work = True
    try:
        return attempt(job, place.data, report, place.leaving.is_set, **told)
    finally:
        place.at_work = False
        place.clear_away()
        place.say(kind="ended", **mark)


def _place(worker: Worker) -> Workplace | None:
    place = worker.plugins.get(_NAME)
    return place if isinstance(place, Workplace) else None


def _name(worker: Worker) -> str:
    return socket.gethostname() if str(worker.name) == worker.address else str(worker.name)
