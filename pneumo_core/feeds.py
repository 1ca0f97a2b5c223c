"""Where the inputs of a training come from: kept activations, a bank of augmented ones, or images distorted anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from pneumo_core.augmentation import Distortion, distort, draw_transforms
from pneumo_core.seeds import generator


class Rows(Protocol):
    """What feeds read from: a shape, a length, and rows by slice or by index array. May stay on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together."""

    @property
    def dtype(self) -> Any:
        """Of every value."""

    def __len__(self) -> int: ...

    def __getitem__(self, selection: Any) -> np.ndarray: ...


class Feed(Protocol):
    """Inputs of a trainee, one row for each image."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""

    @property
    def dtype(self) -> Any:
        """Of every value: float16 or float32."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Returns the inputs (len(rows), *shape) of some images in an epoch; a pure function of its arguments."""


class StoredFeed:
    """The same activations in every epoch.

    Args:
        rows: (N, ...), one for each image.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.shape, self.dtype = tuple(rows.shape[1:]), rows.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """See `Feed`."""
        return self._rows[rows]


class BankFeed:
    """In every epoch, for every image, one of a few augmented variants whose activations are kept.

    Args:
        variants: (N, ...) each, in the same order of images.
        seed: of the trial, which decides what is drawn when.
    """

    def __init__(self, variants: Sequence[Rows], seed: int) -> None:
        self._variants, self._seed = variants, seed
        self.shape = tuple(variants[0].shape[1:])
        self.dtype = np.result_type(*(rows.dtype for rows in variants))

    def __len__(self) -> int:
        return len(self._variants[0])

    def read(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """See `Feed`."""
        drawn = generator(self._seed, "variant", epoch).integers(len(self._variants), size=len(self))[rows]
        inputs = np.empty((len(rows), *self.shape), self.dtype)
        for number, variant in enumerate(self._variants):
            inputs[drawn == number] = variant[rows[drawn == number]]
        return inputs


class LiveFeed:
    """Images distorted anew in every epoch and sent through the frozen prefix: nothing can be kept.

    Args:
        pixels: (P, H, W, 1) uint8, square.
        rows: (N,) which of them are fed, in which order.
        distortion: ranges to draw from.
        prefix: pixels (n, H, W, 1) float32 → activations (n, *shape) float32, compiled.
        shape: of one image's activations.
        seed: of the trial.
        batch_size: images sent through the prefix at a time.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        pixels: np.ndarray,
        rows: np.ndarray,
        distortion: Distortion,
        prefix: Callable[[Any], Any],
        shape: tuple[int, ...],
        seed: int,
        batch_size: int = 64,
    ) -> None:
        self._pixels, self._rows, self._distortion, self._prefix = pixels, rows, distortion, prefix
        self.shape, self._seed, self._batch_size = shape, seed, batch_size

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """See `Feed`."""
        size_px = self._pixels.shape[1]
        rng = generator(self._seed, "augmentation", epoch)
        transforms = draw_transforms(self._distortion, len(self), size_px, rng)
        inputs = np.empty((len(rows), *self.shape), self.dtype)
        for start in range(0, len(rows), self._batch_size):
            part = rows[start : start + self._batch_size]
            distorted = distort(self._pixels[self._rows[part]].astype(np.float32), transforms[part])
            inputs[start : start + len(part)] = self._prefix(distorted)
        return inputs
