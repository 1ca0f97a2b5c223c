"""Whether an image looks like those that a classifier was made with: a warning, no judgement of its content.

Two bell curves (multivariate normal distributions) describe the training images as the network sees them: one their
layout, 16 × 16 gray values of equal brightness and contrast, the other their tones, eleven simple measures. How far an
image lies from them is its Mahalanobis distance; a third number compares its layout with what it would be upside down.
How far is too far, images decide that the curves were not fitted to: patients are held out in turn, and the farthest
1 % of their images mark the limit.

This module travels inside every registered model: see `classifier`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Values = npt.NDArray[np.float64]

FAMILIARITY_FILE = "familiarity.npz"
"""At the root of a registered model; one that earlier versions of this program registered has none."""

SAMPLED_IMAGES = 2000
"""So many of the training images are described, at most."""

WARNED_SHARE = 0.01
"""Share of the held-out images that lie beyond the limit."""

_FOLDS = 5
_SIDE_PX, _LAYOUT_PX = 32, 16
_FLAT = 8.0  # an image that varies by less, in gray values, is not stretched to full contrast: that would be noise
_ASPECTS = ("its layout", "its brightness and contrast", "which side is up")
_LAYOUT_SHRINKAGE, _TONES_SHRINKAGE = 0.05, 0.001
# Of each measure of `_tones`, so that one in which all training images agree does not forbid every other value.
_LEAST_SPREAD = np.array([0.02, 0.1, 0.02, 0.02, 0.02, 0.02, 0.05, 0.05, 0.1, 0.1, 0.05])


@dataclasses.dataclass(frozen=True, eq=False)
class BellCurve:
    """A multivariate normal distribution.

    Attributes:
        mean: (D,).
        whitener: (D, D); it turns what is distributed so into D independent values of variance 1.
    """

    mean: Values
    whitener: Values

    @classmethod
    def fit(cls, values: Values, shrinkage: float) -> BellCurve:
        """Fits one to values (N, D).

        Args:
            values: of any number of images.
            shrinkage: this share of the mean variance is added to every variance, which few images underestimate in
                most directions.
        """
        mean = values.mean(axis=0)
        variances, axes = np.linalg.eigh((values - mean).T @ (values - mean) / len(values))
        added = shrinkage * max(float(variances.mean()), 1e-6)
        return cls(mean, axes / np.sqrt(np.maximum(variances, 0) + added))

    def distances(self, values: Values) -> Values:
        """Returns the Mahalanobis distances of values (N, D), divided by the root of D: (N,)."""
        return np.asarray(np.sqrt((((values - self.mean) @ self.whitener) ** 2).mean(axis=1)))


@dataclasses.dataclass(frozen=True, eq=False)
class Familiarity:
    """What the images look like that a classifier was made with, and how unlike them an image may be.

    Attributes:
        layout: of the training images.
        tones: of the training images.
        scales: (3,) what `WARNED_SHARE` of the held-out images exceed, for each of the `_distances` alone.
        held_out: (N,) strangeness of the held-out images, ascending.
    """

    layout: BellCurve
    tones: BellCurve
    scales: Values
    held_out: Values

    @classmethod
    def fit(cls, pixels: np.ndarray, patients: Sequence[str], seed: int = 0) -> Familiarity:
        """Describes training images.

        Args:
            pixels: (N, size, size, 1) uint8, as the network sees them.
            patients: of each image; images of one patient are held out together.
            seed: another one divides the patients differently.

        Raises:
            ValueError: if there are fewer than two patients.
        """
        (layouts, tones), fold = _measures(pixels), _folds(patients, seed)
        distances = np.empty((len(pixels), len(_ASPECTS)))
        for number in range(fold.max() + 1):
            held = fold == number
            distances[held] = _distances(*_curves(layouts[~held], tones[~held]), layouts[held], tones[held])
        scales = _limits(distances)
        return cls(*_curves(layouts, tones), scales, np.sort((distances / scales).max(axis=1)))

    @property
    def limit(self) -> float:
        """Strangeness from which on an image is warned about."""
        return float(_limits(self.held_out))

    def strangeness(self, pixels: np.ndarray) -> Values:
        """Returns how far images lie from the training images, by each of the `_distances`, in units of `scales`.

        Args:
            pixels: (N, size, size, 1) uint8, as the network sees them.

        Returns:
            (N, 3).
        """
        return _distances(self.layout, self.tones, *_measures(pixels)) / self.scales

    def warning(self, pixels: np.ndarray) -> str | None:
        """Returns a sentence about an image that is too unlike the training images; None about any other.

        Args:
            pixels: (size, size) uint8, as the network sees them.
        """
        by_aspect = self.strangeness(pixels[None, :, :, None])[0]
        if by_aspect.max() <= self.limit:
            return None
        return (
            "expected a frontal chest radiograph like the model's training images, got an image that is more unlike "
            f"them than {self._most(by_aspect.max())} of them, most of all in {_ASPECTS[by_aspect.argmax()]}; do not "
            "rely on the prediction."
        )

    def _most(self, strangeness: float) -> str:
        share = np.searchsorted(self.held_out, strangeness) / len(self.held_out)
        return f"all {len(self.held_out)}" if share == 1 else f"{np.floor(1000 * share) / 10:.1f} %"

    def save(self, folder: Path) -> None:
        """Writes the description into a model's folder.

        Side effects:
            Writes `FAMILIARITY_FILE`.
        """
        arrays: dict[str, Any] = {"scales": self.scales, "held_out": self.held_out}
        for name, curve in {"layout": self.layout, "tones": self.tones}.items():
            arrays |= {f"{name}_mean": curve.mean, f"{name}_whitener": curve.whitener}
        np.savez_compressed(folder / FAMILIARITY_FILE, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Familiarity | None:
        """Reads the description from a model's folder; None if it has none."""
        if not (folder / FAMILIARITY_FILE).exists():
            return None
        with np.load(folder / FAMILIARITY_FILE, allow_pickle=False) as file:
            layout, tones = (BellCurve(file[f"{of}_mean"], file[f"{of}_whitener"]) for of in ("layout", "tones"))
            return cls(layout, tones, file["scales"], file["held_out"])


