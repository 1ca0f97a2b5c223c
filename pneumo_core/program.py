"""Compiled training programs. A program is traced once and then run by every trial of the same shapes.

Whatever differs between such trials (rates, dropout, decay, smoothing, weights of classes, seeds, batch size) is an
input of the compiled step. Many steps run in one call, on a block of rows: Python is not asked for every batch.
"""

from __future__ import annotations

import functools
import gc
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pneumo_core.backbone import BackboneWeights
from pneumo_core.config import TrialConfig
from pneumo_core.errors import WeightsError
from pneumo_core.model import (
    build_trainee,
    channel_moments,
    initialize,
    restore_weights,
    scaled_features,
    trained_variables,
    trained_weights,
)
from pneumo_core.optimizers import FusedOptimizer

_SHAPING = (
    "backbone",
    "pooling",
    "feature_scaling",
    "head_units",
    "second_head_units",
    "batch_normalization",
    "unfrozen_layers",
    "optimizer",
    "precision",
)
_PREDICTED_AT_ONCE = 256


class SteeredDropout(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type information
    """Dropout whose rate and random key are variables, so that another trial does not need another graph.

    Attributes:
        rate: () float32.
        key: (2,) int32; equal keys drop equal units.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.rate = tf.Variable(0.0, trainable=False)
        self.key = tf.Variable(tf.zeros(2, tf.int32), trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As `keras.layers.Dropout`."""
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, self.key) if training else inputs


