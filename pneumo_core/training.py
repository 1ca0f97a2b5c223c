"""Training of suffix and head: one epoch after another until the schedule says stop, all folds in lock-step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from pneumo_core.config import TrialConfig
from pneumo_core.errors import DivergedError
from pneumo_core.feeds import Feed
from pneumo_core.model import restore_weights, standardize_features, trained_weights
from pneumo_core.program import TrainingProgram
from pneumo_core.schedule import TrainingControl
from pneumo_core.seeds import derive, generator

_BLOCK_BYTES = 64_000_000  # of inputs that are read and trained on in one go, or one batch if that is larger
_UNFROZEN_BATCHES = 4  # trained on in one go: each may take seconds, and Ctrl-C is heard in between

EpochMetrics = dict[str, float]
"""`loss` and `accuracy` (training mode, so with dropout and weights), `val_loss` (plain cross-entropy, in nats),
`val_accuracy`, `val_roc_auc`, `learning_rate`, `duration_s`."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """Inputs with their labels.

    Attributes:
        feed: gives the inputs of each epoch.
        labels: (N,) 0 or 1.
    """

    feed: Feed
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fold:
    """Who learns and who decides, in one fold.

    Attributes:
        training: what is learned from.
        validation: what decides; never distorted.
        moments: mean and variance (C,) of the features over the training images, for `standardize_features`; None
            without feature scaling.
    """

    training: Examples
    validation: Examples
    moments: tuple[np.ndarray, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class TrainingOutcome:
    """What a training leaves behind.

    Attributes:
        history: metrics of each epoch that was run; the mean over the folds.
        best_epoch: index into `history` of the epoch that counts.
        validation_logits: for each fold (N,) of its validation examples at that epoch, in their order, float64.
    """

    history: tuple[EpochMetrics, ...]
    best_epoch: int
    validation_logits: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class FoldState:
    """Where a fold's own training stands.

    Attributes:
        program: weights and optimizers, see `TrainingProgram.state`.
        best_logits: (N,) of the validation examples at the best epoch so far.
        best_weights: of that epoch, see `trained_weights`; empty where there are several folds, because no fold's model
            is kept.
    """

    program: dict[str, np.ndarray]
    best_logits: np.ndarray
    best_weights: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on as if it had never been left.

    Attributes:
        control: schedule and early stopping.
        history: metrics of each epoch so far.
        folds: where each fold's training stands.
    """

    control: TrainingControl
    history: list[EpochMetrics]
    folds: tuple[FoldState, ...]


