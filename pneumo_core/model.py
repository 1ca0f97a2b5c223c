"""The head, and the trainee: suffix and head together, everything of a model that a trial trains."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pneumo_core.backbone import BackboneWeights, apply_suffix, build_prefix
from pneumo_core.config import TrialConfig
from pneumo_core.errors import WeightsError
from pneumo_core.seeds import derive

PROBABILITY_LAYER = "probability"
"""Name of the sigmoid that ends a classifier; what it is given is the logit."""


def _plain_dropout(name: str, rate: float) -> keras.layers.Layer:
    return keras.layers.Dropout(rate, seed=0, name=name)


def build_trainee(
    config: TrialConfig,
    weights: BackboneWeights,
    activation_shape: tuple[int, ...],
    dropout: Callable[[str, float], keras.layers.Layer] = _plain_dropout,
) -> keras.Model:
    """Returns the model from prefix activations (N, *activation_shape) to logits (N, 1) of the positive class.

    The feature scaling layer, if any, still has to learn its statistics: see `standardize_features`.

    Args:
        config: of the trial.
        weights: of the backbone, those the trial starts from.
        activation_shape: of one image's prefix activations.
        dropout: makes a dropout layer from its name and rate.
    """
    activations = keras.Input(activation_shape, name="activations")
    features = apply_suffix(config, weights, activations)
    return keras.Model(activations, _head(config, features, dropout), name="trainee")


def initialize(trainee: keras.Model, config: TrialConfig, weights: BackboneWeights) -> None:
    """Puts every weight back to where a training of the configuration starts; feature scaling does nothing yet.

    Args:
        trainee: built for this configuration or one of the same shapes.
        config: of the trial, for the seed.
        weights: of the backbone.

    Side effects:
        Sets the weights in place.
    """
    for layer in trainee.layers:
        if layer.name in weights.arrays:
            layer.set_weights(list(weights.arrays[layer.name]))
        elif isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(_initializer(config, layer.name)(layer.kernel.shape))
            layer.bias.assign(np.zeros(layer.bias.shape))
        elif isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                starts_at_one = variable.name in ("gamma", "moving_variance")
                variable.assign(np.full(variable.shape, float(starts_at_one)))


def scaled_features(trainee: keras.Model) -> Any:
    """Returns the symbolic features that the scaling layer of a trainee is given.

    Raises:
        ValueError: if it has no such layer.
    """
    return _scaling_layer(trainee).input


def standardize_features(trainee: keras.Model, moments: tuple[np.ndarray, np.ndarray]) -> None:
    """Gives the feature scaling layer the mean and variance of each channel over the training images.

    With unfrozen convolutions these are the statistics before training; the layer keeps them while its input learns.

    Channels that (nearly) never fire would be blown up by their tiny deviation; they get at least a thousandth of the
    median channel's variance instead.

    Args:
        trainee: with a scaling layer.
        moments: mean and variance (C,) of the features, as `channel_moments` returns them.

    Raises:
        ValueError: if it has no such layer.

    Side effects:
        Sets the layer's statistics in place.
    """
    scaling, (mean, variance) = _scaling_layer(trainee), moments
    positive = variance[variance > 0]
    floor = 1e-3 * float(np.median(positive)) if len(positive) else 1.0
    scaling.moving_mean.assign(mean)
    scaling.moving_variance.assign(np.maximum(variance, floor))


def channel_moments(
    features: Callable[[np.ndarray], Any], activations: Any, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance (C,) float32 of each channel over images and positions.

    Args:
        features: from prefix activations (n, ...) to features (n, ..., C).
        activations: (N, ...) of the training images, not augmented; read and summed up, in float64, batch by batch.
        batch_size: images at a time.
    """
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for start in range(0, len(activations), batch_size):
        batch = np.asarray(features(activations[start : start + batch_size]), dtype=np.float64)
        batch = batch.reshape(-1, batch.shape[-1])
        count, total, squares = count + len(batch), total + batch.sum(0), squares + np.square(batch).sum(0)
    mean = total / count
    return mean.astype(np.float32), np.maximum(squares / count - np.square(mean), 0).astype(np.float32)


def trained_weights(trainee: keras.Model) -> dict[str, np.ndarray]:
    """Returns a copy of all variables that a training may have changed or measured, by path; frozen layers left out."""
    return {path: variable.numpy().copy() for path, variable in trained_variables(trainee)}


def trained_variables(trainee: keras.Model) -> Iterator[tuple[str, Any]]:
    """Yields what `trained_weights` copies, with its path."""
    for layer in trainee.layers:
        if not _is_frozen(layer):
            yield from ((variable.path, variable) for variable in layer.weights)