def _curves(layouts: Values, tones: Values) -> tuple[BellCurve, BellCurve]:
    return BellCurve.fit(layouts, _LAYOUT_SHRINKAGE), BellCurve.fit(tones, _TONES_SHRINKAGE)


def _distances(layout: BellCurve, tones: BellCurve, of_layouts: Values, of_tones: Values) -> Values:
    """Returns (N, 3): how far in layout and in tones; how far in layout, compared with the image upside down."""
    far = layout.distances(of_layouts)
    upside_down = of_layouts.reshape(-1, _LAYOUT_PX, _LAYOUT_PX)[:, ::-1].reshape(of_layouts.shape)
    turned = np.maximum(layout.distances(upside_down), 1e-6)
    return np.stack([far, tones.distances(of_tones), far / turned], axis=1)


def _limits(values: Values) -> Values:
    """Returns what `WARNED_SHARE` of the values exceed; of fewer than a hundred, none does."""
    return np.asarray(np.quantile(values, 1 - WARNED_SHARE, axis=0, method="higher"))


def _folds(patients: Sequence[str], seed: int) -> npt.NDArray[np.intp]:
    names, number = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"expected images of at least two patients, got {len(names)}")
    place = np.random.default_rng(seed).permutation(len(names))
    return place[number] % min(_FOLDS, len(names))


def _measures(pixels: np.ndarray) -> tuple[Values, Values]:
    """Returns layout (N, 256) and tones (N, 11) of images (N, size, size, 1)."""
    side = (_SIDE_PX, _SIDE_PX)
    small = [np.asarray(Image.fromarray(gray).resize(side, Image.Resampling.BOX)) for gray in pixels[..., 0]]
    squares = np.array(small, np.float64).reshape(-1, *side)
    return _layout(squares), _tones(squares / 255)


def _layout(squares: Values) -> Values:
    """Returns what is where, whatever the brightness and the contrast."""
    step = _SIDE_PX // _LAYOUT_PX
    values = squares.reshape(-1, _LAYOUT_PX, step, _LAYOUT_PX, step).mean(axis=(2, 4)).reshape(-1, _LAYOUT_PX**2)
    spread = np.maximum(values.std(axis=1, keepdims=True), _FLAT)
    return np.asarray((values - values.mean(axis=1, keepdims=True)) / spread)


def _tones(squares: Values) -> Values:
    """Returns, in units of their least spread: mean, contrast, dark and bright ends and shares, symmetry, edges."""
    flat = squares.reshape(len(squares), -1)
    mean, spread = flat.mean(axis=1), flat.std(axis=1) + 1e-3
    across, down = (np.log(1e-3 + np.abs(np.diff(squares, axis=axis)).mean(axis=(1, 2))) for axis in (2, 1))
    mirrored = (_correlation(squares, squares[:, :, ::-1]), _correlation(squares, squares[:, ::-1]))
    dark, bright = np.percentile(flat, (5, 95), axis=1)
    shares = ((flat < 0.05).mean(axis=1), (flat > 0.9).mean(axis=1))
    columns = [mean, np.log(spread), dark, bright, *shares, *mirrored, across, down, across - down]
    return np.asarray(np.stack(columns, axis=1) / _LEAST_SPREAD)


def _correlation(one: Values, other: Values) -> Values:
    centred = [of.reshape(len(of), -1) - of.mean(axis=(1, 2))[:, None] for of in (one, other)]
    return np.asarray((centred[0] * centred[1]).mean(axis=1) / (one.std(axis=(1, 2)) + 1e-3) ** 2)