class Training:
    """A training of a program's trainee, that can be left after any epoch and taken up again.

    With several folds as many models are trained, in lock-step: all run an epoch, and what follows from it (learning
    rate, end, best epoch) follows from the mean over the folds, for all alike.

    The quantity monitored, by early stopping, plateau schedule and choice of the best epoch alike, is the validation
    loss: binary cross-entropy without class weights and without label smoothing, so that it means the same in every
    trial. All scores of a trial are those of its best epoch, the one with the lowest validation loss (the earliest
    of equals).

    Args:
        config: the trial's configuration.
        program: begun for this configuration.
        folds: at least one.
        state: where an earlier training was left; its configuration may have had another `stop_after`, nothing else.

    Attributes:
        control: schedule and early stopping.
        history: metrics of each epoch so far, earlier ones included.
    """

    def __init__(
        self,
        config: TrialConfig,
        program: TrainingProgram,
        folds: Sequence[Fold],
        state: TrainingState | None = None,
    ) -> None:
        self._config, self._program, self._folds = config, program, folds
        self._weights = [example_weights(config, fold.training.labels) for fold in folds]
        self.history: list[EpochMetrics] = []
        if state is None:
            self.control = TrainingControl(config)
            self._turns = _Turns(program, folds)
            self._best_logits = [np.zeros(len(fold.validation.labels)) for fold in folds]
            self._best_weights = trained_weights(program.trainee) if len(folds) == 1 else {}
        else:
            self.control = state.control.copy(config)
            self.history += state.history
            self._turns = _Turns(program, folds, [fold.program for fold in state.folds])
            self._best_logits = [fold.best_logits for fold in state.folds]
            self._best_weights = state.folds[0].best_weights

    @property
    def state(self) -> TrainingState:
        """All that is needed to go on from here; a copy."""
        folds = (
            FoldState(program, logits, self._best_weights)
            for program, logits in zip(self._turns.states(), self._best_logits, strict=True)
        )
        return TrainingState(self.control.copy(self._config), list(self.history), tuple(folds))

    def run_epoch(self) -> EpochMetrics:
        """Trains and validates for one epoch, all folds.

        Returns:
            The mean over the folds.

        Raises:
            DivergedError: if a loss is no longer a finite number.

        Side effects:
            Changes the trainee's weights.
        """
        started, epoch = time.monotonic(), self.control.epoch
        each, logits = zip(*(self._run_fold(number) for number in range(len(self._folds))), strict=True)
        metrics = {name: float(np.mean([of_fold[name] for of_fold in each])) for name in each[0]}
        metrics |= {"learning_rate": self.control.learning_rate, "duration_s": time.monotonic() - started}
        _refuse_divergence(self._config, epoch, metrics)
        if self.control.observe(metrics["val_loss"]):
            self._best_logits = list(logits)
            if len(self._folds) == 1:
                self._best_weights = trained_weights(self._program.trainee)
        self.history.append(metrics)
        return metrics

    def outcome(self) -> TrainingOutcome:
        """Returns what the training came to.

        Side effects:
            Leaves the trainee with the weights of the best epoch, if there is one fold: no epoch can follow. Of several
            folds' models none is the one to keep.
        """
        if len(self._folds) == 1:
            restore_weights(self._program.trainee, self._best_weights)
        return TrainingOutcome(tuple(self.history), self.control.best_epoch, tuple(self._best_logits))

    def _run_fold(self, number: int) -> tuple[EpochMetrics, np.ndarray]:
        """One fold's metrics of the epoch, and the logits of its validation examples."""
        fold, control = self._folds[number], self.control
        self._turns.take(number)
        metrics = _run_epoch(
            self._config, self._program, fold.training, self._weights[number], control.epoch, control.learning_rate
        )
        logits = predict_logits(self._program, fold.validation.feed)
        return metrics | _validation_metrics(logits, fold.validation.labels), logits


class _Turns:
    """Whose weights and optimizers the one program holds; those of the other folds are put aside meanwhile."""

    def __init__(
        self, program: TrainingProgram, folds: Sequence[Fold], states: Sequence[dict[str, np.ndarray]] | None = None
    ) -> None:
        self._program = program
        self._aside = list(states or self._fresh(program, folds))
        self._turn = 0
        if states or len(folds) > 1:
            program.restore(self._aside[0])

    @staticmethod
    def _fresh(program: TrainingProgram, folds: Sequence[Fold]) -> Iterator[dict[str, np.ndarray]]:
        """The folds' states before the first epoch; with a single one it is in the program already."""
        for fold in folds:
            if fold.moments is not None:
                standardize_features(program.trainee, fold.moments)
            yield program.state if len(folds) > 1 else {}

    def take(self, number: int) -> None:
        """Brings a fold into the program."""
        if number != self._turn:
            self._aside[self._turn] = self._program.state
            self._program.restore(self._aside[number])
            self._aside[number] = {}  # memory for one copy less
            self._turn = number

    def states(self) -> list[dict[str, np.ndarray]]:
        """Returns a copy of each fold's state."""
        states = list(self._aside)
        states[self._turn] = self._program.state
        return states


def refit(
    config: TrialConfig,
    program: TrainingProgram,
    training: Examples,
    learning_rates: Sequence[float],
    watch: Callable[[int, EpochMetrics], None] = lambda epoch, metrics: None,
) -> None:
    """Trains once more, for as many epochs and at the rates that another training came to. Nothing is validated.

    Args:
        config: of that training.
        program: begun for it, features scaled.
        training: what is learned from, usually more than before.
        learning_rates: of each epoch.
        watch: told of each epoch (counted from 0) and its `loss` and `accuracy`.

    Raises:
        DivergedError: if a loss is no longer a finite number.

    Side effects:
        Changes the trainee's weights.
    """
    weights = example_weights(config, training.labels)
    for epoch, learning_rate in enumerate(learning_rates):
        metrics = _run_epoch(config, program, training, weights, epoch, learning_rate)
        _refuse_divergence(config, epoch, metrics | {"learning_rate": learning_rate})
        watch(epoch, metrics)


Watch = Callable[[Training], bool]
"""Is shown a training after each epoch, and says whether it shall end there."""


