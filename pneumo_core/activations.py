"""The frozen prefix applied to images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from pneumo_core.pass_batch import BATCH
from pneumo_core.runtime import computes_on_gpu

Forward = Callable[[Any], Any]
"""From pixels (n, H, W, 1) float32 to activations, float32; a list of them for a prefix of several outputs."""


def compiled(prefix: keras.Model, batch_size: int = BATCH) -> Forward:
    """Returns the prefix as one compiled function, in inference mode; by XLA on a GPU, which is several times faster.

    Args:
        prefix: as `pneumo_core.backbone` builds it, in whatever precision it computes.
        batch_size: images that the function will be given at most.
    """
    import tensorflow as tf

    def forward(pixels: Any) -> Any:
        return tf.nest.map_structure(lambda output: tf.cast(output, tf.float32), prefix(pixels, training=False))

    if not computes_on_gpu():
        return tf.function(forward, reduce_retracing=True)  # type: ignore[no-any-return]
    return _in_whole_batches(tf.function(forward, jit_compile=True), batch_size)


def _in_whole_batches(forward: Forward, batch_size: int) -> Forward:
    """Fills a smaller batch up: XLA would compile anew for each number of images."""
    import tensorflow as tf

    def filled(pixels: Any) -> Any:
        missing = batch_size - len(pixels)
        if not missing:
            return forward(pixels)
        outputs = forward(tf.pad(pixels, [[0, missing], [0, 0], [0, 0], [0, 0]]))
        return tf.nest.map_structure(lambda output: output[: len(pixels)], outputs)

    return filled


def apply_in_batches(forward: Forward, pixels: np.ndarray, batch_size: int = BATCH) -> list[np.ndarray]:
    """Runs images through compiled prefixes.

    Args:
        forward: as returned by `compiled`.
        pixels: (N, H, W, 1), 0 to 255, N at least 1.
        batch_size: images at a time.

    Returns:
        Each output for the N images in their order, float32.
    """
    starts = range(0, len(pixels), batch_size)
    outputs = [forward(pixels[start : start + batch_size].astype(np.float32)) for start in starts]
    if not isinstance(outputs[0], (list, tuple)):
        outputs = [[output] for output in outputs]
    return [np.concatenate([part.numpy() for part in parts]) for parts in zip(*outputs, strict=True)]
