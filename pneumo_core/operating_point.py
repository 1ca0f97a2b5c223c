"""Where scores become calls: a threshold and a temperature, fitted on validation scores and then left alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pneumo_core.calibration import calibrated, fit_temperature
from pneumo_core.errors import ConfigError, PneumoError
from pneumo_core.scores import read_aligned

RULES = ("sensitivity", "youden")
DEFAULT_RULE, DEFAULT_TARGET = "sensitivity", 0.95


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """What turns a logit into a probability, and a probability into a call.

    Attributes:
        threshold: images whose calibrated probability is at least this are called positive.
        temperature: the calibrated probability is sigmoid(logit / temperature).
        rule: how the threshold was chosen: one of `RULES`, or `"given"`.
        target: the sensitivity asked for, where the rule has one.
    """

    threshold: float
    temperature: float = 1.0
    rule: str = "given"
    target: float | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)

    def in_words(self) -> str:
        """Returns the operating point as a phrase."""
        origin = {
            "sensitivity": f", the highest with a sensitivity of {self.target} on the scores it was chosen on",
            "youden": ", chosen for the largest sensitivity + specificity",
        }.get(self.rule, ", as given")
        temperature = "" if self.temperature == 1 else f"; temperature {self.temperature:.3g}"
        return f"threshold {self.threshold:.4g}{origin}{temperature}"


def fit_operating_point(
    scores: pd.DataFrame | Sequence[pd.DataFrame], rule: str = DEFAULT_RULE, target: float = DEFAULT_TARGET
) -> OperatingPoint:
    """Fits the temperature, then chooses the threshold on the calibrated probabilities.

    Args:
        scores: table of validation images; or several of the same images, one for each seed. All rows of all folds and
            seeds are pooled: one temperature and one threshold have to serve whichever model comes of them.
        rule: one of `RULES`.
        target: the least sensitivity, for the rule of that name.

    Raises:
        ConfigError: if there is no such rule or target.
        PneumoError: if the tables are not score tables of the same images.
    """
    tables = read_aligned([scores] if isinstance(scores, pd.DataFrame) else scores)
    logits = np.concatenate([table.logits for table in tables])
    labels = np.concatenate([table.labels for table in tables])
    temperature = fit_temperature(logits, labels)
    threshold = choose_threshold(labels, calibrated(logits, temperature), rule, target)
    return OperatingPoint(threshold, temperature, rule, target if rule == "sensitivity" else None)


def check_rule(rule: str, target: float) -> None:
    """Makes sure that a threshold can be chosen so.

    Raises:
        ConfigError: if there is no such rule or target.
    """
    if rule not in RULES:
        raise ConfigError(f"threshold rule: expected one of {', '.join(RULES)}; got {rule}.")
    if not 0 < target <= 1:
        raise ConfigError(f"target sensitivity: expected a number over 0, to 1; got {target}.")


def choose_threshold(
    labels: np.ndarray, probabilities: np.ndarray, rule: str = DEFAULT_RULE, target: float = DEFAULT_TARGET
) -> float:
    """Chooses the threshold at which and above which an image is called positive.

    Every threshold between two neighbouring scores makes the same calls. The one midway is returned, so that a score
    that comes out differently in its last digits is called as before; where no score lies below, the lowest score.

    Args:
        labels: (N,) 0 or 1, with both.
        probabilities: (N,) in [0, 1], of validation images.
        rule: `"sensitivity"` for the highest threshold at which at least a share `target` of the positives is called;
            `"youden"` for the largest sensitivity + specificity - 1 (Youden 1950), of equals the one with the highest
            sensitivity.
        target: over 0 to 1.

    Raises:
        ConfigError: if there is no such rule or target.
        PneumoError: if a class is missing.
    """
    check_rule(rule, target)
    if set(np.unique(labels)) != {0, 1}:
        raise PneumoError(f"threshold: expected scores of both classes, got labels {np.unique(labels).tolist()}.")
    levels, sensitivity, specificity, positives = _at_each_level(labels, probabilities)
    if rule == "sensitivity":
        # 0.95 of 20 is 19, whatever the last digit of the product says
        needed = math.ceil(target * positives - 1e-9)
        chosen = int(np.flatnonzero(np.rint(sensitivity * positives) >= needed)[-1])
    else:
        gain = sensitivity + specificity
        chosen = int(np.flatnonzero(gain >= gain.max() - 1e-12)[0])
    return _midway(levels, chosen)


def _at_each_level(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Distinct scores, rising, and what calling from each of them on comes to."""
    levels, level = np.unique(probabilities, return_inverse=True)
    positive = np.bincount(level, weights=labels, minlength=len(levels))
    negative = np.bincount(level, minlength=len(levels)) - positive
    called = np.cumsum(positive[::-1])[::-1]
    spared = np.cumsum(negative) - negative
    return levels, called / positive.sum(), spared / negative.sum(), int(positive.sum())


def _midway(levels: np.ndarray, chosen: int) -> float:
    upper = float(levels[chosen])
    if chosen == 0:
        return upper
    lower = float(levels[chosen - 1])
    middle = (lower + upper) / 2
    return middle if lower < middle else upper  # between neighbouring floats there is nothing
