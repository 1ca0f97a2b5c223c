"""Simulated score tables whose true metrics are known, to see how often intervals contain these."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats
from scipy.special import expit

from pneumo_core.calibration import ECE_BINS
from pneumo_core.operating_point import OperatingPoint
from pneumo_core.scores import Scores

SAME_PATIENT = 0.5
"""Correlation of the scores of two images of one patient."""

AGREEMENT = 0.5
"""Correlation of the scores that two models give one image of a class."""

FURTHER_IMAGES = 0.6
"""Mean number of images of a patient beyond the first; their number is geometric, so a few have many."""

TOO_SURE = 1.5
"""Logits are this many times the log likelihood ratio, so that there is something to calibrate."""

_GRID = np.linspace(-9, 14, 46_001)


@dataclasses.dataclass(frozen=True)
class World:
    """Where scores come from: normal in each class with variance 1, means `separation` apart, correlated in a patient.

    Attributes:
        auc: the true ROC AUC, over images of different patients.
        prevalence: share of the patients that are positive.
    """

    auc: float
    prevalence: float

    @property
    def separation(self) -> float:
        """Distance of the classes in standard deviations (binormal model)."""
        return float(np.sqrt(2) * stats.norm.ppf(self.auc))

    @property
    def point(self) -> OperatingPoint:
        """A threshold that was fixed beforehand: true sensitivity 0.9, temperature not quite enough."""
        score = self.separation + stats.norm.ppf(0.1)
        return OperatingPoint(float(expit(self.logit(score) / 1.2)), 1.2)

    def logit(self, score: np.ndarray | float) -> np.ndarray | float:
        """The model's logit of a score: too sure, and meant for equally many of both classes."""
        return TOO_SURE * (self.separation * score - self.separation**2 / 2)

    def tables(
        self, patients: int, rng: np.random.Generator, folds: int = 1, rival: float | None = None
    ) -> list[Scores]:
        """Draws a score table; with `rival` a second one of the same images, by a model of that true ROC AUC.

        Their scores of an image of a class have the correlation `AGREEMENT`.
        """
        positive = (np.arange(patients) < round(self.prevalence * patients)).astype(int)
        of_image = np.repeat(np.arange(patients), rng.geometric(1 / (1 + FURTHER_IMAGES), patients))
        labels = positive[of_image]
        kinds = np.where(labels == 0, "normal", np.where(of_image % 2 == 0, "bacteria", "virus"))
        of_patient, of_both = rng.normal(size=patients)[of_image], rng.normal(size=len(labels))
        tables = []
        for auc in (self.auc, rival) if rival else (self.auc,):
            common = np.sqrt(SAME_PATIENT) * of_patient + np.sqrt(1 - SAME_PATIENT) * of_both
            noise = np.sqrt(AGREEMENT) * common + np.sqrt(1 - AGREEMENT) * rng.normal(size=len(labels))
            logits = np.asarray(self.logit(np.sqrt(2) * stats.norm.ppf(auc) * labels + (noise if rival else common)))
            folds_of = (of_image % folds).astype(np.int64)
            tables.append(Scores(labels, expit(logits), logits, logits, of_image, folds_of, kinds))
        return tables

    def truth(self) -> dict[str, float]:
        """Computes the true value of every metric, by integration over the scores of each class."""
        point, share = self.point, self.prevalence
        density = np.stack([stats.norm.pdf(_GRID), stats.norm.pdf(_GRID - self.separation)])
        weight = density / density.sum(axis=1, keepdims=True) * np.array([[1 - share], [share]])
        logits = np.asarray(self.logit(_GRID))
        calls = expit(logits / point.temperature) >= point.threshold
        alarms, hits = (weight * calls).sum(axis=1)
        sensitivity, specificity = hits / share, 1 - alarms / (1 - share)
        above = np.cumsum(weight[:, ::-1], axis=1)[:, ::-1]
        return {
            "roc_auc": self.auc,
            "pr_auc": float((weight[1] * above[1] / above.sum(axis=0)).sum() / share),
            "accuracy": hits + 1 - share - alarms,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "f1": 2 * hits / (hits + alarms + share),
            "sensitivity": sensitivity,
            "specificity": specificity,
            "ppv": hits / (hits + alarms),
            "npv": (1 - share - alarms) / (1 - hits - alarms),
            "sensitivity_bacteria": sensitivity,
            "sensitivity_virus": sensitivity,
            **_calibration_truth(weight, logits / point.temperature, ""),
            **_calibration_truth(weight, logits, "uncalibrated_"),
        }


def _calibration_truth(weight: np.ndarray, logits: np.ndarray, prefix: str) -> dict[str, float]:
    probabilities = expit(logits)
    brier = (weight[0] * probabilities**2 + weight[1] * (1 - probabilities) ** 2).sum()
    loss = (weight[0] * np.logaddexp(0, logits) + weight[1] * np.logaddexp(0, -logits)).sum()
    inside = np.minimum((probabilities * ECE_BINS).astype(int), ECE_BINS - 1)
    bins = np.bincount(inside, weights=weight[1] - weight.sum(axis=0) * probabilities, minlength=ECE_BINS)
    return {f"{prefix}brier": brier, f"{prefix}loss": loss, f"{prefix}ece": float(np.abs(bins).sum())}
