"""From gray pixels of any size to the square that a network sees: resizing, noise, contrast.

This module travels inside every registered model: see `classifier`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import ConfigError  # relative: see `classifier`

Gray = npt.NDArray[np.uint8]
"""8-bit gray pixels, 0 (black) to 255 (white), of shape (height, width)."""

CONTRASTS = ("none", "clahe")
DENOISINGS = ("none", "gaussian")
RESIZINGS = ("squash", "pad", "crop")

CLAHE_CLIP_LIMIT = 2.0
"""No gray value of a tile counts for more than this many times its share, were all values equally frequent."""

CLAHE_TILES = (8, 8)
"""Across and down."""

GAUSSIAN_SIDE_PX = 3
"""Of the kernel: weights 1, 2, 1 in either direction, which is a sigma of about 0.8 px."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to an image on its way to a network. The defaults resize, and do nothing else.

    Attributes:
        contrast: `none`; or `clahe`, contrast-limited adaptive histogram equalisation (Zuiderveld 1994, as OpenCV does
            it: 8 × 8 tiles, clip limit 2).
        denoise: `none`; or `gaussian`, a 3 × 3 Gaussian blur at the final size.
        resize: `squash` gives the aspect ratio up; `pad` keeps it and adds black bars; `crop` keeps it and cuts off
            what lies outside the square in the middle.

    Raises:
        ConfigError: if a value is none of these.
    """

    contrast: str = "none"
    denoise: str = "none"
    resize: str = "squash"

    def __post_init__(self) -> None:
        for name, known in (("contrast", CONTRASTS), ("denoise", DENOISINGS), ("resize", RESIZINGS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}.")

    def __str__(self) -> str:
        """Returns the steps that are taken, as in `pad, gaussian, clahe`."""
        return ", ".join(step for step in (self.resize, self.denoise, self.contrast) if step != "none")

    @property
    def needs_opencv(self) -> bool:
        """Whether OpenCV has to be installed for it."""
        return (self.contrast, self.denoise) != ("none", "none")


def preprocess(gray: Gray, size_px: int, preprocessing: Preprocessing) -> Gray:
    """Makes an image a square: crops, resizes, denoises, equalises the contrast, and adds bars, in this order.

    The bars come last because they are no part of the image: they stay black, and the contrast next to them is that of
    the image alone. Equal pixels give equal pixels, on any number of threads.

    Args:
        gray: pixels of shape (height, width).
        size_px: side of the square, in px.
        preprocessing: what to do.

    Returns:
        Pixels of shape (size_px, size_px), dtype uint8, 0 to 255.
    """
    match preprocessing.resize:
        case "pad":
            scaled = _scaled(gray, *_fitting(gray, size_px))
        case "crop":
            scaled = _scaled(_middle(gray), size_px, size_px)
        case _:
            scaled = _scaled(gray, size_px, size_px)
    if preprocessing.denoise == "gaussian":
        scaled = _blurred(scaled)
    if preprocessing.contrast == "clahe":
        scaled = _equalised(scaled)
    return _with_bars(scaled, size_px)


def _scaled(gray: Gray, height: int, width: int) -> Gray:
    """Resizes with Pillow's `BILINEAR`.

    It is a triangle that widens with the reduction and so averages over all pixels it replaces (antialiasing);
    enlarging is plain bilinear interpolation.
    """
    return np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.BILINEAR))


def _fitting(gray: Gray, size_px: int) -> tuple[int, int]:
    """Height and width with the longer side as long as the square's, the other in proportion, 1 px at least."""
    height, width = gray.shape
    longer = max(height, width)
    return max(1, round(height * size_px / longer)), max(1, round(width * size_px / longer))


def _middle(gray: Gray) -> Gray:
    height, width = gray.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return gray[top : top + side, left : left + side]


def _blurred(gray: Gray) -> Gray:
    import cv2

    # Accurate means bit-exact; the alternative lets OpenCV round as is fastest on the processor at hand.
    blurred = cv2.GaussianBlur(gray, (GAUSSIAN_SIDE_PX, GAUSSIAN_SIDE_PX), 0, hint=cv2.ALGO_HINT_ACCURATE)
    return np.asarray(blurred, np.uint8)


def _equalised(gray: Gray) -> Gray:
    import cv2

    return np.asarray(cv2.createCLAHE(CLAHE_CLIP_LIMIT, CLAHE_TILES).apply(gray), np.uint8)


def _with_bars(gray: Gray, size_px: int) -> Gray:
    """Lays an image into the middle of a black square; an odd pixel goes to the right and to the bottom."""
    height, width = gray.shape
    if (height, width) == (size_px, size_px):
        return gray
    square = np.zeros((size_px, size_px), np.uint8)
    top, left = (size_px - height) // 2, (size_px - width) // 2
    square[top : top + height, left : left + width] = gray
    return square
