"""How many images and patients a data set has in each split, class and subtype, and how many it officially has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from pneumo_core.dataset import Dataset
from pneumo_core.layout import SPLITS

OFFICIAL_CLASSES = ("NORMAL", "PNEUMONIA")

OFFICIAL = {
    ("train", "NORMAL", ""): 1341,
    ("train", "PNEUMONIA", ""): 3875,
    ("val", "NORMAL", ""): 8,
    ("val", "PNEUMONIA", ""): 8,
    ("test", "NORMAL", ""): 234,
    ("test", "PNEUMONIA", ""): 390,
    ("test", "PNEUMONIA", "bacteria"): 242,
    ("test", "PNEUMONIA", "virus"): 148,
}
"""Images of the data set as published on Kaggle, by split, class and subtype."""


@dataclasses.dataclass(frozen=True)
class Count:
    """One line of the composition.

    Attributes:
        split: `train`, `val` or `test`.
        class_name: folder name of the class.
        subtype: part of the class that is counted; empty for all of it.
        images: how many there are.
        patients: of how many patients, as far as known.
        official: images in the published data set; None where that does not apply or is not known.
    """

    split: str
    class_name: str
    subtype: str
    images: int
    patients: int
    official: int | None


def composition(dataset: Dataset) -> tuple[Count, ...]:
    """Counts classes in every split, and the subtypes of classes that have several."""
    return tuple(_counts(dataset))


def _counts(dataset: Dataset) -> Iterator[Count]:
    manifest = dataset.manifest
    official = OFFICIAL if dataset.class_names == OFFICIAL_CLASSES else {}
    for split in (split for split in SPLITS if (manifest["split"] == split).any()):
        for label, name in enumerate(dataset.class_names):
            of_class = manifest[manifest["label"] == label]
            subtypes = sorted(set(of_class["subtype"])) if of_class["subtype"].nunique() > 1 else []
            rows = of_class[of_class["split"] == split]
            for subtype in ("", *subtypes):
                part = rows[rows["subtype"] == subtype] if subtype else rows
                known = official.get((split, name, subtype))
                if len(part) or known:
                    yield Count(split, name, subtype, len(part), int(part["group"].nunique()), known)


def deviations(counts: Sequence[Count]) -> list[str]:
    """Returns `train NORMAL 1,083 of 1,341` for each count that is not the official one."""
    return [
        f"{_name(count)} {count.images:,} of {count.official:,}"
        for count in counts
        if count.official is not None and count.images != count.official
    ]


def _name(count: Count) -> str:
    return " ".join(filter(None, (count.split, count.class_name, count.subtype)))
