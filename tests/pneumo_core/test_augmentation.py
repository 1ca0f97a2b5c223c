"""Live augmentation distorts as Keras' ImageDataGenerator does, from stateless draws."""

import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from pneumo_core.augmentation import DISTORTIONS, affine_rows, distort, draw_transforms
from pneumo_core.seeds import generator


def _blob(size_px: int = 32) -> np.ndarray:
    """A smooth, asymmetric picture, in which every wrong axis, sign or centre shows."""
    x, y = np.meshgrid(np.linspace(-1, 1, size_px), np.linspace(-1, 1, size_px))
    return (255 * np.exp(-((x - 0.3) ** 2) * 6 - ((y + 0.2) ** 2) * 2)).astype(np.float32)[..., None]


@pytest.mark.parametrize(
    "parameters",
    [
        {"theta": 15.0},
        {"tx": 4.0},
        {"ty": -3.0},
        {"shear": 12.0},
        {"zx": 0.8, "zy": 1.2},
        {"flip_horizontal": True},
        {"theta": -20.0, "tx": 3.0, "ty": 5.0, "shear": 0.2, "zx": 1.1, "zy": 0.9, "flip_horizontal": True},
    ],
)
def test_each_distortion_equals_keras_own(parameters: dict[str, float]) -> None:
    """The notebook's augmentation is reproduced, in each parameter and in their order."""
    image = _blob()
    expected = ImageDataGenerator(fill_mode="nearest").apply_transform(image, parameters)
    one = {name: np.array([parameters.get(name, default)]) for name, default in _NEUTRAL.items()}
    rows = affine_rows(
        np.deg2rad(one["theta"]), one["tx"], one["ty"], np.deg2rad(one["shear"]), one["zx"], one["zy"],
        one["flip_horizontal"].astype(bool), 32,
    )  # fmt: skip
    np.testing.assert_allclose(np.asarray(distort(image[None], rows))[0], expected, atol=0.02)


_NEUTRAL = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0, "flip_horizontal": 0.0}


def test_draws_stay_within_the_notebooks_ranges() -> None:
    """A thousand draws reach, and never leave, the stated ranges."""
    rows = draw_transforms(DISTORTIONS["notebook"], 1000, 100, generator(0, "test"))
    area = np.abs(rows[:, 0] * rows[:, 4] - rows[:, 1] * rows[:, 3])
    assert 0.64 * 0.99 <= area.min() < 0.75
    assert 1.3 < area.max() <= 1.44 * 1.01
    mirrored = (rows[:, 0] * rows[:, 4] - rows[:, 1] * rows[:, 3]) < 0
    assert 0.4 < mirrored.mean() < 0.6


def test_mild_never_mirrors_the_heart() -> None:
    """Only the preset that reproduces the notebook flips."""
    rows = draw_transforms(DISTORTIONS["mild"], 200, 64, generator(0, "test"))
    assert (rows[:, 0] * rows[:, 4] - rows[:, 1] * rows[:, 3] > 0).all()


def test_draws_depend_on_the_key_alone() -> None:
    """The same epoch and step distort in the same way, another step in another."""
    draws = [draw_transforms(DISTORTIONS["mild"], 4, 64, generator(0, "augmentation", 1, step)) for step in (2, 2, 3)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
