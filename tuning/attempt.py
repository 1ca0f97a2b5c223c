"""One attempt at a trial, as it is made in a worker: from the last checkpoint, and leaving checkpoints behind."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.activation_store import ActivationStore
from pneumo_core.config import TrialConfig
from pneumo_core.errors import StoreError
from tuning.checkpoints import Checkpoints
from tuning.pruning import is_hopeless

if TYPE_CHECKING:  # TensorFlow is imported where work is done: workers are started before that
    import pandas as pd

    from pneumo_core.training import Training, TrainingState
    from tuning.trial import TrialResult
    from tuning.trial_data import TrialData

CHECKPOINT_INTERVAL_S = 5.0
"""At least as long between two checkpoints: what a killed worker loses is this, or one epoch if that is longer."""

_WRITING_SHARE = 10

Report = Callable[[int, dict[str, float]], None]
"""Takes each epoch's number (from 0) and metrics."""


class AttemptLeftError(Exception):
    """The attempt was left on request, at a state it can be taken up from."""


@dataclasses.dataclass(frozen=True)
class Job:
    """An attempt to be made.

    Attributes:
        trial: id.
        attempt: counted from 1.
        config: of the trial.
        checkpoints: folder of the study's checkpoints.
        folds: that it is trained in; 1 for a hold-out.
        parent: trial whose training is continued; empty for none.
        prune_above: see `tuning.events.TrialStarted`.
        keep_state: leave a checkpoint after the last epoch too, for a rung that may follow.
        patience: how many times as long as others it may take.
    """

    trial: str
    attempt: int
    config: Mapping[str, Any]
    checkpoints: Path
    folds: int = 1
    parent: str = ""
    prune_above: Mapping[str, float] = dataclasses.field(default_factory=dict)
    keep_state: bool = False
    patience: float = 1.0


@dataclasses.dataclass(frozen=True)
class DataSetup:
    """From what a worker makes the `TrialData` of a study.

    Attributes:
        root: folder that the manifest's paths are relative to.
        pool: manifest of the images, none of `test/` among them.
        class_names: of label 0 and label 1.
        cache: folder of activations.
        cache_budget_bytes: size that this folder is kept to; None for no limit.
        threads: of one TensorFlow operation; 0 for one a processor.
        expected: configurations that can be foreseen.
        weights: digests of the backbone weights that trials may ask for, by their source and seed.
    """

    root: Path
    pool: pd.DataFrame
    class_names: tuple[str, str]
    cache: Path
    cache_budget_bytes: int | None
    threads: int
    expected: tuple[TrialConfig, ...] = ()
    weights: Mapping[tuple[str, int], str] = dataclasses.field(default_factory=dict)

    def open(self, tell: Callable[[str], None] = lambda text: None) -> TrialData:
        """Returns the study's images as trials see them.

        Args:
            tell: takes sentences about what takes long.
        """
        from tuning.trial_data import TrialData

        cache = ActivationStore(self.cache, tell, self.cache_budget_bytes)
        return TrialData(self.root, self.pool, self.class_names, cache)


def run_attempt(
    job: Job,
    data: TrialData,
    report: Report,
    stopping: Callable[[], bool] = lambda: False,
    saved: Callable[[Path], None] = lambda path: None,
    clock: Callable[[], float] = time.monotonic,
) -> TrialResult:
    """Makes an attempt.

    Args:
        job: what is to be tried.
        data: images.
        report: told of every epoch that is trained; after a checkpoint some are told again.
        stopping: asked after every epoch, and between parts of a pass through frozen layers, whether to leave.
        saved: told of every checkpoint that is on disk.
        clock: monotonic, in seconds.

    Raises:
        AttemptLeftError: if it was asked to leave.
        PneumoError: as `execute_trial`.

    Side effects:
        Writes checkpoints of the trial.
    """
    from tuning.trial import execute_trial

    def leave_if_asked() -> None:
        if stopping():
            raise AttemptLeftError

    config, checkpoints = TrialConfig.from_mapping(job.config), Checkpoints(job.checkpoints)
    watch = _Watch(job, report, stopping, saved, clock)
    data.before_part = leave_if_asked
    try:
        state = checkpoints.latest(job.trial, job.attempt, config, job.folds)
        state = state or checkpoints.latest(job.parent, None, config, job.folds)
        if job.keep_state and state is not None and state.control.finished:
            watch.save(state)  # the parent stopped early: there is no epoch after which the state would be kept
        result = execute_trial(config, data, job.folds, watch, state)
    finally:
        data.before_part = lambda: None
    return dataclasses.replace(result, pruned=watch.hopeless)


class _Watch:
    """What happens after each epoch: report, prune, leave, save."""

    def __init__(
        self,
        job: Job,
        report: Report,
        stopping: Callable[[], bool],
        saved: Callable[[Path], None],
        clock: Callable[[], float],
    ) -> None:
        self._job, self._report, self._stopping, self._saved, self._clock = job, report, stopping, saved, clock
        self._saved_at, self._pause_s = clock(), CHECKPOINT_INTERVAL_S
        self.hopeless = False

    def __call__(self, training: Training) -> bool:
        control = training.control
        self._report(control.epoch - 1, training.history[-1])
        losses = [metrics["val_loss"] for metrics in training.history]
        self.hopeless = not control.finished and is_hopeless(losses, self._job.prune_above)
        if self.hopeless or (control.finished and not self._job.keep_state):
            return True
        leave = self._stopping() and not control.finished
        if leave or control.finished or self._clock() - self._saved_at >= self._pause_s:
            self.save(training.state)
        if leave:
            raise AttemptLeftError
        return False

    def save(self, state: TrainingState) -> None:
        """Writes a checkpoint."""
        from pneumo_core.checkpoint import write_checkpoint

        checkpoints, trial, attempt = Checkpoints(self._job.checkpoints), self._job.trial, self._job.attempt
        path, begun = checkpoints.path(trial, attempt), time.monotonic()
        try:
            write_checkpoint(state, path)
            checkpoints.discard_older(trial, attempt)
        except OSError as error:
            raise StoreError(f"checkpoint {path}: cannot be written ({error.strerror or error}).") from error
        # Folds of large heads take hundreds of MB: no more than a tenth of the time goes into writing them.
        self._pause_s = max(CHECKPOINT_INTERVAL_S, _WRITING_SHARE * (time.monotonic() - begun))
        self._saved_at = self._clock()
        self._saved(path)
