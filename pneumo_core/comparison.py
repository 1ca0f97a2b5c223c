"""Two models on the same test images, each at its own operating point: what differs, and whether chance explains it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from pneumo_core.calibration import calibrated
from pneumo_core.intervals import DRAWS, LEVEL, Interval, Spread, paired_spreads
from pneumo_core.operating_point import OperatingPoint
from pneumo_core.scores import Scores, read_aligned
from pneumo_core.weighted_metrics import UNCALIBRATED

CLASSES = {"sensitivity": 1, "specificity": 0}
"""The rate that a class's calls make → label of the class."""


@dataclasses.dataclass(frozen=True)
class ChangedCalls:
    """McNemar's test within a class, over patients.

    Attributes:
        better: patients of whose images the challenger calls more right than the champion does.
        worse: patients of whose images it calls fewer right.
        p_value: of so uneven a division, or one more uneven, if neither model were better (two-sided, exact).
    """

    better: int
    worse: int
    p_value: float

    def is_worse(self, level: float) -> bool:
        """Returns whether the challenger is worse beyond what chance explains at a level such as 0.05."""
        return self.worse > self.better and self.p_value < level


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        differences: metric, `sensitivity_<kind>` among them → challenger less champion, with its 95 % interval.
        changed: `sensitivity` and `specificity` → McNemar's test among the images of that class.
        images: how many both models scored.
        patients: whose images these are.
    """

    differences: dict[str, Interval]
    changed: dict[str, ChangedCalls]
    images: int
    patients: int

    def to_mapping(self) -> dict[str, Any]:
        """Returns the comparison for JSON: no NaN, but None."""
        return dataclasses.asdict(self) | {
            "differences": {name: one.to_mapping() for name, one in self.differences.items()}
        }


def compare(
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    points: tuple[OperatingPoint, OperatingPoint],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compares two models on the same images, each at its own operating point.

    Args:
        challenger: score table.
        champion: score table of the same images.
        points: of the challenger and of the champion, as fixed before these images were seen.
        draws: how often patients are drawn; each draw goes through both models.
        seed: of the draws.

    Returns:
        The comparison. A difference of sensitivity or specificity reaches at least as far as its `score_interval`:
        where hardly a call changed, the draws hardly differ, however few patients there are.

    Raises:
        PneumoError: if these are not score tables of the same images.
    """
    spreads = paired_spreads([challenger], [champion], points, draws=draws, seed=seed)
    tables = read_aligned([challenger, champion])
    right = [_called_right(table, point) for table, point in zip(tables, points, strict=True)]
    gained = right[0].astype(int) - right[1].astype(int)
    of_both = tables[0]
    differences = {name: spread.interval() for name, spread in spreads.items() if name not in UNCALIBRATED}
    rates = {name: of_both.labels == label for name, label in CLASSES.items()}
    kinds = {name: (of_both.subtypes == name) & (of_both.labels == 1) for name in of_both.positive_subtypes()}
    for name, rows in (rates | {f"sensitivity_{kind}": rows for kind, rows in kinds.items()}).items():
        differences[name] = _widened(spreads[name], gained[rows], of_both.patients[rows])
    return Comparison(
        differences=differences,
        changed={name: changed_calls(gained[rows], of_both.patients[rows]) for name, rows in rates.items()},
        images=len(of_both.labels),
        patients=len(np.unique(of_both.patients)),
    )


def changed_calls(gained: np.ndarray, patients: np.ndarray) -> ChangedCalls:
    """Tests whether one model calls more images of a class right than another.

    McNemar's test asks how the images whose call changed divide into fixed and broken ones. It takes images as
    independent, and those of one patient are not: thirty images of one child that change together are one observation,
    not thirty. So patients are counted, each by the sign of its fixed less its broken images. If neither model were
    better, either sign would be as likely, whatever goes on within a patient, and the number of patients on one side
    binomial with 1/2: the sign test, which is exact however few they are. With one image a patient it is McNemar's
    exact test. Patients with as many fixed as broken images say nothing and are left out.

    Args:
        gained: (N,) 1 where only the first model is right, -1 where only the second is, else 0.
        patients: (N,) the patient of each image.

    Source:
        McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages".
    """
    by_patient = np.bincount(patients, weights=gained)
    better, worse = int((by_patient > 0).sum()), int((by_patient < 0).sum())
    p_value = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return ChangedCalls(better, worse, p_value)


def score_interval(better: float, worse: float, images: float) -> tuple[float, float]:
    """Returns the ends of the 95 % score interval of a paired difference of rates, such as two sensitivities.

    It holds the differences that so many changed calls do not speak against. If none of 20 changed, up to one in six
    may be worse all the same.

    Args:
        better: independent images that the first model calls right and the second does not.
        worse: the other way round.
        images: how many there are.

    Source:
        Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
        design".
    """
    return -_upper_score_bound(worse, better, images), _upper_score_bound(better, worse, images)


def _upper_score_bound(more: float, less: float, images: float) -> float:
    quantile = float(stats.norm.ppf((1 + LEVEL) / 2))

    def too_small(difference: float) -> float:
        linear = (2 * images - more + less) * difference - more - less
        product = 8 * images * less * difference * (1 - difference)
        share = (np.sqrt(max(linear**2 + product, 0.0)) - linear) / (4 * images)  # of `less`, were this the truth
        variance = images * (2 * share + difference * (1 - difference))
        return float(more - less - images * difference + quantile * np.sqrt(max(variance, 0.0)))

    above = (more - less) / images + 1e-9  # at the difference itself both terms may be nought
    return float(optimize.brentq(too_small, above, 1.0)) if above < 1 else 1.0


def _widened(spread: Spread, gained: np.ndarray, patients: np.ndarray) -> Interval:
    """Returns the interval of a difference, reaching at least as far as the score interval.

    That is of as many independent images as give the standard error over the draws. Where no call changed these tell
    nothing, and there are as many as patients.
    """
    interval, images = spread.interval(), len(gained)
    if not images or np.isnan(spread.error):
        return interval
    better, worse = int((gained > 0).sum()), int((gained < 0).sum())
    variance = (better + worse - (better - worse) ** 2 / images) / images**2  # if images were independent
    alike = max(spread.error**2 / variance, 1.0) if variance > 0 else images / len(np.unique(patients))
    low, high = score_interval(better / alike, worse / alike, images / alike)
    return Interval(interval.value, min(interval.low, low), max(interval.high, high))


def _called_right(table: Scores, point: OperatingPoint) -> np.ndarray:
    """(N,) whether each image is called as it should be."""
    called = calibrated(table.logits, point.temperature) >= point.threshold
    return np.asarray(called == (table.labels == 1))
