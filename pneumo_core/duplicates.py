"""The same picture twice: byte-identical files, and images that differ only as recompressing or resizing makes them.

Two images are near duplicates if their perceptual hashes and their pixels both agree. Chest radiographs look alike, so
the limits are tight; `docs/data-check.md` has the measurements they were chosen by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import imagehash
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pneumo_core.findings import Case, Finding, counted
from pneumo_core.preprocessing import Gray

HASH_SIDE = 16
"""A perceptual hash has 16 × 16 bits: the signs of the lowest frequencies of a 64 px thumbnail, without scale."""

MAX_HASH_DISTANCE = 24
"""Of 256 bits. Among 13.6 million pairs of different pictures the closest two are 38 apart."""

MIN_CORRELATION = 0.98
"""Of the thumbnails' pixels. Among the same pairs the highest is 0.972."""

MIN_CONTRAST = 4.0
"""Standard deviation of gray levels under which an image shows nothing that could be compared."""

_BLOCK = 1024

Rows = npt.NDArray[np.intp]
Signs = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class NearPair:
    """Two images that show the same picture.

    Attributes:
        first: the smaller of the two positions.
        second: the larger.
        distance: of their perceptual hashes, in bits of 256.
        correlation: of their pixels, -1 to 1.
    """

    first: int
    second: int
    distance: int
    correlation: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Likeness:
    """Images that belong together: their rows in the manifest, and how alike they are in words."""

    rows: Rows
    remark: str = ""


def duplicate_findings(manifest: pd.DataFrame, thumbnails: npt.NDArray[np.uint8]) -> list[Finding]:
    """Returns what identical and nearly identical images mean for splits, labels and patients.

    Args:
        manifest: as of `pneumo_core.dataset.Dataset`, with a plain index from 0.
        thumbnails: of its images, in its order: shape (images, 64, 64), 0 to 255.
    """
    return [
        *_judged(manifest, list(_identical(manifest)), "identical", "byte-identical files"),
        *_judged(manifest, list(_nearly_identical(manifest, thumbnails)), "near-duplicate", "nearly identical images"),
    ]


def near_pairs(thumbnails: npt.NDArray[np.uint8]) -> list[NearPair]:
    """Finds all pairs of thumbnails that show the same picture, but for compression, scale, brightness and contrast.

    Every image is compared with every other, in blocks. An image without contrast is like no other.

    Args:
        thumbnails: shape (images, 64, 64), 0 to 255.

    Returns:
        The pairs, ordered by first and second position.
    """
    signs = np.stack([_signs(image) for image in thumbnails]) if len(thumbnails) else np.empty((0, 1), np.float32)
    bits = signs.shape[1]
    pairs = []
    for start in range(0, len(signs), _BLOCK):
        distances = (bits - signs[start : start + _BLOCK] @ signs[start:].T) / 2
        for one, other in np.argwhere(distances <= MAX_HASH_DISTANCE):
            if one < other:
                correlation = _correlation(thumbnails[start + one], thumbnails[start + other])
                pairs.append(NearPair(int(start + one), int(start + other), int(distances[one, other]), correlation))
    return [pair for pair in pairs if pair.correlation >= MIN_CORRELATION]


def _signs(image: Gray) -> Signs:
    """Returns the perceptual hash (DCT) as ±1, so that a product of two counts the bits they share."""
    if image.std() < MIN_CONTRAST:
        return np.zeros(HASH_SIDE**2, np.float32)  # half the bits away from everything
    found = imagehash.phash(Image.fromarray(image), hash_size=HASH_SIDE).hash
    return np.where(np.asarray(found).ravel(), 1, -1).astype(np.float32)


def _correlation(one: Gray, other: Gray) -> float:
    return float(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1])


def _identical(manifest: pd.DataFrame) -> Iterator[_Likeness]:
    for rows in manifest.groupby("content_hash", sort=False).indices.values():
        if len(rows) > 1:
            yield _Likeness(np.sort(rows))


def _nearly_identical(manifest: pd.DataFrame, thumbnails: npt.NDArray[np.uint8]) -> Iterator[_Likeness]:
    """Joins near pairs to groups. Byte-identical files count as one image, and come along with it."""
    copies = manifest.groupby("content_hash", sort=False).indices
    kept = np.asarray([rows.min() for rows in copies.values()], dtype=np.intp)
    pairs = near_pairs(thumbnails[kept])
    ends = np.asarray([(pair.first, pair.second) for pair in pairs], dtype=np.intp).reshape(-1, 2)
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(kept), len(kept)))
    _, member = connected_components(links, directed=False)
    hashes = list(copies)
    joined: dict[int, list[NearPair]] = {}
    for pair in pairs:
        joined.setdefault(int(member[pair.first]), []).append(pair)
    for within in joined.values():
        images = sorted({index for pair in within for index in (pair.first, pair.second)})
        rows = np.concatenate([copies[hashes[index]] for index in images])
        yield _Likeness(np.sort(rows), _alike(within))


def _alike(pairs: Sequence[NearPair]) -> str:
    furthest, least = max(pair.distance for pair in pairs), min(pair.correlation for pair in pairs)
    if len(pairs) == 1:
        return f"{furthest} of {HASH_SIDE**2} bits apart, correlation {least:.3f}"
    return f"up to {furthest} of {HASH_SIDE**2} bits apart, correlation {least:.3f} or more"


def _judged(manifest: pd.DataFrame, found: Sequence[_Likeness], kind: str, what: str) -> Iterator[Finding]:
    """Sorts groups by what is wrong about them; a group may be wrong in several ways."""
    in_test = np.asarray(manifest["split"] == "test")
    labels, groups = np.asarray(manifest["label"]), np.asarray(manifest["group"])
    leaks = [one for one in found if len(set(in_test[one.rows])) > 1]
    conflicts = [one for one in found if len(set(labels[one.rows])) > 1]
    strangers = [one for one in found if one not in leaks and len(set(groups[one.rows])) > 1]
    others = [one for one in found if not any(one in judged for judged in (leaks, conflicts, strangers))]
    for severity, ending, judged, meaning in (
        ("leak", "-in-test-and-train", leaks, "both in test/ and outside it, which flatters test scores"),
        ("problem", "-under-both-labels", conflicts, "under both labels, one of which must be wrong"),
        (
            "warning",
            "-of-several-patients",
            strangers,
            "filed under different patients, who may be divided between training and validation",
        ),
        ("warning" if kind == "identical" else "note", "", others, "of one patient, which count several times"),
    ):
        if judged:
            images = sum(len(one.rows) for one in judged)
            text = f"{counted(len(judged), 'group')} of {what} ({images} files) {meaning}."
            yield Finding(severity, kind + ending, text, tuple(_case(manifest, one) for one in judged))


def _case(manifest: pd.DataFrame, likeness: _Likeness) -> Case:
    rows = manifest.iloc[likeness.rows]
    return Case(tuple(sides_first(rows)), likeness.remark)


def sides_first(rows: pd.DataFrame) -> list[str]:
    """Returns the paths of some rows, those in `test/` and those outside it by turns, so that the first two show both.

    Args:
        rows: of a manifest.
    """
    test, other = (rows["path"][(rows["split"] == "test") == side].tolist() for side in (True, False))
    both = min(len(test), len(other))
    turns = [path for pair in zip(test[:both], other[:both], strict=True) for path in pair]
    return [*turns, *test[both:], *other[both:]]
