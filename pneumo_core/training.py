"""Training of suffix and head: one epoch after another until the schedule says stop, best epoch restored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from pneumo_core.config import TrialConfig
from pneumo_core.errors import DivergedError
from pneumo_core.feeds import Feed
from pneumo_core.model import restore_weights, trained_weights
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
class TrainingOutcome:
    """What a training leaves behind, next to the weights in the model.

    Attributes:
        history: metrics of each epoch that was run.
        best_epoch: index into `history` of the epoch whose weights were restored.
        validation_probabilities: (N,) of the validation examples at that epoch, in their order.
    """

    history: tuple[EpochMetrics, ...]
    best_epoch: int
    validation_probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on as if it had never been left.

    Attributes:
        control: schedule and early stopping.
        history: metrics of each epoch so far.
        program: weights and optimizers, see `TrainingProgram.state`.
        best_weights: of the best epoch so far, see `trained_weights`.
        best_logits: (N,) of the validation examples at that epoch.
    """

    control: TrainingControl
    history: list[EpochMetrics]
    program: dict[str, np.ndarray]
    best_weights: dict[str, np.ndarray]
    best_logits: np.ndarray


class Training:
    """A training of a program's trainee, that can be left after any epoch and taken up again.

    The quantity monitored, by early stopping, plateau schedule and choice of the best epoch alike, is the validation
    loss: binary cross-entropy without class weights and without label smoothing, so that it means the same in every
    trial. All scores of a trial are those of its best epoch, the one with the lowest validation loss (the earliest
    of equals).

    Args:
        config: the trial's configuration.
        program: begun for this configuration.
        training: what is learned from.
        validation: what decides; never distorted.
        state: where an earlier training was left; its configuration may have had another `stop_after`, nothing else.

    Attributes:
        control: schedule and early stopping.
        history: metrics of each epoch so far, earlier ones included.
    """

    def __init__(
        self,
        config: TrialConfig,
        program: TrainingProgram,
        training: Examples,
        validation: Examples,
        state: TrainingState | None = None,
    ) -> None:
        self._config, self._program, self._training, self._validation = config, program, training, validation
        self._weights = class_weights(config.class_weighting, training.labels)[training.labels]
        self.history: list[EpochMetrics] = []
        if state is None:
            self.control = TrainingControl(config)
            self._best_weights, self._best_logits = trained_weights(program.trainee), np.zeros(len(validation.labels))
        else:
            self.control = state.control.copy(config)
            self.history += state.history
            self._best_weights, self._best_logits = state.best_weights, state.best_logits
            program.restore(state.program)

    @property
    def state(self) -> TrainingState:
        """All that is needed to go on from here; a copy."""
        control, history = self.control.copy(self._config), list(self.history)
        return TrainingState(control, history, self._program.state, self._best_weights, self._best_logits)

    def run_epoch(self) -> EpochMetrics:
        """Trains and validates for one epoch.

        Raises:
            DivergedError: if a loss is no longer a finite number.

        Side effects:
            Changes the trainee's weights.
        """
        started, epoch = time.monotonic(), self.control.epoch
        metrics = _run_epoch(self._config, self._program, self._training, self._weights, self.control)
        logits = predict_logits(self._program, self._validation.feed)
        metrics |= _validation_metrics(logits, self._validation.labels)
        metrics |= {"learning_rate": self.control.learning_rate, "duration_s": time.monotonic() - started}
        _refuse_divergence(self._config, epoch, metrics)
        if self.control.observe(metrics["val_loss"]):
            self._best_weights, self._best_logits = trained_weights(self._program.trainee), logits
        self.history.append(metrics)
        return metrics

    def outcome(self) -> TrainingOutcome:
        """Returns what the training came to.

        Side effects:
            Leaves the trainee with the weights of the best epoch: no epoch can follow.
        """
        restore_weights(self._program.trainee, self._best_weights)
        return TrainingOutcome(tuple(self.history), self.control.best_epoch, sigmoid(self._best_logits))


Watch = Callable[[Training], bool]
"""Is shown a training after each epoch, and says whether it shall end there."""


def train(training: Training, watch: Watch = lambda training: False) -> TrainingOutcome:
    """Runs a training until its schedule, or whoever watches it, says stop.

    Raises:
        DivergedError: if a loss is no longer a finite number.

    Side effects:
        Leaves the trainee with the weights of the best epoch.
    """
    while not training.control.finished:
        training.run_epoch()
        if watch(training):
            break
    return training.outcome()


def class_weights(weighting: str, labels: np.ndarray) -> np.ndarray:
    """Returns the loss weight of each class, (2,): 1 and 1; n / (2 n_class) for `balanced`; its root for `sqrt`.

    Source of `balanced`: King & Zeng 2001, as in `sklearn.utils.class_weight.compute_class_weight`.
    """
    balanced = len(labels) / (2 * np.maximum(np.bincount(labels, minlength=2), 1))
    return {"none": np.ones(2), "balanced": balanced, "sqrt": np.sqrt(balanced)}[weighting].astype(np.float32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities (N,) of logits (N,), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))


def _run_epoch(
    config: TrialConfig, program: TrainingProgram, training: Examples, weights: np.ndarray, control: TrainingControl
) -> EpochMetrics:
    epoch = control.epoch
    program.set_learning_rate(control.learning_rate, config.backbone_lr_fraction)
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
        if not np.isfinite(metrics[name]):
            raise DivergedError(
                f"{name} became {metrics[name]} in epoch {epoch + 1}; the likely cause is a learning rate too high "
                f"for {config.optimizer} ({metrics['learning_rate']:g}"
                + (" on unscaled features)" if config.feature_scaling == "none" else ")")
            )
