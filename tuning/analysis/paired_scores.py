"""Two trials on the same validation images: whether chance explains the difference of their scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pneumo_core.comparison import Comparison, compare
from pneumo_core.errors import PneumoError, StudyError
from pneumo_core.operating_point import OperatingPoint


@dataclasses.dataclass(frozen=True)
class ScoredTrial:
    """The validation scores of a trial.

    Attributes:
        tables: score tables, one for each seed.
        point: threshold and temperature that these scores chose.
    """

    tables: Sequence[pd.DataFrame]
    point: OperatingPoint


@dataclasses.dataclass(frozen=True)
class PairedScores:
    """A trial beside the reference.

    Attributes:
        comparison: the trial's metrics less the reference's.
        left_out: images that only one of them has scored, or that cannot be used, see `shared_images`.
        models: how many pairs of models scored the images: the folds, where both have the same.
    """

    comparison: Comparison
    left_out: int
    models: int

    def to_mapping(self) -> dict[str, Any]:
        """Returns all of it for JSON: no NaN, but None."""
        return {**self.comparison.to_mapping(), "left_out": self.left_out, "pairs_of_models": self.models}


def compare_scores(trial: ScoredTrial, reference: ScoredTrial) -> PairedScores:
    """Compares two trials on the images that both have scored, each at its own operating point.

    Raises:
        PneumoError: if there are no such images, or they have other labels or patients.
    """
    ours, theirs = shared_images(trial.tables, reference.tables)
    everything = set(trial.tables[0]["path"]) | set(reference.tables[0]["path"])
    comparison = compare(ours, theirs, (trial.point, reference.point))
    return PairedScores(comparison, len(everything) - len(ours[0]), int(ours[0]["fold"].nunique()))


def shared_images(
    first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame]
) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    """Returns the rows of the images that both trials have scored, in one order.

    Where the trials were divided in the same folds these stay. Where not, images that were scored by the same pair of
    models make a fold: within it neither side mixes scores of several models, which do not rank one another's. Such a
    fold that lacks a class is left out.

    Args:
        first: score tables of a trial, one for each seed.
        second: of another on the same data.

    Raises:
        PneumoError: if no images are left.
    """
    sides = [_by_path(tables) for tables in (first, second)]
    both = pd.DataFrame({"ours": sides[0][0]["fold"], "theirs": sides[1][0]["fold"]}).dropna()
    both["fold"] = both.groupby(["ours", "theirs"]).ngroup()
    labels = sides[0][0].loc[both.index, "label"]
    both = both[labels.groupby(both["fold"]).transform("nunique") == 2]
    if both.empty:
        raise StudyError(
            "expected images of both classes that both trials have scored, got none; compare trials whose studies "
            "divide the images alike."
        )
    ours, theirs = (
        [table.loc[both.index].assign(fold=both["fold"]).reset_index() for table in tables] for tables in sides
    )
    return ours, theirs


def _by_path(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Tables of earlier versions have no folds: theirs are of a hold-out."""
    for table in tables:
        if table["path"].duplicated().any():
            raise PneumoError("scores: expected a row for each image, got several of one; compare other trials.")
    return [(table if "fold" in table else table.assign(fold=0)).set_index("path").sort_index() for table in tables]
