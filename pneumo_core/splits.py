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


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Two parts of a manifest that share no patient.

    Attributes:
        train: rows of the manifest to train on, sorted by path.
        validation: rows to choose epochs, thresholds and configurations by, sorted by path.
        digest: SHA-256 (hex) over the (content hash, path, part) of all images: equal for equal splits.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    digest: str


def holdout(manifest: pd.DataFrame, *, seed: int = 0, folds: int = 5) -> Split:
    """Holds one fold of the patients out of `train/` and `val/` taken together.

    The Kaggle data set's own `val/` holds 16 images, too few to score on, so both folders are pooled and divided anew.
    Rows of `test/` are in neither part. The result depends on the rows, the seed and `folds`, not on the order of rows.

    Args:
        manifest: as of `pneumo_core.dataset.Dataset`.
        seed: another seed holds other patients out.
        folds: one in so many images is held out, as nearly as whole patients allow.

    Returns:
        Both parts, with the share of each subtype as equal as whole patients allow.

    Raises:
        DatasetError: if a class has fewer patients than `folds`, or none in one of the parts.
    """
    pool = _pool(manifest)
    train, validation = next(_grouped_folds(pool, seed=seed, folds=folds))
    return _split(pool, train, validation)


def _pool(manifest: pd.DataFrame) -> pd.DataFrame:
    pool = manifest[manifest["split"] != "test"]
    return pool.sort_values("path", ignore_index=True)


def _grouped_folds(pool: pd.DataFrame, *, seed: int, folds: int) -> Iterator[tuple[Rows, Rows]]:
    """Yields the rows to train on and the rows to score on, for each fold. Every row is scored on once."""
    if folds < 2:
        raise DatasetError(f"folds: expected 2 or more, got {folds}.")
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


def _split(pool: pd.DataFrame, train_rows: Rows, validation_rows: Rows) -> Split:
    parts = {"train": pool.iloc[train_rows], "validation": pool.iloc[validation_rows]}
    for part, rows in parts.items():
        if rows["label"].nunique() < 2:
            raise DatasetError(
                f"Dividing {pool['group'].nunique()} patients leaves images of one class only for {part}: too many of "
                "the images are of too few patients. Add images of other patients, or try another seed."
            )
    train, validation = (rows.reset_index(drop=True) for rows in parts.values())
    return Split(train, validation, _digest(parts))


def _digest(parts: dict[str, pd.DataFrame]) -> str:
    lines = sorted(
        f"{content}\0{path}\0{part}\n"
        for part, rows in parts.items()
        for content, path in zip(rows["content_hash"], rows["path"], strict=True)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
