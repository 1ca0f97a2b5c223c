"""A classifier knows what its training images look like, and warns about what looks otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumo_core.dataset import index_dataset
from pneumo_core.familiarity import FAMILIARITY_FILE, Familiarity
from pneumo_core.images import read_images
from pneumo_core.phantom_set import write_phantoms


def _drawn(folder: Path, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Images of drawn chests, 32 px, and their manifest."""
    dataset = index_dataset(write_phantoms(folder, seed=seed, patients=80, size_px=(48, 96)))
    return read_images(dataset.root, dataset.manifest["path"].tolist(), 32), dataset.manifest


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, pd.DataFrame]:
    """Drawn chests that a model may have been made with."""
    return _drawn(tmp_path_factory.mktemp("training"), seed=1)


@pytest.fixture(scope="module")
def familiarity(training: tuple[np.ndarray, pd.DataFrame]) -> Familiarity:
    """What they look like."""
    pixels, manifest = training
    return Familiarity.fit(pixels, manifest["group"].tolist())


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Chests of other patients."""
    return _drawn(tmp_path_factory.mktemp("others"), seed=2)[0]


def _warned(familiarity: Familiarity, pixels: np.ndarray) -> float:
    return float(np.mean([familiarity.warning(gray) is not None for gray in pixels[..., 0]]))


def test_chests_of_other_patients_are_familiar(familiarity: Familiarity, others: np.ndarray) -> None:
    """About one in a hundred is warned of, as the limit promises; so few training images leave some play."""
    assert len(others) > 80
    assert _warned(familiarity, others) < 0.06


@pytest.mark.parametrize("change", ["inverted", "turned", "upside down", "half of it", "in a frame", "shuffled"])
def test_chests_that_are_not_shown_as_in_training_are_warned_of(
    familiarity: Familiarity, others: np.ndarray, change: str
) -> None:
    """Nearly all of them, whatever was done to them."""
    shuffle = np.random.default_rng(0).permuted
    changed = {
        "inverted": lambda: 255 - others,
        "upside down": lambda: others[:, ::-1],
        "turned": lambda: np.rot90(others, axes=(1, 2)),
        "half of it": lambda: others[:, :, :16].repeat(2, axis=2),
        "in a frame": lambda: np.pad(others, ((0, 0), (8, 8), (8, 8), (0, 0))),
        "shuffled": lambda: shuffle(others.reshape(len(others), -1), axis=1).reshape(others.shape),
    }[change]()
    assert _warned(familiarity, changed) > 0.95


def test_what_is_no_radiograph_is_warned_of(familiarity: Familiarity) -> None:
    """Black, white, gray, a gradient, noise: the sentence says how unlike they are, and in what."""
    ramp = np.tile(np.linspace(0, 255, 32), (32, 1)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    for gray in (*(np.full((32, 32), value, np.uint8) for value in (0, 90, 255)), ramp, noise):
        warning = familiarity.warning(gray)
        assert warning is not None
        assert "more unlike them than all" in warning
        assert any(aspect in warning for aspect in ("in its layout", "in its brightness and contrast", "which side"))


def test_the_limit_is_that_of_images_held_out_by_patient(familiarity: Familiarity) -> None:
    """At most one in a hundred of them lies beyond it, and an image's share is told from them."""
    beyond = familiarity.held_out > familiarity.limit
    assert 0 < beyond.sum() + 1 <= 0.01 * len(beyond) + 1
    assert familiarity.held_out[0] > 0


def test_patients_are_held_out_whole() -> None:
    """Ten copies of each image teach nothing about others: the limit is as wide as without them."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 16, 16, 1), dtype=np.uint8)
    names = [f"p{number}" for number in range(20)]
    once = Familiarity.fit(pixels, names).held_out
    often = Familiarity.fit(np.repeat(pixels, 10, axis=0), np.repeat(names, 10).tolist()).held_out
    np.testing.assert_allclose(np.repeat(once, 10), often, rtol=1e-6)


def test_its_file_holds_all_of_it_and_no_pickle(familiarity: Familiarity, others: np.ndarray, tmp_path: Path) -> None:
    """Loaded back it says the same; a folder without the file gives none."""
    assert Familiarity.load(tmp_path) is None
    familiarity.save(tmp_path)
    loaded = Familiarity.load(tmp_path)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.strangeness(others), familiarity.strangeness(others))
    assert loaded.limit == familiarity.limit
    with np.load(tmp_path / FAMILIARITY_FILE, allow_pickle=False) as file:
        assert all(file[name].dtype == np.float64 for name in file.files)


def test_images_of_one_patient_alone_cannot_be_described() -> None:
    """There is nobody to hold out."""
    with pytest.raises(ValueError, match="at least two patients, got 1"):
        Familiarity.fit(np.zeros((3, 16, 16, 1), np.uint8), ["a", "a", "a"])


@pytest.mark.parametrize("size", [16, 50, 224])
def test_images_of_every_size_are_measured(size: int) -> None:
    """Whatever size the network sees."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, size, size, 1), dtype=np.uint8)
    familiarity = Familiarity.fit(pixels, list("abcdefghijkl"))
    assert familiarity.warning(np.zeros((size, size), np.uint8)) is not None
