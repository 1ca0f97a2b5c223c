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


def apply_in_batches(forward: Callable[[Any], Any], pixels: np.ndarray) -> list[np.ndarray]:
    """Runs images through compiled prefixes.

    Args:
        forward: as returned by `compiled`.
        pixels: (N, H, W, 1), 0 to 255, N at least 1.

    Returns:
        Each output for the N images in their order, float32.
    """
    batches = [pixels[start : start + _BATCH_SIZE].astype(np.float32) for start in range(0, len(pixels), _BATCH_SIZE)]
    outputs = [forward(batch) for batch in batches]
    if not isinstance(outputs[0], (list, tuple)):
        outputs = [[output] for output in outputs]
    return [np.concatenate([part.numpy() for part in parts]) for parts in zip(*outputs, strict=True)]