def write_weights(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes what `trained_weights` returned, as `.npz` without pickles.

    Side effects:
        Writes the file.
    """
    # An .npz is a folder of files, one for each key: slashes would make folders of it when it is unpacked.
    members: dict[str, Any] = {name.replace("/", "."): array for name, array in arrays.items()}
    np.savez(path, **members)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads what `write_weights` wrote.

    Raises:
        WeightsError: if the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name.replace(".", "/"): archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"trained weights {path}: cannot be read ({error}).") from error


def trained_trainee(
    config: TrialConfig, weights: BackboneWeights, activation_shape: tuple[int, ...], arrays: Mapping[str, np.ndarray]
) -> keras.Model:
    """Returns a trainee as a training left it, computing in float32.

    Args:
        config: of the trial.
        weights: of the backbone, those the trial started from.
        activation_shape: of one image's prefix activations.
        arrays: what the trial trained, as from `trained_weights`.

    Raises:
        WeightsError: if the arrays are not those of such a trainee.
    """
    trainee = build_trainee(config.as_served, weights, activation_shape)
    expected = {path: array.shape for path, array in trained_weights(trainee).items()}
    if {path: array.shape for path, array in arrays.items()} != expected:
        raise WeightsError("trained weights: do not fit their configuration; was the file or config.json exchanged?")
    restore_weights(trainee, arrays)
    return trainee


def build_classifier(
    config: TrialConfig, weights: BackboneWeights, arrays: Mapping[str, np.ndarray], temperature: float = 1.0
) -> keras.Model:
    """Stitches prefix, trained suffix and head to the whole model that leaves.

    Args:
        config: of the trial.
        weights: of the backbone, those the trial started from.
        arrays: what the trial trained, as from `trained_weights`.
        temperature: that logits are divided by, see `pneumo_core.calibration`.

    Returns:
        A model of standard layers only, from gray pixels (N, image_size, image_size, 1), 0 to 255, to the probability
        of the positive class (N, 1).

    Raises:
        WeightsError: if the arrays are not those of such a trainee.
    """
    prefix = build_prefix(config.as_served, weights)
    trainee = trained_trainee(config, weights, prefix.output.shape[1:], arrays)
    pixels = keras.Input((config.image_size, config.image_size, 1), name="pixels")
    logit = keras.layers.Rescaling(1 / temperature, name="temperature")(trainee(prefix(pixels)))
    probability = keras.layers.Activation("sigmoid", name=PROBABILITY_LAYER)(logit)
    return keras.Model(pixels, probability, name="classifier")


def classifier_logits(classifier: keras.Model, pixels: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Returns the logits (N,), float64, that the probabilities of a classifier are the sigmoids of.

    In float32 the sigmoid of a logit over 17 is 1, so that the surest images could not be told apart by it.

    Args:
        classifier: as `build_classifier` returns it, or the same loaded from a file.
        pixels: (N, image_size, image_size, 1), 0 to 255, N at least 1.
        batch_size: images at a time.
    """
    below = keras.Model(classifier.input, classifier.get_layer(PROBABILITY_LAYER).input)
    batches = [pixels[start : start + batch_size].astype(np.float32) for start in range(0, len(pixels), batch_size)]
    return np.concatenate([np.asarray(below(batch, training=False))[:, 0] for batch in batches]).astype(np.float64)


def restore_weights(trainee: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Sets variables as returned by `trained_weights`.

    Side effects:
        Changes the model in place.
    """
    for variable in trainee.weights:
        if variable.path in arrays:
            variable.assign(arrays[variable.path])


def _head(config: TrialConfig, features: Any, dropout: Callable[[str, float], keras.layers.Layer]) -> Any:
    if config.feature_scaling == "standardize":
        features = _standardize_layer()(features)
    x = keras.layers.Flatten(name="flatten")(features)
    x = dropout("head_dropout", config.dropout)(_dense_block(config, x, "head", config.head_units))
    if config.second_head_units:
        x = _dense_block(config, x, "second_head", config.second_head_units)
        x = dropout("second_head_dropout", config.second_dropout)(x)
    return keras.layers.Dense(1, kernel_initializer=_initializer(config, "logit"), name="logit")(x)


def _standardize_layer() -> keras.layers.Layer:
    """A frozen BatchNormalization is (x - mean) / sqrt(variance) with statistics that are saved like any weight.

    Keras' own `Normalization` keeps its statistics outside of the weights that a training copies and restores.
    """
    return keras.layers.BatchNormalization(
        center=False, scale=False, epsilon=1e-12, trainable=False, name="standardize"
    )


def _dense_block(config: TrialConfig, x: Any, name: str, units: int) -> Any:
    x = keras.layers.Dense(units, activation="relu", kernel_initializer=_initializer(config, name), name=name)(x)
    return keras.layers.BatchNormalization(name=f"{name}_normalization")(x) if config.batch_normalization else x


def _scaling_layer(trainee: keras.Model) -> Any:
    return trainee.get_layer("standardize")


def _initializer(config: TrialConfig, layer: str) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed=derive(config.seed, f"initialize/{layer}"))


def _is_frozen(layer: keras.layers.Layer) -> bool:
    return layer.name.startswith("block") and not layer.trainable
