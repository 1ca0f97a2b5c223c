"""The batch of a pass follows from the GPU, and is what it always was without one."""

from __future__ import annotations

import pytest

from pneumo_core.pass_batch import BATCH, fitted_batch


@pytest.mark.parametrize("image_size", [32, 224, 1024])
def test_a_processor_takes_64_images_of_any_size(image_size: int) -> None:
    """What was computed without a GPU stays as it is, to the last bit."""
    assert fitted_batch(image_size, None) == BATCH == 64


@pytest.mark.parametrize(
    ("image_size", "memory_gb", "expected"), [(64, 80, 64), (224, 80, 64), (224, 4, 32), (1024, 8, 2), (1024, 1, 1)]
)
def test_a_gpu_takes_what_its_memory_holds(image_size: int, memory_gb: float, expected: int) -> None:
    """A part of 64, so that parts of a pass hold whole batches; at least one image, however small the GPU."""
    batch = fitted_batch(image_size, int(memory_gb * 1e9))
    assert batch == expected
    assert BATCH % batch == 0