def train(training: Training, watch: Watch = lambda training: False) -> TrainingOutcome:
    """Runs a training until its schedule, or whoever watches it, says stop.

    Raises:
        DivergedError: if a loss is no longer a finite number.

    Side effects:
        As `Training.outcome`.
    """
    while not training.control.finished:
        training.run_epoch()
        if watch(training):
            break
    return training.outcome()


def example_weights(config: TrialConfig, labels: np.ndarray) -> np.ndarray:
    """Returns the loss weight (N,) of each example, by its class."""
    return np.asarray(class_weights(config.class_weighting, labels)[labels])


def class_weights(weighting: str, labels: np.ndarray) -> np.ndarray:
    """Returns the loss weight of each class, (2,): 1 and 1; n / (2 n_class) for `balanced`; its root for `sqrt`.

    Source of `balanced`: King & Zeng 2001, as in `sklearn.utils.class_weight.compute_class_weight`.
    """
    balanced = len(labels) / (2 * np.maximum(np.bincount(labels, minlength=2), 1))
    return {"none": np.ones(2), "balanced": balanced, "sqrt": np.sqrt(balanced)}[weighting].astype(np.float32)


def _run_epoch(
    config: TrialConfig,
    program: TrainingProgram,
    training: Examples,
    weights: np.ndarray,
    epoch: int,
    learning_rate: float,
) -> EpochMetrics:
    program.set_learning_rate(learning_rate, config.backbone_lr_fraction)
    order = generator(config.seed, "shuffle", epoch).permutation(len(training.labels))
    keys = _dropout_keys(config, program.dropout_layers, epoch, -(-len(order) // config.batch_size))
    losses, correct, batches = 0.0, 0, _batches_at_once(training.feed, config.batch_size)
    if config.unfrozen_layers:
        batches = min(batches, _UNFROZEN_BATCHES)
    for first in range(0, len(keys), batches):
        rows = order[first * config.batch_size : (first + batches) * config.batch_size]
        loss, right = program.run(
            training.feed.read(rows, epoch),
            training.labels[rows],
            weights[rows],
            keys[first : first + batches],
            config.batch_size,
            frozen_backbone=epoch < config.warmup_epochs,
        )
        losses, correct = losses + loss, correct + right
    return {"loss": losses / len(order), "accuracy": correct / len(order)}


def _dropout_keys(config: TrialConfig, layers: int, epoch: int, steps: int) -> np.ndarray:
    """Keys of what each dropout layer drops in each step, (steps, layers, 2) int32."""
    keys = np.zeros((steps, layers, 2), np.int32)
    for step, layer in np.ndindex(steps, layers):
        keys[step, layer, 0] = derive(config.seed, f"dropout/{layer}", epoch, step)
    return keys


def _batches_at_once(feed: Feed, batch_size: int) -> int:
    """How many batches are read in one go: at least one, and no more than memory should hold."""
    row_bytes = int(np.prod(feed.shape)) * np.dtype(feed.dtype).itemsize
    return int(max(1, _BLOCK_BYTES // (row_bytes * batch_size)))


def predict_logits(program: TrainingProgram, feed: Feed) -> np.ndarray:
    """Returns the logits (N,) of all images of a feed, in inference mode, float64."""
    rows, at_once = np.arange(len(feed)), 256 * _batches_at_once(feed, 256)
    blocks = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
    return np.concatenate([program.predict(feed.read(block, 0)) for block in blocks])


def _validation_metrics(logits: np.ndarray, labels: np.ndarray) -> EpochMetrics:
    finite = bool(np.isfinite(logits).all())
    with np.errstate(invalid="ignore"):
        losses = np.logaddexp(0, logits) - labels * logits
    return {
        "val_loss": float(losses.mean()),
        "val_accuracy": float(((logits > 0) == labels).mean()),
        "val_roc_auc": float(roc_auc_score(labels, logits)) if finite else float("nan"),
    }


def _refuse_divergence(config: TrialConfig, epoch: int, metrics: EpochMetrics) -> None:
    for name in ("loss", "val_loss"):
        if not np.isfinite(metrics.get(name, 0.0)):
            raise DivergedError(
                f"{name} became {metrics[name]} in epoch {epoch + 1}; the likely cause is a learning rate too high "
                f"for {config.optimizer} ({metrics['learning_rate']:g}"
                + (" on unscaled features)" if config.feature_scaling == "none" else ")")
            )
