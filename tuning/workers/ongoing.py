"""An attempt that was handed out to a worker, as the study's process sees it."""

from __future__ import annotations

import dataclasses
from concurrent.futures import CancelledError
from concurrent.futures import Future as Promise
from typing import TYPE_CHECKING

from distributed import Future, KilledWorker

from pneumo_core.errors import ConfigError, DivergedError, OutOfMemoryError, PneumoError, StoreError
from tuning.attempt import AttemptLeftError, Job
from tuning.executors import Finished, Left, Lost, Message, Raised
from tuning.workers.roster import Member
from tuning.workers.workplace import AttemptRepeatedError

if TYPE_CHECKING:
    from tuning.trial import TrialResult

_OF_THE_TRIAL = (ConfigError, DivergedError, OutOfMemoryError)


@dataclasses.dataclass
class Ongoing:
    """An attempt, from when it is handed out until its end is heard.

    Attributes:
        job: the attempt.
        worker: that makes it.
        since: when it entered the state that it is in: handed out, begun, ended, or over.
        future: of Dask's task, when there is one.
        begun: the worker has taken it up.
        ended: its last words were heard.
        over: Dask has its end, good or bad.
        lost_because: why it will not come to an end; empty if it may.
        blameless: its loss cannot be its own doing.
        result: that is on its way here.
        saving: of the checkpoint that is on its way here.
        unsaved: place, at the worker, of one that is to be fetched.
    """

    job: Job
    worker: Member
    since: float
    future: Future | None = None
    begun: bool = False
    ended: bool = False
    over: bool = False
    lost_because: str = ""
    blameless: bool = False
    result: Promise[TrialResult] | None = None
    saving: Promise[None] | None = None
    unsaved: str = ""

    @property
    def is_here(self) -> bool:
        """Whether its result was heard to the end and has arrived, with the last checkpoint."""
        saved = not self.unsaved and (self.saving is None or self.saving.done())
        return self.over and self.result is not None and self.result.done() and saved

    @property
    def error(self) -> BaseException | None:
        """What came in the place of a result; None if that is not here, or good."""
        return self.result.exception() if self.result is not None and self.result.done() else None

    @property
    def was_never_made(self) -> bool:
        """Whether it did not reach a worker, or was refused there: for another study, or because Dask repeats it."""
        unreached = self.future is None and self.error is not None and not isinstance(self.error, StoreError)
        return unreached or isinstance(self.error, AttemptRepeatedError)

    @property
    def was_killed(self) -> bool:
        """Whether Dask gave it up with its worker."""
        return isinstance(self.error, KilledWorker | CancelledError)

    @property
    def is_fault_of_worker(self) -> bool:
        """Whether it could not be begun, or failed by something that is not of the trial but of the machine."""
        if self.error is None or not self.begun:
            return self.error is not None
        return isinstance(self.error, PneumoError | OSError) and not isinstance(self.error, _OF_THE_TRIAL)

    def lose(self, reason: str, *, blameless: bool = False) -> None:
        """Takes note that it will not come to an end; the first reason counts."""
        if not self.lost_because:
            self.lost_because, self.blameless = reason, blameless

    def outcome(self, maker: str) -> Message:
        """Returns how it ended.

        Args:
            maker: name of the worker, if that is to be recorded.
        """
        job = self.job
        if self.lost_because or self.result is None:
            return Lost(job.trial, job.attempt, self.lost_because, self.blameless)
        match self.result.exception():
            case None:
                return Finished(job.trial, job.attempt, self.result.result(), maker)
            case AttemptLeftError():
                return Left(job.trial, job.attempt)
            case error:
                return Raised(job.trial, job.attempt, error)