class TrainingProgram:
    """A trainee with its optimizers, compiled, to be used by one trial after another.

    The head and the unfrozen convolutions have an optimizer each, because they learn at different rates.

    Args:
        config: of a trial; what does not shape the graph may differ in those to come.
        weights: of the backbone.
        activation_shape: of one image's prefix activations.
        dtype: of the activations as they come, float16 or float32; computed is in float32.

    Attributes:
        trainee: suffix and head, mapping activations to logits.
        dropout_layers: how many dropout layers there are.
    """

    def __init__(
        self, config: TrialConfig, weights: BackboneWeights, activation_shape: tuple[int, ...], dtype: Any
    ) -> None:
        self.trainee = build_trainee(config, weights, activation_shape, lambda name, rate: SteeredDropout(name))
        self._dropouts = [layer for layer in self.trainee.layers if isinstance(layer, SteeredDropout)]
        self.dropout_layers = len(self._dropouts)
        suffix = {id(v) for layer in self.trainee.layers if layer.name.startswith("block") for v in layer.weights}
        decays = config.weight_decay > 0
        trained = self.trainee.trainable_variables
        self._head, self._suffix = (
            FusedOptimizer(config.optimizer, [v for v in trained if (id(v) in suffix) == own], decays=decays)
            for own in (False, True)
        )
        self._rates = {name: tf.Variable(0.0, trainable=False) for name in ("head", "suffix", "decay", "smoothing")}
        self._compile(activation_shape, dtype)

    @property
    def bytes(self) -> int:
        """Memory that weights and optimizers take."""
        variables = [*self.trainee.weights, *self._head.state, *self._suffix.state]
        return sum(4 * int(np.prod(variable.shape)) for variable in variables)

    def begin(self, config: TrialConfig, weights: BackboneWeights) -> None:
        """Makes everything ready for a trial, as if the program had just been built for it.

        Side effects:
            Sets weights, optimizers and rates.
        """
        initialize(self.trainee, config, weights)
        self._head.reset()
        self._suffix.reset()
        for layer, rate in zip(self._dropouts, (config.dropout, config.second_dropout), strict=False):
            layer.rate.assign(rate)
        self._rates["decay"].assign(config.weight_decay)
        self._rates["smoothing"].assign(config.label_smoothing)
        self.set_learning_rate(config.learning_rate, config.backbone_lr_fraction)

    def set_learning_rate(self, head: float, backbone_fraction: float) -> None:
        """Sets the rates of head and backbone for the steps to come."""
        self._rates["head"].assign(head)
        self._rates["suffix"].assign(head * backbone_fraction)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """A copy of all that training changes, by name: weights and what the optimizers remember."""
        optimizers = {name: variable.numpy() for name, variable in self._memories()}
        return trained_weights(self.trainee) | optimizers

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes back to a state of a program for the same configuration.

        Raises:
            WeightsError: if it is that of another one.

        Side effects:
            Sets weights and optimizers.
        """
        shapes = {name: tuple(array.shape) for name, array in state.items()}
        if shapes != self._shapes():
            raise WeightsError("training state: does not fit its configuration.")
        restore_weights(self.trainee, state)
        for name, variable in self._memories():
            variable.assign(state[name])

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        weights = {name: tuple(variable.shape) for name, variable in trained_variables(self.trainee)}
        return weights | {name: tuple(variable.shape) for name, variable in self._memories()}

    def _memories(self) -> Iterator[tuple[str, tf.Variable]]:
        for group, optimizer in (("head", self._head), ("suffix", self._suffix)):
            for number, variable in enumerate(optimizer.state):
                yield f"{group} optimizer/{number}", variable

    def run(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        dropout_keys: np.ndarray,
        batch_size: int,
        *,
        frozen_backbone: bool = False,
    ) -> tuple[float, int]:
        """Trains on a block of rows, batch after batch, in their order.

        Args:
            inputs: (R, *activation_shape).
            labels: (R,) 0 or 1.
            weights: (R,) of the loss of each row.
            dropout_keys: (batches, `dropout_layers`, 2) int32; as many batches are run.
            batch_size: rows in a batch; the last may be smaller.
            frozen_backbone: train the head alone (warm-up).

        Returns:
            The sum over rows of the training loss (nats, in training mode, weighted), NaN if a weight is no longer a
            finite number; and the number of rows that were called right at the moment they were trained on.
        """
        steps = self._head_steps if frozen_backbone else self._steps
        loss, correct = steps(inputs, labels.astype(np.float32), weights.astype(np.float32), dropout_keys, batch_size)
        return float(loss), int(correct)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the logits (n,) float64 of activations (n, *activation_shape), in inference mode."""
        parts = [inputs[start : start + _PREDICTED_AT_ONCE] for start in range(0, len(inputs), _PREDICTED_AT_ONCE)]
        return np.concatenate([self._logits(part).numpy() for part in parts]).astype(np.float64)

    def feature_moments(self, activations: Any) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `standardize_features` needs, at the present weights of the suffix; see `channel_moments`."""
        features = scaled_features(self.trainee)
        if features is self.trainee.input:
            return channel_moments(lambda batch: batch, activations)
        model = keras.Model(self.trainee.input, features)
        forward = tf.function(lambda batch: model(tf.cast(batch, tf.float32), training=False), reduce_retracing=True)
        return channel_moments(forward, activations)

    def _compile(self, activation_shape: tuple[int, ...], dtype: Any) -> None:
        rows = tf.TensorSpec((None, *activation_shape), dtype)
        column = tf.TensorSpec((None,), tf.float32)
        keys = tf.TensorSpec((None, self.dropout_layers, 2), tf.int32)
        signature = [rows, column, column, keys, tf.TensorSpec((), tf.int32)]
        self._steps = tf.function(functools.partial(self._run, False), input_signature=signature)
        self._head_steps = tf.function(functools.partial(self._run, True), input_signature=signature)
        self._logits = tf.function(
            lambda inputs: self.trainee(tf.cast(inputs, tf.float32), training=False)[:, 0], input_signature=[rows]
        )

    def _run(self, head_only: bool, inputs: Any, labels: Any, weights: Any, keys: Any, batch_size: Any) -> Any:
        loss, correct = tf.constant(0.0, tf.float64), tf.constant(0, tf.int32)
        for step in tf.range(tf.shape(keys)[0]):
            start = step * batch_size
            stop = start + batch_size
            for number, layer in enumerate(self._dropouts):
                layer.key.assign(keys[step, number])
            mean_loss, logits = self._step(head_only, inputs[start:stop], labels[start:stop], weights[start:stop])
            loss += tf.cast(mean_loss, tf.float64) * tf.cast(tf.size(logits), tf.float64)
            right = tf.equal(logits > 0, labels[start:stop] > 0)
            correct += tf.reduce_sum(tf.cast(right, tf.int32))
        # A fused ReLU turns NaN into 0, so that a training that broke down would go on with a harmless loss.
        finite = [tf.reduce_all(tf.math.is_finite(variable.value)) for variable in self.trainee.trainable_variables]
        return tf.where(tf.reduce_all(finite), loss, tf.constant(float("nan"), tf.float64)), correct

    def _step(self, head_only: bool, inputs: Any, labels: Any, weights: Any) -> Any:
        """One gradient step; returns the mean loss () and the logits (n,) before the update."""
        smoothing = self._rates["smoothing"]
        targets = labels * (1 - smoothing) + smoothing / 2
        optimizers = [(self._head, "head"), *([] if head_only else [(self._suffix, "suffix")])]
        variables = [optimizer.variables for optimizer, _ in optimizers]
        with tf.GradientTape() as tape:
            logits = self.trainee(tf.cast(inputs, tf.float32), training=True)[:, 0]
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
            loss = tf.reduce_mean(weights * losses)
        gradients = tape.gradient(loss, [[variable.value for variable in group] for group in variables])
        for (optimizer, name), own in zip(optimizers, gradients, strict=True):
            optimizer.apply(own, self._rates[name], self._rates["decay"])
        return loss, logits


def program_key(config: TrialConfig, activation_shape: tuple[int, ...], dtype: Any) -> tuple[Any, ...]:
    """Returns what a program is compiled for: equal for configurations that can share one."""
    settings = config.to_mapping()
    shaping = tuple(settings[name] for name in _SHAPING)
    return (*shaping, config.weight_decay > 0, activation_shape, np.dtype(dtype).name)


class ProgramShelf:
    """Programs of past trials, for those to come; the least recently used are given up first.

    Args:
        limit_bytes: of weights and optimizers that are kept, the newest aside.
        limit: of programs that are kept; each has a graph, whose memory is not counted.
    """

    def __init__(self, limit_bytes: int = 500_000_000, limit: int = 24) -> None:
        self._limit_bytes, self._limit = limit_bytes, limit
        self._programs: OrderedDict[tuple[Any, ...], TrainingProgram] = OrderedDict()

    def __len__(self) -> int:
        return len(self._programs)

    def program(
        self, config: TrialConfig, weights: BackboneWeights, activation_shape: tuple[int, ...], dtype: Any
    ) -> TrainingProgram:
        """Returns a program for the configuration, begun; built only if none of its shapes is on the shelf."""
        key = program_key(config, activation_shape, dtype)
        if key not in self._programs:
            self._programs[key] = TrainingProgram(config, weights, activation_shape, dtype)
        self._programs.move_to_end(key)
        self._make_room()
        program = self._programs[key]
        program.begin(config, weights)
        return program

    def _make_room(self) -> None:
        while len(self._programs) > 1 and (
            len(self._programs) > self._limit
            or sum(program.bytes for program in self._programs.values()) > self._limit_bytes
        ):
            self._programs.popitem(last=False)
            gc.collect()  # models and compiled functions refer to themselves
