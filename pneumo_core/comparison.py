"""Two models on the same images, each at its own operating point: what differs, and whether chance explains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from pneumo_core.calibration import calibrated
from pneumo_core.intervals import DRAWS, LEVEL, Interval, Spread, bootstrap_metrics, paired_spreads
from pneumo_core.operating_point import OperatingPoint
from pneumo_core.scores import Scores, read_aligned
from pneumo_core.weighted_metrics import UNCALIBRATED

CLASSES = {"sensitivity": 1, "specificity": 0}
"""The rate that a class's calls make → label of the class."""

_ROUNDING = 1e-9  # of a sum of shares that is none


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
    challenger: pd.DataFrame | Sequence[pd.DataFrame],
    champion: pd.DataFrame | Sequence[pd.DataFrame],
    points: tuple[OperatingPoint, OperatingPoint],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compares two models on the same images, each at its own operating point.

    Args:
        challenger: score table; or one for each seed, over which everything is a mean.
        champion: the same of the same images; the number of seeds may differ.
        points: of the challenger and of the champion. Where they were fitted on these images that flatters both.
        draws: how often patients are drawn; each draw goes through both models.
        seed: of the draws.

    Returns:
        The comparison. Intervals are over patients and, where there are several, over seeds. A difference of
        sensitivity or specificity reaches at least as far as its `score_interval`: where hardly a call changed, the
        draws hardly differ, however few patients there are.

    Raises:
        PneumoError: if these are not score tables of the same images.
    """
    ours, theirs = ([side] if isinstance(side, pd.DataFrame) else list(side) for side in (challenger, champion))
    spreads = _with_seeds(paired_spreads(ours, theirs, points, draws=draws, seed=seed), (ours, theirs), points)
    tables = read_aligned([*ours, *theirs])
    gained = _share_right(tables[: len(ours)], points[0]) - _share_right(tables[len(ours) :], points[1])
    of_both = tables[0]
    differences = {name: spread.interval() for name, spread in spreads.items() if name not in UNCALIBRATED}
    rates = {name: of_both.labels == label for name, label in CLASSES.items()}
    kinds = {name: (of_both.subtypes == name) & (of_both.labels == 1) for name in of_both.positive_subtypes()}
    for name, rows in (rates | {f"sensitivity_{kind}": rows for kind, rows in kinds.items()}).items():
        differences[name] = _widened(spreads[name], gained[rows], of_both.patients[rows])
    return Comparison(
        differences={name: one if name == "loss" else _possible(one) for name, one in differences.items()},
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
        gained: (N,) 1 where only the first model is right, -1 where only the second is, else 0; between them where it
            is a mean over seeds.
        patients: (N,) the patient of each image.

    Source:
        McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages".
    """
    by_patient = np.bincount(patients, weights=gained)
    better, worse = int((by_patient > _ROUNDING).sum()), int((by_patient < -_ROUNDING).sum())
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
    better, worse = float(gained[gained > 0].sum()), float(-gained[gained < 0].sum())
    variance = float((gained**2).sum() - gained.sum() ** 2 / images) / images**2  # if images were independent
    alike = max(spread.error**2 / variance, 1.0) if variance > _ROUNDING**2 else images / len(np.unique(patients))
    low, high = score_interval(better / alike, worse / alike, images / alike)
    return Interval(interval.value, min(interval.low, low), max(interval.high, high))


def _with_seeds(
    spreads: dict[str, Spread],
    sides: tuple[Sequence[pd.DataFrame], Sequence[pd.DataFrame]],
    points: tuple[OperatingPoint, OperatingPoint],
) -> dict[str, Spread]:
    """Adds to the error over patients what other seeds would change, where there are several of a model.

    Patients and the seeds of either model are causes of error that know nothing of one another; the degrees of freedom
    of their sum are Satterthwaite's (1946). A model of a single seed is taken to vary over seeds as the other does.
    """
    by_table = [
        bootstrap_metrics(read_aligned(side), point, draws=1).by_table
        for side, point in zip(sides, points, strict=True)
    ]
    several = [values for values in by_table if len(values) > 1]
    if len(several) == 2:
        causes = [(values.var(axis=0, ddof=1) / len(values), len(values) - 1) for values in several]
    else:
        share = sum(1 / len(side) for side in sides)
        causes = [(values.var(axis=0, ddof=1) * share, len(values) - 1) for values in several]
    return {
        name: _sum_of_errors(spread, [(float(variances[column]), freedom) for variances, freedom in causes])
        for column, (name, spread) in enumerate(spreads.items())
    }


def _sum_of_errors(spread: Spread, causes: Sequence[tuple[float, int]]) -> Spread:
    variances = [(spread.error**2, spread.freedom), *causes]
    total = sum(variance for variance, _ in variances)
    parts = sum(variance**2 / freedom for variance, freedom in variances)
    return Spread(spread.value, float(np.sqrt(total)), total**2 / parts if parts > 0 else spread.freedom)


def _possible(difference: Interval) -> Interval:
    """Of two numbers from 0 to 1: few seeds that differ much would reach beyond what can be."""
    return Interval(difference.value, max(difference.low, -1.0), min(difference.high, 1.0))


def _share_right(tables: Sequence[Scores], point: OperatingPoint) -> np.ndarray:
    """(N,) the share of the seeds that call each image as it should be."""
    called = [calibrated(table.logits, point.temperature) >= point.threshold for table in tables]
    right = [call == (table.labels == 1) for call, table in zip(called, tables, strict=True)]
    return np.asarray(np.mean(right, axis=0))
