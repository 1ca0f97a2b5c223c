"""The frozen prefix applied to images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from pneumo_core.pass_batch import PROCESSOR_BATCH


def compiled(prefix: keras.Model) -> Callable[[Any], Any]:
    """Returns the prefix as one compiled function: pixels (N, H, W, 1) float32 → activations, in inference mode.

    Activations are float32, in whatever precision the layers compute.
    """
    import tensorflow as tf

    def forward(pixels: Any) -> Any:
        return tf.nest.map_structure(lambda output: tf.cast(output, tf.float32), prefix(pixels, training=False))

    return tf.function(forward, reduce_retracing=True)  # type: ignore[no-any-return]


def apply_in_batches(
    forward: Callable[[Any], Any], pixels: np.ndarray, batch_size: int = PROCESSOR_BATCH
) -> list[np.ndarray]:
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
