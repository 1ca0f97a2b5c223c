"""Training of suffix and head: one epoch after another until the schedule says stop, best epoch restored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from pneumo_core.augmentation import DISTORTIONS, distort, draw_transforms
from pneumo_core.config import TrialConfig
from pneumo_core.errors import DivergedError
from pneumo_core.model import restore_weights, trained_weights
from pneumo_core.schedule import TrainingControl
from pneumo_core.seeds import derive, generator

EpochMetrics = dict[str, float]
"""`loss` and `accuracy` (training mode, so with dropout and weights), `val_loss` (plain cross-entropy, in nats),
`val_accuracy`, `val_roc_auc`, `learning_rate`, `duration_s`."""


class Rows(Protocol):
    """What training needs of its inputs: a shape, a length, and rows by slice or by index array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together."""

    def __len__(self) -> int: ...

    def __getitem__(self, selection: Any) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Examples:
    """Model inputs with their labels.

    Attributes:
        inputs: (N, ...) prefix activations, or gray pixels (N, H, W, 1) where `prefix` is given. Anything that slices
            and indexes as an array does, so that activations may stay on disk.
        labels: (N,) 0 or 1.
        prefix: where given, inputs are distorted and sent through it in every step (live augmentation).
    """

    inputs: Rows
    labels: np.ndarray
    prefix: Callable[[Any], Any] | None = None


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


def train(
    config: TrialConfig,
    trainee: keras.Model,
    training: Examples,
    validation: Examples,
    on_epoch: Callable[[int, EpochMetrics], None] = lambda epoch, metrics: None,
) -> TrainingOutcome:
    """Trains the trainee and leaves it with the weights of its best epoch.

    The quantity monitored, by early stopping, plateau schedule and choice of the best epoch alike, is the validation
    loss: binary cross-entropy without class weights and without label smoothing, so that it means the same in every
    trial. All scores of a trial are those of its best epoch, the one with the lowest validation loss (the earliest
    of equals).

    Args:
        config: the trial's configuration.
        trainee: suffix and head, mapping inputs to logits.
        training: what is learned from.
        validation: what decides; inputs are always activations, never distorted.
        on_epoch: called after every epoch with its number (from 0) and metrics.

    Raises:
        DivergedError: if a loss is no longer a finite number.

    Side effects:
        Changes the trainee's weights.
    """
    control = TrainingControl(config)
    step = TrainingStep(config, trainee)
    weights = class_weights(config.class_weighting, training.labels)[training.labels]
    history: list[EpochMetrics] = []
    best_weights, best_logits = trained_weights(trainee), np.zeros(len(validation.labels))
    while not control.finished:
        started, epoch = time.monotonic(), control.epoch
        metrics = _run_epoch(config, step, training, weights, control)
        logits = predict_logits(trainee, validation.inputs)
        metrics |= _validation_metrics(logits, validation.labels)
        metrics |= {"learning_rate": control.learning_rate, "duration_s": time.monotonic() - started}
        _refuse_divergence(config, epoch, metrics)
        if control.observe(metrics["val_loss"]):
            best_weights, best_logits = trained_weights(trainee), logits
        history.append(metrics)
        on_epoch(epoch, metrics)
    restore_weights(trainee, best_weights)
    return TrainingOutcome(tuple(history), control.best_epoch, sigmoid(best_logits))


def class_weights(weighting: str, labels: np.ndarray) -> np.ndarray:
    """Returns the loss weight of each class, (2,): 1 and 1; n / (2 n_class) for `balanced`; its root for `sqrt`.

    Source of `balanced`: King & Zeng 2001, as in `sklearn.utils.class_weight.compute_class_weight`.
    """
    balanced = len(labels) / (2 * np.maximum(np.bincount(labels, minlength=2), 1))
    return {"none": np.ones(2), "balanced": balanced, "sqrt": np.sqrt(balanced)}[weighting].astype(np.float32)


def predict_logits(trainee: keras.Model, inputs: Rows) -> np.ndarray:
    """Returns the logits (N,) of prefix activations (N, ...), in inference mode, float64."""
    batches = [inputs[start : start + 256] for start in range(0, len(inputs), 256)]
    logits = [np.asarray(trainee(batch, training=False))[:, 0] for batch in batches]
    return np.concatenate(logits).astype(np.float64)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities (N,) of logits (N,), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))


class TrainingStep:
    """One gradient step as a compiled function, with its optimizers.

    The head and the unfrozen convolutions have an optimizer each, because they learn at different rates.
    """

    def __init__(self, config: TrialConfig, trainee: keras.Model) -> None:
        import tensorflow as tf

        self.config, self.trainee = config, trainee
        self.dropouts = [layer for layer in trainee.layers if isinstance(layer, keras.layers.Dropout) and layer.rate]
        self.head, self.suffix = _optimizer(config), _optimizer(config)
        is_suffix = {id(v) for layer in trainee.layers if layer.name.startswith("block") for v in layer.weights}
        self._head_variables = [v for v in trainee.trainable_variables if id(v) not in is_suffix]
        self._suffix_variables = [v for v in trainee.trainable_variables if id(v) in is_suffix]
        for optimizer, variables in ((self.head, self._head_variables), (self.suffix, self._suffix_variables)):
            optimizer.build(variables)
            # Summing gradients over replicas, of which there is one, is a custom gradient to TensorFlow, whose global
            # registry would keep this graph, with all weights in it, for as long as the process lives.
            optimizer._all_reduce_sum_gradients = list
        self._compiled = tf.function(self._step, reduce_retracing=True)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Sets the rates of head and backbone for the steps to come."""
        self.head.learning_rate.assign(learning_rate)
        self.suffix.learning_rate.assign(learning_rate * self.config.backbone_lr_fraction)

    def __call__(self, inputs: Any, labels: np.ndarray, weights: np.ndarray, epoch: int, step: int) -> Any:
        """Runs one step on a batch and returns its mean loss () and its logits (N,) before the update."""
        for index, layer in enumerate(self.dropouts):
            key = derive(self.config.seed, f"dropout/{index}", epoch, step)
            layer.seed_generator.state.assign([key, 0])
        return self._compiled(inputs, labels.astype(np.float32), weights)

    def _step(self, inputs: Any, labels: Any, weights: Any) -> Any:
        import tensorflow as tf

        smoothing = self.config.label_smoothing
        targets = labels * (1 - smoothing) + smoothing / 2
        with tf.GradientTape() as tape:
            logits = self.trainee(inputs, training=True)[:, 0]
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
            loss = tf.reduce_mean(weights * losses)
        variables = self._head_variables + self._suffix_variables
        gradients = tape.gradient(loss, variables)
        self.head.apply(gradients[: len(self._head_variables)], self._head_variables)
        if self._suffix_variables:
            self.suffix.apply(gradients[len(self._head_variables) :], self._suffix_variables)
        return loss, logits


