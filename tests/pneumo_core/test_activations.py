"""The prefix gives the same activations however it is compiled, and whatever number of images it is given."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pneumo_core import activations as module
from pneumo_core.activations import apply_in_batches, compiled

PIXELS = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def prefix() -> keras.Model:
    """Two outputs of different shapes, as a pass with several cuts has."""
    pixels = keras.Input((4, 4, 1))
    scaled = keras.layers.Rescaling(1 / 255)(pixels)
    return keras.Model(pixels, [scaled, keras.layers.GlobalAveragePooling2D()(scaled)])


@pytest.mark.parametrize("gpu", [False, True])
def test_batches_of_any_size_come_out_in_order(prefix: keras.Model, monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    """With a smaller last batch, which is filled up where XLA compiles, and cut off again."""
    monkeypatch.setattr(module, "computes_on_gpu", lambda: gpu)
    maps, means = apply_in_batches(compiled(prefix, 4), PIXELS, 4)
    np.testing.assert_allclose(maps, PIXELS / 255, rtol=1e-5)
    np.testing.assert_allclose(means, PIXELS.mean(axis=(1, 2)) / 255, rtol=1e-5)
    assert maps.dtype == means.dtype == np.float32


def test_a_smaller_batch_is_not_compiled_for_anew_on_a_gpu(
    prefix: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every part of a pass and every epoch of live augmentation ends with one."""
    monkeypatch.setattr(module, "computes_on_gpu", lambda: True)
    traced = []

    def counted(pixels: object, training: bool) -> object:
        traced.append(pixels)
        return prefix(pixels, training=training)

    forward = compiled(counted, 4)
    for count in (4, 3, 1, 4):
        assert len(forward(PIXELS[:count].astype(np.float32))[0]) == count
    assert len(traced) == 1
