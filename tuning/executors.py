"""Where attempts are made: what a study asks of its workers, what it hears from them, and work in its own process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tuning.attempt import AttemptLeftError, Job, run_attempt
from tuning.usage import Meter

if TYPE_CHECKING:
    from tuning.trial import TrialResult
    from tuning.trial_data import TrialData


@dataclasses.dataclass(frozen=True)
class Begun:
    """A worker that is ready takes an attempt up."""

    trial: str
    attempt: int


@dataclasses.dataclass(frozen=True)
class EpochReport:
    """An epoch of an attempt was trained; its number is counted from 0. For `usage` see `tuning.usage`."""

    trial: str
    attempt: int
    epoch: int
    metrics: dict[str, float]
    usage: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Finished:
    """An attempt came to its end; `worker` names who made it, if that was not this machine."""

    trial: str
    attempt: int
    result: TrialResult
    worker: str = ""


@dataclasses.dataclass(frozen=True)
class Raised:
    """An attempt ended in an error: of the configuration, of what every trial needs, or of the program."""

    trial: str
    attempt: int
    error: BaseException


@dataclasses.dataclass(frozen=True)
class Lost:
    """An attempt's process is gone, or cannot be reached; `blameless` if that cannot be the trial's doing."""

    trial: str
    attempt: int
    reason: str
    blameless: bool = False


@dataclasses.dataclass(frozen=True)
class Left:
    """An attempt was left on request, and its state saved."""

    trial: str
    attempt: int


Message = Begun | EpochReport | Finished | Raised | Lost | Left
"""What a study hears of an attempt; but for a beginning and epochs it is the last."""


class Executor(Protocol):
    """Makes attempts, as many at a time as there is room for."""

    @property
    def room(self) -> int:
        """How many more attempts can be taken on now."""

    @property
    def width(self) -> int:
        """How many attempts can be made side by side now."""

    def submit(self, job: Job) -> None:
        """Takes on an attempt."""

    def wait(self, hear: Callable[[Message], None], timeout_s: float) -> None:
        """Passes on what is to be heard of attempts; returns after the first messages, or when the time is over."""

    def leave(self) -> None:
        """Asks all attempts to save their state and end, at the end of their epoch."""

    def close(self) -> None:
        """Ends all that is still going on, at once."""


class InlineExecutor:
    """Makes one attempt at a time, in the process of the study.

    Args:
        data: images.
        stopping: asked after every epoch whether to leave.
    """

    def __init__(self, data: TrialData, stopping: Callable[[], bool] = lambda: False) -> None:
        self._data, self._stopping, self._leaving = data, stopping, False
        self._job: Job | None = None

    @property
    def room(self) -> int:
        """See `Executor`."""
        return 0 if self._job else 1

    @property
    def width(self) -> int:
        """See `Executor`."""
        return 1

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        self._job = job

    def wait(self, hear: Callable[[Message], None], timeout_s: float) -> None:
        """Makes the attempt, however long it takes."""
        job, self._job = self._job, None
        if job is not None:
            hear(self._outcome(job, hear))

    def leave(self) -> None:
        """See `Executor`."""
        self._leaving = True

    def close(self) -> None:
        """Nothing goes on between two calls."""

    def _outcome(self, job: Job, hear: Callable[[Message], None]) -> Message:
        meter = Meter()

        def report(epoch: int, metrics: dict[str, float]) -> None:
            hear(EpochReport(job.trial, job.attempt, epoch, metrics, meter.read()))

        try:
            result = run_attempt(job, self._data, report, lambda: self._leaving or self._stopping())
        except AttemptLeftError:
            return Left(job.trial, job.attempt)
        except Exception as error:
            return Raised(job.trial, job.attempt, error)
        return Finished(job.trial, job.attempt, result)
