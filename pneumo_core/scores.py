"""A score table as arrays, checked: what metrics, operating points and intervals are computed from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.special import logit

from pneumo_core.errors import PneumoError

_SMALLEST = np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True)
class Scores:
    """The columns of a score table, a row for each image.

    Attributes:
        labels: (N,) 0 or 1.
        probabilities: (N,) float64 in [0, 1], of the positive class.
        logits: (N,) float64; from the probabilities where the table has none.
        ranking: (N,) what orders the images: the logits where the table has them, else the probabilities. Sigmoids
            saturate, so probabilities may tie where logits do not.
        patients: (N,) int, the patient of each image as a number from 0; in the order of the patients' names.
        folds: (N,) int, the fold in which the image was scored; 0 where the table has none.
        subtypes: (N,) str; empty where the table has none.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    logits: np.ndarray
    ranking: np.ndarray
    patients: np.ndarray
    folds: np.ndarray
    subtypes: np.ndarray

    def fold_rows(self) -> Iterator[np.ndarray]:
        """Yields the positions of the rows of each fold."""
        for fold in np.unique(self.folds):
            yield np.flatnonzero(self.folds == fold)

    def positive_subtypes(self) -> list[str]:
        """Returns the names of the kinds of positive images, if there are several."""
        names = [str(name) for name in np.unique(self.subtypes[self.labels == 1]) if name]
        return names if len(names) > 1 else []


def read_scores(table: pd.DataFrame) -> Scores:
    """Reads and checks a score table.

    Args:
        table: with the columns label and probability; logit, group, fold and subtype are taken where they are there.
            Without group every image is a patient of its own.

    Raises:
        PneumoError: if a score is not a number in its range, or a fold lacks a class.
    """
    labels = table["label"].to_numpy()
    probabilities = table["probability"].to_numpy(dtype=np.float64)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise PneumoError("scores: expected probabilities from 0 to 1, got values outside or not numbers.")
    logits = ranking = table["logit"].to_numpy(dtype=np.float64) if "logit" in table else None
    if logits is None:
        logits, ranking = logit(np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)), probabilities
    if not np.isfinite(logits).all():
        raise PneumoError("scores: expected logits that are finite numbers, got others; score the images again.")
    folds = table["fold"].to_numpy().astype(np.int64) if "fold" in table else np.zeros(len(table), np.int64)
    _require_both_classes(labels, folds)
    names = table["group"].astype(str).to_numpy() if "group" in table else np.arange(len(table))
    subtypes = table["subtype"].astype(str).to_numpy() if "subtype" in table else np.full(len(table), "")
    patients = np.unique(names, return_inverse=True)[1]
    return Scores(labels.astype(np.int64), probabilities, logits, np.asarray(ranking), patients, folds, subtypes)


def read_aligned(tables: Sequence[pd.DataFrame]) -> list[Scores]:
    """Reads score tables of the same images, such as those of several seeds, in the order of the first.

    Raises:
        PneumoError: if there is none, or they are not of the same images with the same labels and patients.
    """
    if not tables:
        raise PneumoError("scores: expected at least one score table, got none.")
    aligned = [tables[0], *(_in_order_of(tables[0], table) for table in tables[1:])]
    return [read_scores(table) for table in aligned]


def _in_order_of(first: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    same = len(first) == len(table)
    if same and "path" in first and "path" in table:
        same = set(first["path"]) == set(table["path"]) and not first["path"].duplicated().any()
        table = table.set_index("path", drop=False).loc[first["path"]].reset_index(drop=True) if same else table
    columns = [name for name in ("label", "group", "fold") if name in first and name in table]
    # as words: a patient called 17 is a number in a table that was read from a file, and a word where it was made
    if not same or any(first[name].astype(str).tolist() != table[name].astype(str).tolist() for name in columns):
        raise PneumoError(
            f"scores: expected tables of the same images with the same labels, patients and folds, got {len(first)} "
            f"and {len(table)} rows that differ; compare scores of one evaluation only."
        )
    return table


def _require_both_classes(labels: np.ndarray, folds: np.ndarray) -> None:
    for fold in np.unique(folds) if len(folds) else [0]:
        found = sorted(set(labels[folds == fold].tolist()))
        if found != [0, 1]:
            where = f"in fold {fold}, " if len(np.unique(folds)) > 1 else ""
            raise PneumoError(f"scores: expected images of both classes, {where}got labels {found}.")
