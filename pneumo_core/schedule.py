"""What follows from an epoch's validation loss: the next learning rate, the best epoch, the end of training.

Decisions are kept apart from the work they are about, so that they can be saved, resumed, and taken for several
models at once.
"""

from __future__ import annotations

import copy
import dataclasses
import math

from pneumo_core.config import TrialConfig

_PLATEAU_FACTOR = 0.2
_PLATEAU_PATIENCE = 3
_PLATEAU_MIN_DELTA = 1e-4  # the default of keras.callbacks.ReduceLROnPlateau
_MIN_LEARNING_RATE = 1e-7  # as in the notebook


@dataclasses.dataclass
class TrainingControl:
    """The state of schedule and early stopping: plain numbers, updated once an epoch by `observe`.

    Attributes:
        epoch: epochs observed so far.
        learning_rate: for the head in the coming epoch.
        best_epoch: epoch (counted from 0) with the lowest validation loss so far; -1 before the first.
        best_loss: its validation loss.
        stopped_early: whether `patience` epochs went by without a lower validation loss.
    """

    config: TrialConfig
    epoch: int = 0
    learning_rate: float = dataclasses.field(init=False)
    best_epoch: int = -1
    best_loss: float = math.inf
    stopped_early: bool = False
    _plateau_best: float = math.inf
    _plateau_wait: int = 0

    def __post_init__(self) -> None:
        self.learning_rate = self.config.learning_rate

    def copy(self, config: TrialConfig) -> TrainingControl:
        """Returns the same state under a configuration that differs in nothing but `stop_after`."""
        twin = copy.copy(self)
        twin.config = config
        return twin

    @property
    def finished(self) -> bool:
        """Whether no further epoch is to be run."""
        return self.stopped_early or self.epoch >= self.config.epochs_to_run

    def observe(self, val_loss: float) -> bool:
        """Takes in the validation loss of the epoch just run.

        Returns:
            Whether this epoch is the best so far.
        """
        improved = val_loss < self.best_loss
        if improved:
            self.best_epoch, self.best_loss = self.epoch, val_loss
        patience = self.config.patience
        self.stopped_early = bool(patience) and self.epoch - self.best_epoch >= patience
        self.epoch += 1
        self._schedule(val_loss)
        return improved

    def _schedule(self, val_loss: float) -> None:
        if self.config.learning_rate_schedule == "cosine":
            progress = self.epoch / self.config.epochs
            self.learning_rate = self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        elif self.config.learning_rate_schedule == "plateau":
            self._reduce_on_plateau(val_loss)

    def _reduce_on_plateau(self, val_loss: float) -> None:
        """As `keras.callbacks.ReduceLROnPlateau`; a test compares the two."""
        if val_loss < self._plateau_best - _PLATEAU_MIN_DELTA:
            self._plateau_best, self._plateau_wait = val_loss, 0
            return
        self._plateau_wait += 1
        if self._plateau_wait >= _PLATEAU_PATIENCE:
            self.learning_rate = max(self.learning_rate * _PLATEAU_FACTOR, min(_MIN_LEARNING_RATE, self.learning_rate))
            self._plateau_wait = 0
