"""Metrics of one score table under many sets of image weights at once, by sums over sorted rows and matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pneumo_core.calibration import ECE_BINS, bin_of, calibrated
from pneumo_core.metric_names import METRIC_NAMES
from pneumo_core.operating_point import OperatingPoint
from pneumo_core.scores import Scores

UNCALIBRATED = ("uncalibrated_brier", "uncalibrated_ece", "uncalibrated_loss")
"""The same of the probabilities before the temperature was applied."""


def names_of(scores: Scores) -> tuple[str, ...]:
    """Returns what `WeightedMetrics` computes of a table: `METRIC_NAMES`, `UNCALIBRATED`, `sensitivity_<subtype>`."""
    return (*METRIC_NAMES, *UNCALIBRATED, *(f"sensitivity_{name}" for name in scores.positive_subtypes()))


class WeightedRanking:
    """ROC AUC and average precision of rows, for any weights of them; ties count half and together."""

    def __init__(self, labels: np.ndarray, ranking: np.ndarray) -> None:
        self._order = np.argsort(-ranking, kind="stable")
        self._labels = labels[self._order].astype(np.float64)
        levels = ranking[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(levels)), len(levels) - 1)
        self._ties = len(self._ends) < len(levels)

    def __call__(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Computes both for each set of weights.

        Args:
            weights: (D, N), 0 or more.

        Returns:
            ROC AUC (D,) and average precision (D,), as scikit-learn's with `sample_weight`; NaN without both classes.
        """
        ordered = weights[:, self._order]
        positive = ordered * self._labels
        above, called = np.cumsum(positive, axis=1), np.cumsum(ordered, axis=1)
        if self._ties:
            above, called = above[:, self._ends], called[:, self._ends]
            positive = np.diff(above, axis=1, prepend=0)
            ordered = np.diff(called, axis=1, prepend=0)
        total, whole = above[:, -1], called[:, -1].copy()
        # a pair is in order if the negative one stands below: all positives above it, and half of those beside it
        pairs = np.einsum("dn,dn->d", ordered - positive, above - positive / 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.divide(above, called, out=called, where=called > 0)
            return pairs / (total * (whole - total)), np.einsum("dn,dn->d", positive, precision) / total


class WeightedMetrics:
    """Every metric of a score table, for any weights of its images.

    Each is the mean over the table's folds (of those that define it), because each fold has a model of its own. The
    calibration errors alone are of all folds together: a fold's share of the images, spread over the bins, measures
    noise (`docs/evaluation.md`), and threshold and temperature are those of all folds together as well.
    """

    def __init__(self, scores: Scores, point: OperatingPoint) -> None:
        ready = calibrated(scores.logits, point.temperature)
        self._folds = [(rows, _FoldMetrics(scores, rows, ready, point.threshold)) for rows in scores.fold_rows()]
        self._differences = [_bin_columns(scores.labels, values) for values in (ready, scores.probabilities)]
        self._places = [names_of(scores).index(name) for name in ("ece", "uncalibrated_ece")]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Computes the metrics for each set of weights.

        Args:
            weights: (D, N), 0 or more.

        Returns:
            (D, M) in the order of `names_of`; NaN where a metric is undefined.
        """
        metrics = mean_of_defined([of_fold(weights[:, rows]) for rows, of_fold in self._folds])
        total = weights.sum(axis=1)
        for place, columns in zip(self._places, self._differences, strict=True):
            metrics = np.insert(metrics, place, np.abs(weights @ columns).sum(axis=1) / total, axis=1)
        return metrics


class _FoldMetrics:
    """Every metric of a fold's rows but the calibration errors."""

    def __init__(self, scores: Scores, rows: np.ndarray, ready: np.ndarray, threshold: float) -> None:
        labels = scores.labels[rows].astype(np.float64)
        called = (ready[rows] >= threshold).astype(np.float64)
        self._ranking = WeightedRanking(scores.labels[rows], scores.ranking[rows])
        members = [labels * (scores.subtypes[rows] == name) for name in scores.positive_subtypes()]
        losses = [*_losses(labels, ready[rows]), *_losses(labels, scores.probabilities[rows])]
        counts = [labels, 1 - labels, labels * called, (1 - labels) * called]
        by_subtype = [column for member in members for column in (member, member * called)]
        self._columns = np.column_stack([*counts, *losses, *by_subtype])

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """(D, N) → (D, M)."""
        auc, precision = self._ranking(weights)
        positives, negatives, hits, alarms, *sums = (weights @ self._columns).T
        total, misses, spared = positives + negatives, positives - hits, negatives - alarms
        losses, subtypes = sums[:4], sums[4:]
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity, specificity = hits / positives, spared / negatives
            metrics = [
                auc,
                precision,
                (hits + spared) / total,
                (sensitivity + specificity) / 2,
                2 * hits / (2 * hits + alarms + misses),
                sensitivity,
                specificity,
                hits / (hits + alarms),
                spared / (spared + misses),
                *(loss / total for loss in losses),
                *(called / there for there, called in zip(subtypes[::2], subtypes[1::2], strict=True)),
            ]
        return np.column_stack(metrics)


def mean_of_defined(values: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean over arrays of the same shape, element by element, leaving out NaN; NaN where all are."""
    if len(values) == 1:
        return values[0]
    stacked = np.stack(values)
    defined = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, stacked, 0).sum(axis=0) / defined.sum(axis=0))


def _losses(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) squared error and cross-entropy of each image."""
    smallest = np.finfo(np.float64).eps  # as scikit-learn clips
    own = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), smallest, 1)
    return (labels - probabilities) ** 2, -np.log(own)


def _bin_columns(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N, bins) difference of observed and predicted, in the column of the image's bin."""
    columns = np.zeros((len(labels), ECE_BINS))
    columns[np.arange(len(labels)), bin_of(probabilities)] = labels - probabilities
    return columns
