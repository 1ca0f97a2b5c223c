"""Random affine distortions of training images, with the parameters and the order of Keras' `ImageDataGenerator`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Distortion:
    """Ranges that random distortions are drawn from, uniformly.

    Attributes:
        rotation_deg: rotation within ± this.
        shift: of width and of height, within ± this fraction of the side.
        shear_deg: shear angle within ± this. (The notebook's `shear_range=0.2` means 0.2°: the unit is the degree.)
        zoom: of each side by a factor within 1 ± this.
        horizontal_flip: mirror every other image on average. Mirrors the heart too.
    """

    rotation_deg: float = 0.0
    shift: float = 0.0
    shear_deg: float = 0.0
    zoom: float = 0.0
    horizontal_flip: bool = False


DISTORTIONS: dict[str, Distortion] = {
    "mild": Distortion(rotation_deg=10, shift=0.1, zoom=0.1),
    "notebook": Distortion(rotation_deg=20, shift=0.2, shear_deg=0.2, zoom=0.2, horizontal_flip=True),
}
"""What the values of `TrialConfig.augmentation` mean; `none` distorts nothing."""


def draw_transforms(distortion: Distortion, count: int, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Draws one affine map for each image.

    Returns:
        (count, 8) float32, rows a0 a1 a2 b0 b1 b2 0 0: the output pixel (x, y) shows the input at
        (a0 x + a1 y + a2, b0 x + b1 y + b2), as `tf.raw_ops.ImageProjectiveTransformV3` expects.
    """
    angle = np.deg2rad(rng.uniform(-1, 1, count) * distortion.rotation_deg)
    shift_x, shift_y = rng.uniform(-1, 1, (2, count)) * distortion.shift * size_px
    shear = np.deg2rad(rng.uniform(-1, 1, count) * distortion.shear_deg)
    zoom_x, zoom_y = 1 + rng.uniform(-1, 1, (2, count)) * distortion.zoom
    flip = rng.random(count) < (0.5 if distortion.horizontal_flip else 0.0)
    return affine_rows(angle, shift_x, shift_y, shear, zoom_x, zoom_y, flip, size_px)


def affine_rows(
    angle: np.ndarray,
    shift_x: np.ndarray,
    shift_y: np.ndarray,
    shear: np.ndarray,
    zoom_x: np.ndarray,
    zoom_y: np.ndarray,
    flip: np.ndarray,
    size_px: int,
) -> np.ndarray:
    """Composes rotation (rad), shift (px), shear (rad), zoom and flip, in this order, about the image's centre.

    Source: `keras.src.legacy.preprocessing.image.apply_affine_transform`; a test compares the two.

    Returns:
        As `draw_transforms`.
    """
    rotation = _matrices(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))
    translation = _matrices(1, 0, 0, 1, shift_x, shift_y, count=len(angle))
    shearing = _matrices(1, -np.sin(shear), 0, np.cos(shear), count=len(angle))
    zooming = _matrices(zoom_x, 0, 0, zoom_y)
    centre = (size_px - 1) / 2
    to_centre = _matrices(1, 0, 0, 1, centre, centre, count=len(angle))
    from_centre = _matrices(1, 0, 0, 1, -centre, -centre, count=len(angle))
    matrix = to_centre @ rotation @ translation @ shearing @ zooming @ from_centre
    mirror = _matrices(np.where(flip, -1, 1), 0, 0, 1, np.where(flip, size_px - 1, 0))
    rows = (matrix @ mirror)[:, :2].reshape(len(angle), 6)
    return np.pad(rows, [(0, 0), (0, 2)]).astype(np.float32)


def distort(images: Any, transforms: np.ndarray) -> Any:
    """Applies one affine map to each image: bilinear, edges repeated ("nearest fill").

    Args:
        images: (N, H, W, C) float32 tensor.
        transforms: (N, 8), as drawn by `draw_transforms`.

    Returns:
        A tensor like `images`.
    """
    import tensorflow as tf

    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )


def _matrices(xx: Any, xy: Any, yx: Any, yy: Any, x0: Any = 0.0, y0: Any = 0.0, *, count: int = 0) -> np.ndarray:
    """Stacks (count, 3, 3) homogeneous matrices [[xx, xy, x0], [yx, yy, y0], [0, 0, 1]] acting on (x, y, 1)."""
    matrices = np.zeros((count or len(xx), 3, 3))
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 0, 2] = xx, xy, x0
    matrices[:, 1, 0], matrices[:, 1, 1], matrices[:, 1, 2] = yx, yy, y0
    matrices[:, 2, 2] = 1
    return matrices