def _run_epoch(
    config: TrialConfig, step: TrainingStep, training: Examples, weights: np.ndarray, control: TrainingControl
) -> EpochMetrics:
    step.set_learning_rate(control.learning_rate)
    order = generator(config.seed, "shuffle", control.epoch).permutation(len(training.labels))
    losses, correct = 0.0, 0
    for number, start in enumerate(range(0, len(order), config.batch_size)):
        rows = order[start : start + config.batch_size]
        inputs = _batch(config, training, rows, control.epoch, number)
        loss, logits = step(inputs, training.labels[rows], weights[rows], control.epoch, number)
        losses += float(loss) * len(rows)
        correct += int(((np.asarray(logits) > 0) == training.labels[rows]).sum())
    return {"loss": losses / len(order), "accuracy": correct / len(order)}


def _batch(config: TrialConfig, examples: Examples, rows: np.ndarray, epoch: int, step: int) -> Any:
    if examples.prefix is None:
        return examples.inputs[rows]
    rng = generator(config.seed, "augmentation", epoch, step)
    transforms = draw_transforms(DISTORTIONS[config.augmentation], len(rows), config.image_size, rng)
    pixels = distort(examples.inputs[rows].astype(np.float32), transforms)
    return examples.prefix(pixels)


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


def _optimizer(config: TrialConfig) -> Any:
    decay = config.weight_decay or None
    optimizers = {
        "adam": lambda: keras.optimizers.Adam(config.learning_rate, weight_decay=decay),
        "rmsprop": lambda: keras.optimizers.RMSprop(config.learning_rate, weight_decay=decay),
        "sgd": lambda: keras.optimizers.SGD(config.learning_rate, momentum=0.9, weight_decay=decay),
    }
    optimizer = optimizers[config.optimizer]()
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
