"""The frozen prefix applied to images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

_BATCH_SIZE = 64


def compiled(prefix: keras.Model) -> Callable[[Any], Any]:
    """Returns the prefix as one compiled function: pixels (N, H, W, 1) float32 → activations, in inference mode."""
    import tensorflow as tf

    return tf.function(lambda pixels: prefix(pixels, training=False), reduce_retracing=True)  # type: ignore[no-any-return]


def compute_activations(prefix: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Runs images through a prefix.

    Args:
        prefix: as built by `build_prefix`.
        pixels: (N, H, W, 1), 0 to 255.

    Returns:
        The prefix's output for the N images in their order, float32.
    """
    forward = compiled(prefix)
    activations = np.empty((len(pixels), *prefix.output.shape[1:]), dtype=np.float32)
    for start in range(0, len(pixels), _BATCH_SIZE):
        batch = pixels[start : start + _BATCH_SIZE].astype(np.float32)
        activations[start : start + len(batch)] = forward(batch).numpy()
    return activations
