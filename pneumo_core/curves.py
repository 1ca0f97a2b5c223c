"""Curves of a score table with the bands in which they would lie for other patients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import stats

from pneumo_core.intervals import LEVEL, Patients, patient_weights, wilson
from pneumo_core.scores import Scores

BAND_DRAWS = 400
"""Fewer than for a number: a band is looked at."""

GRID = np.linspace(0, 1, 201)


@dataclasses.dataclass(frozen=True)
class Band:
    """A curve over `GRID`, the mean of those of the folds, and its pointwise confidence band.

    Attributes:
        curve: (G,)
        low: (G,)
        high: (G,)
        of_folds: (F, G) the curve of each fold.
    """

    curve: np.ndarray
    low: np.ndarray
    high: np.ndarray
    of_folds: np.ndarray


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Observed against predicted frequency, in bins of equally many images.

    Attributes:
        predicted: (B,) mean probability in each bin.
        observed: (B,) share of positive images in each bin.
        low: (B,) lower ends of the intervals of the share.
        high: (B,) upper ends.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray


def roc_band(scores: Scores, draws: int = BAND_DRAWS, seed: int = 0) -> Band:
    """Returns the sensitivity over 1 - specificity, on straight lines between the points of a score each."""

    def at_grid(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
        return np.asarray(np.interp(GRID, np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1])))

    return _band(scores, at_grid, draws, seed)


def precision_recall_band(scores: Scores, draws: int = BAND_DRAWS, seed: int = 0) -> Band:
    """Returns the precision over recall: that of the highest threshold reaching the recall, as average precision."""

    def at_grid(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
        recall = hits / hits[-1]
        reached = np.searchsorted(recall, np.maximum(GRID, recall[recall > 0][0]) - 1e-12)
        return np.asarray(hits[reached] / (hits[reached] + alarms[reached]))

    return _band(scores, at_grid, draws, seed)


def reliability(
    scores: Scores, probabilities: np.ndarray, bins: int = 10, draws: int = BAND_DRAWS, seed: int = 0
) -> Reliability:
    """Compares observed and predicted frequencies; bins that would share an edge are one.

    Args:
        scores: labels and patients.
        probabilities: (N,) calibrated or not.
        bins: how many, at most.
        draws: how often patients are drawn.
        seed: of the draws.
    """
    edges = np.unique(np.quantile(probabilities, np.arange(1, bins) / bins))
    member = np.searchsorted(edges, probabilities, side="left")
    member = np.unique(member, return_inverse=True)[1]
    inside = np.eye(member.max() + 1)[member]
    counts = inside.sum(axis=0)
    observed = inside.T @ scores.labels / counts
    patients = Patients.of(scores)
    blocks = [weights[:, patients.of_image] for weights in patient_weights(patients, draws, seed)]
    with np.errstate(invalid="ignore"):
        drawn = np.concatenate([(block @ (inside * scores.labels[:, None])) / (block @ inside) for block in blocks])
    errors = np.nanstd(drawn, axis=0, ddof=1)
    evidence = [len(np.unique(scores.patients[member == number])) for number in range(len(counts))]
    quantile = float(stats.norm.ppf((1 + LEVEL) / 2))
    ends = [
        wilson(float(share), float(error), quantile, size)
        for share, error, size in zip(observed, errors, evidence, strict=True)
    ]
    return Reliability(
        inside.T @ probabilities / counts,
        observed,
        np.array([one.low for one in ends]),
        np.array([one.high for one in ends]),
    )


def _band(scores: Scores, at_grid: Callable[[np.ndarray, np.ndarray], np.ndarray], draws: int, seed: int) -> Band:
    folds = [_Levels(scores, rows) for rows in scores.fold_rows()]
    patients = Patients.of(scores)

    def curves(weights: np.ndarray) -> np.ndarray:
        images = weights[:, patients.of_image]
        return np.stack([[at_grid(*pair) for pair in zip(*fold(images), strict=True)] for fold in folds])

    of_folds = curves(np.ones((1, len(patients.classes))))[:, 0]
    drawn = np.concatenate([curves(weights).mean(axis=0) for weights in patient_weights(patients, draws, seed)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Band(of_folds.mean(axis=0), low, high, of_folds)


class _Levels:
    """How many positive and negative images of a fold are called, at each distinct score from the highest down."""

    def __init__(self, scores: Scores, rows: np.ndarray) -> None:
        ranking = scores.ranking[rows]
        self._rows = rows[np.argsort(-ranking, kind="stable")]
        ordered = scores.ranking[self._rows]
        self._ends = np.append(np.flatnonzero(np.diff(ordered)), len(rows) - 1)
        self._labels = scores.labels[self._rows]

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(D, N) weights → (D, L) hits and (D, L) false alarms."""
        weights = images[:, self._rows]
        hits = np.cumsum(weights * self._labels, axis=1)[:, self._ends]
        return hits, np.cumsum(weights * (1 - self._labels), axis=1)[:, self._ends]
