"""Where in an image a classifier's score comes from, and which images of a score table to look at.

Grad-CAM: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pneumo_core.ensemble import member_chains
from pneumo_core.errors import ModelError
from pneumo_core.model import PROBABILITY_LAYER
from pneumo_core.seeds import derive

if TYPE_CHECKING:
    import keras

_BATCH_SIZE = 16

Stage = Callable[..., Any]
"""A layer or model, called as `stage(tensor, training=False)`."""


def grad_cam(model: keras.Model, pixels: np.ndarray, batch_size: int = _BATCH_SIZE) -> np.ndarray:
    """Returns where the score of the positive class comes from, by the last convolution of a classifier.

    The gradient is that of the logit: the probability of a sure call hardly moves, and so has hardly any gradient.
    The channels of the last convolution's output, each weighted by its mean gradient, are added up; what lowers the
    score is cut off, the rest is resized to the image.

    Of an ensemble it is the mean over the members, each on its own scale: a hard vote has no gradient, and of a soft
    one the surest member would be all that is seen.

    Args:
        model: as `pneumo_core.model.build_classifier` returns it, or the same loaded from a file: a chain of layers
            and models that ends in a sigmoid named `PROBABILITY_LAYER`; or as `pneumo_core.ensemble.build_ensemble`
            does.
        pixels: (N, size, size, 1), 0 to 255.
        batch_size: images at a time, which bounds the memory.

    Returns:
        (N, size, size) float32. The highest value of each image is 1, so heights of two images cannot be compared;
        an image in which nothing raises the score is 0 everywhere.

    Raises:
        ModelError: if the model has no such layer, or no convolution.
    """
    chains = member_chains(model) or [_stages(model)]
    return _to_the_highest(np.mean([_heat_of_chain(chain, pixels, batch_size) for chain in chains], axis=0))


def _heat_of_chain(stages: Sequence[Any], pixels: np.ndarray, batch_size: int) -> np.ndarray:
    import tensorflow as tf

    below, above = _around_last_convolution(stages)

    def heat(batch: Any) -> Any:
        features = _apply(below, batch)
        with tf.GradientTape() as tape:
            tape.watch(features)
            logit = _apply(above, features)
        weights = tf.reduce_mean(tape.gradient(logit, features), axis=(1, 2), keepdims=True)
        coarse = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1, keepdims=True))
        return tf.image.resize(coarse, batch.shape[1:3])[..., 0]

    run = tf.function(heat, reduce_retracing=True)
    heatmaps = np.zeros(pixels.shape[:3], np.float32)
    for start in range(0, len(pixels), batch_size):
        batch = tf.constant(pixels[start : start + batch_size], tf.float32)
        heatmaps[start : start + batch_size] = run(batch).numpy()
    return _to_the_highest(heatmaps)


def _to_the_highest(heatmaps: np.ndarray) -> np.ndarray:
    highest = heatmaps.max(axis=(1, 2), keepdims=True, initial=0)
    return np.asarray(heatmaps / np.where(highest > 0, highest, 1))


def _stages(model: keras.Model) -> list[Any]:
    """The layers and models that a classifier is a chain of, up to its logit."""
    names = [layer.name for layer in model.layers]
    if PROBABILITY_LAYER not in names:
        raise ModelError(
            f"model {model.name}: expected a classifier that ends in a layer named {PROBABILITY_LAYER}, its layers are "
            f"{', '.join(names)}; promote the trial again."
        )
    return [layer for layer in model.layers[: names.index(PROBABILITY_LAYER)] if type(layer).__name__ != "InputLayer"]


def _around_last_convolution(stages: Sequence[Any]) -> tuple[list[Stage], list[Stage]]:
    """Cuts a chain behind the output of its last convolution, inside of whichever model that lies in."""
    import keras

    for place in reversed(range(len(stages))):
        stage = stages[place]
        if isinstance(stage, keras.layers.Conv2D):
            return [*stages[: place + 1]], [*stages[place + 1 :]]
        convolutions = [part for part in getattr(stage, "layers", ()) if isinstance(part, keras.layers.Conv2D)]
        if convolutions:
            below, above = _cut_model(stage, convolutions[-1].name)
            return [*stages[:place], below], [above, *stages[place + 1 :]]
    raise ModelError("model: expected a classifier with a convolution, found none; Grad-CAM has nothing to look at.")


def _cut_model(model: keras.Model, layer_name: str) -> tuple[keras.Model, keras.Model]:
    import keras

    # Layers that were once part of another model, as those of Keras' VGG16, have several outputs; a copy's have one.
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    middle = copy.get_layer(layer_name).output
    return keras.Model(copy.input, middle), keras.Model(middle, copy.output)


def _apply(stages: Sequence[Stage], tensor: Any) -> Any:
    for stage in stages:
        tensor = stage(tensor, training=False)
    return tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
    """Images of one kind: all that were called rightly or wrongly so, and a sample of them.

    Attributes:
        kind: `true positives`, `false negatives`, `false positives` or `true negatives`.
        label: of these images, 0 or 1.
        found: how many there are.
        of_class: how many images of that label there are.
        rows: of the score table; those in the sample, the highest probability first.
    """

    kind: str
    label: int
    found: int
    of_class: int
    rows: pd.DataFrame


_KINDS = (("true positives", 1, True), ("false negatives", 1, False), ("false positives", 0, True),
          ("true negatives", 0, False))  # fmt: skip


def sample_cases(scores: pd.DataFrame, threshold: float, per_kind: int = 4, seed: int = 0) -> list[Cases]:
    """Draws a fixed sample of true and false positives and negatives.

    Each image has a place in the order of drawing, which depends on its path and the seed only. So neither the order
    of rows nor what other images there are changes who is drawn first, and two models that call an image alike show
    the same one.

    Args:
        scores: score table, see `pneumo_core.evaluation`.
        threshold: images with at least this probability are called positive.
        per_kind: images of each kind at most.
        seed: another one draws others.

    Returns:
        All four kinds; one without images has an empty sample.
    """
    places = np.array([derive(seed, f"cases/{path}") for path in scores["path"]], dtype=np.int64)
    drawn = scores.assign(place=places).sort_values(["place", "path"]).drop(columns="place")
    called, cases = drawn["probability"] >= threshold, []
    for kind, label, positive in _KINDS:
        of_class = drawn["label"] == label
        rows = drawn[of_class & (called == positive)]
        shown = rows.head(per_kind).sort_values(["probability", "path"], ascending=[False, True], ignore_index=True)
        cases.append(Cases(kind, label, len(rows), int(of_class.sum()), shown))
    return cases


def sampled_paths(cases: Sequence[Cases]) -> list[str]:
    """Returns the paths of all sampled images, in the order of the kinds."""
    return [path for kind in cases for path in kind.rows["path"]]
