"""Which images train and which score: divided by patient, alike in composition, and never touching the test folder."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from pneumo_core.errors import DatasetError
from pneumo_core.seeds import derive

Rows = npt.NDArray[np.intp]
"""Positions of rows in a frame, in ascending order."""

HOLDOUT_PART = 5
"""A hold-out scores one image in so many."""

ALWAYS_TRAINS = -1
"""In the place of a fold, for images that are never scored."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Who trains and who is scored. No fold has a patient on both sides.

    Attributes:
        pool: all images but those of `test/`, sorted by path.
        fold: (N,) for each image of the pool the fold that it is scored in, and trains in all others;
            `ALWAYS_TRAINS` for one that is scored in none, as most are in a hold-out.
        digest: SHA-256 (hex) over the (content hash, path, fold) of all images: equal for equal splits.
    """

    pool: pd.DataFrame
    fold: npt.NDArray[np.int64]
    digest: str

    @property
    def folds(self) -> int:
        """How many folds there are; 1 for a hold-out."""
        return int(self.fold.max()) + 1

    @property
    def scored(self) -> Rows:
        """Rows of the pool that are scored in some fold."""
        return np.flatnonzero(self.fold != ALWAYS_TRAINS)

    def training(self, fold: int) -> Rows:
        """Returns the rows of the pool that train in a fold."""
        return np.flatnonzero(self.fold != fold)

    def validation(self, fold: int) -> Rows:
        """Returns the rows of the pool that are scored in a fold: they choose epochs, thresholds, configurations."""
        return np.flatnonzero(self.fold == fold)

    def table(self) -> pd.DataFrame:
        """Returns path, group, subtype, label, content_hash and fold of each image of the pool."""
        columns = ["path", "group", "subtype", "label", "content_hash"]
        return self.pool[columns].assign(fold=self.fold)


def pool_of(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the images that a study may see: those of `train/` and `val/` together, sorted by path.

    The Kaggle data set's own `val/` holds 16 images, too few to score on, so both folders are pooled and divided anew.
    """
    pool = manifest[manifest["split"] != "test"]
    return pool.sort_values("path", ignore_index=True)


def divide(manifest: pd.DataFrame, folds: int = 1, *, seed: int = 0) -> Split:
    """Divides the patients of `train/` and `val/`, with the share of each subtype as equal as whole patients allow.

    The result depends on the rows, the seed and `folds`, not on the order of rows.

    Args:
        manifest: as of `pneumo_core.dataset.Dataset`.
        folds: 1 holds out one of `HOLDOUT_PART` parts; 2 or more divide all images into as many folds, each of which is
            scored once by what was trained on the others.
        seed: another seed divides differently.

    Raises:
        DatasetError: if a class has too few patients, or none on one side of a fold.
    """
    pool = pool_of(manifest)
    fold = np.full(len(pool), ALWAYS_TRAINS, np.int64)
    for number, (train, validation) in enumerate(_grouped_folds(pool, seed, folds if folds > 1 else HOLDOUT_PART)):
        if number < max(folds, 1):
            _require_classes(pool, {"train": train, "validation": validation})
            fold[validation] = number
    return Split(pool, fold, _digest(pool, fold))


def _grouped_folds(pool: pd.DataFrame, seed: int, folds: int) -> Iterator[tuple[Rows, Rows]]:
    """Yields the rows to train on and the rows to score on, for each fold. Every row is scored on once."""
    _require_patients(pool, folds)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=derive(seed, "split"))
    yield from splitter.split(pool, _strata(pool, folds), pool["group"])


def _require_patients(pool: pd.DataFrame, folds: int) -> None:
    patients = {label: pool["group"][pool["label"] == label].nunique() for label in (0, 1)}
    if min(patients.values()) < folds:
        raise DatasetError(
            f"To hold out a fold in {folds}, train/ and val/ together need images of at least {folds} patients of "
            f"each class, got {patients[0]} negative and {patients[1]} positive. Add images of other patients."
        )


def _strata(pool: pd.DataFrame, folds: int) -> pd.Series:
    """Returns each row's subtype; one with fewer patients than folds counts as its class's most frequent subtype."""
    strata = pool["subtype"].copy()
    patients = pool.groupby("subtype")["group"].nunique()
    for label in (0, 1):
        of_class = pool["label"] == label
        rare = of_class & strata.map(patients).lt(folds)
        strata[rare] = strata[of_class].mode()[0]
    return strata


def _require_classes(pool: pd.DataFrame, parts: dict[str, Rows]) -> None:
    for part, rows in parts.items():
        if pool["label"].iloc[rows].nunique() < 2:
            raise DatasetError(
                f"Dividing {pool['group'].nunique()} patients leaves images of one class only for {part}: too many of "
                "the images are of too few patients. Add images of other patients, or try another number of --folds."
            )


def _digest(pool: pd.DataFrame, fold: npt.NDArray[np.int64]) -> str:
    lines = sorted(
        f"{content}\0{path}\0{number}\n"
        for content, path, number in zip(pool["content_hash"], pool["path"], fold, strict=True)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
