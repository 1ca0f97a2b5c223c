"""Metrics of one score table under many sets of image weights at once, by sums over sorted rows and matrix products."""

from __future__ import annotations

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
    """Every metric of a fold's rows, for any weights of them."""

    def __init__(self, scores: Scores, rows: np.ndarray, point: OperatingPoint) -> None:
        labels = scores.labels[rows].astype(np.float64)
        ready = calibrated(scores.logits[rows], point.temperature)
        called = (ready >= point.threshold).astype(np.float64)
        self._ranking = WeightedRanking(scores.labels[rows], scores.ranking[rows])
        self._subtypes = scores.positive_subtypes()
        counts = [labels, 1 - labels, labels * called, (1 - labels) * called]
        for name in self._subtypes:
            member = labels * (scores.subtypes[rows] == name)
            counts += [member, member * called]
        self._columns = np.column_stack(
            [*counts, *_calibration_columns(labels, ready), *_calibration_columns(labels, scores.probabilities[rows])]
        )
        self._counts = len(counts)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Computes the metrics for each set of weights.

        Args:
            weights: (D, N), 0 or more.

        Returns:
            (D, M) in the order of `names_of`; NaN where a metric is undefined.
        """
        auc, precision = self._ranking(weights)
        sums = (weights @ self._columns).T
        positives, negatives, hits, alarms = sums[:4]
        total, misses, spared = positives + negatives, positives - hits, negatives - alarms
        calibration = sums[self._counts :] / total
        half = len(calibration) // 2
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
                *_calibration_metrics(calibration[:half]),
                *_calibration_metrics(calibration[half:]),
            ]
            metrics += [sums[row + 1] / sums[row] for row in range(4, self._counts, 2)]
        return np.column_stack(metrics)


def _calibration_columns(labels: np.ndarray, probabilities: np.ndarray) -> list[np.ndarray]:
    """What sums up to Brier score, log loss, and the difference of observed and predicted in each bin of the ECE."""
    smallest = np.finfo(np.float64).eps  # as scikit-learn clips
    own = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), smallest, 1)
    bins = bin_of(probabilities)
    inside = [(labels - probabilities) * (bins == number) for number in range(ECE_BINS)]
    return [(labels - probabilities) ** 2, -np.log(own), *inside]


def _calibration_metrics(means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return means[0], np.abs(means[2:]).sum(axis=0), means[1]
