"""Confidence intervals by a bootstrap over patients, because images of one patient are no independent evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from pneumo_core.calibration import calibrated
from pneumo_core.operating_point import OperatingPoint, fit_operating_point
from pneumo_core.scores import Scores, read_aligned
from pneumo_core.seeds import generator
from pneumo_core.weighted_metrics import WeightedMetrics, WeightedRanking, mean_of_defined, names_of

DRAWS, LEVEL = 2000, 0.95
_BLOCK = 100  # draws whose weights are held at once; part of the key of the random numbers


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and the ends of its confidence interval; NaN where undefined."""

    value: float
    low: float
    high: float

    def to_mapping(self) -> dict[str, float | None]:
        """Returns the numbers for JSON, None for NaN."""
        return {name: None if np.isnan(number) else number for name, number in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True)
class Patients:
    """The patients of a score table, in the strata within which they are drawn.

    Attributes:
        of_image: (N,) int, the patient of each image.
        strata: for each stratum the numbers of its patients.
        classes: (P,) 1 for patients with a positive image.
    """

    of_image: np.ndarray
    strata: tuple[np.ndarray, ...]
    classes: np.ndarray

    @classmethod
    def of(cls, scores: Scores) -> Patients:
        """Groups patients by class and fold: a split fixes how many there are of each, chance does not."""
        first = np.unique(scores.patients, return_index=True)[1]
        positive = np.bincount(scores.patients, weights=scores.labels) > 0
        stratum = np.unique(np.stack([scores.folds[first], positive]), axis=1, return_inverse=True)[1].ravel()
        groups = tuple(np.flatnonzero(stratum == number) for number in np.unique(stratum))
        return cls(scores.patients, groups, positive.astype(int))

    def smaller_class(self) -> int:
        """Returns how many patients there are of the rarer class."""
        return int(min(np.bincount(self.classes, minlength=2)))

    def pairs(self) -> int:
        """Returns how many pairs of a positive and a negative patient there are."""
        return int(np.prod(np.bincount(self.classes, minlength=2)))

    def quantile(self, evidence: int) -> float:
        """Returns how many standard errors an interval reaches to either side: Student's t.

        Args:
            evidence: how many patients the metric rests on; its spread is judged by no more of them than there are of
                the rarer class, each fold taking one for its mean.
        """
        return float(stats.t.ppf((1 + LEVEL) / 2, self.freedom(evidence)))

    def freedom(self, evidence: int) -> float:
        """Returns the degrees of freedom of a standard error, see `quantile`."""
        folds = len(self.strata) / 2
        return max(min(evidence, self.smaller_class()) - folds, 1)


def patient_weights(patients: Patients, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yields how often each patient was drawn, for blocks of draws.

    Of the m patients of a stratum m - 1 are drawn with replacement, each counting m / (m - 1): so the variance over the
    draws is unbiased for sums, where drawing m would make it too small by the factor (m - 1) / m, which is a tenth in
    folds of small studies. A patient alone in a stratum is always drawn.

    Args:
        patients: whom to draw from.
        draws: how many sets to draw in all.
        seed: 0 or more; the same draws for the same seed.

    Yields:
        (D, P) float64.

    Source:
        Rao & Wu 1988, "Resampling Inference With Complex Survey Data".
    """
    for block, start in enumerate(range(0, draws, _BLOCK)):
        rng = generator(seed, "bootstrap", block)
        size = min(_BLOCK, draws - start)
        weights = np.empty((size, len(patients.classes)))
        for group in patients.strata:
            weights[:, group] = _resampled(rng, size, len(group))
        yield weights


def _resampled(rng: np.random.Generator, size: int, members: int) -> np.ndarray:
    if members == 1:
        return np.ones((size, 1))
    chosen = rng.integers(members, size=(size, members - 1)) + members * np.arange(size)[:, None]
    counts = np.bincount(chosen.ravel(), minlength=size * members).reshape(size, members)
    return counts * (members / (members - 1))


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Metrics of score tables, and of the same tables with their patients drawn anew.

    Attributes:
        names: of the metrics.
        by_table: (T, M) of the images as they are.
        draws: (D, M), means over the tables.
        patients: who was drawn.
        evidence: (M,) how many patients a metric rests on; of those that rest on both classes, the rarer one.
    """

    names: tuple[str, ...]
    by_table: np.ndarray
    draws: np.ndarray
    patients: Patients
    evidence: np.ndarray

    def intervals(self) -> dict[str, Interval]:
        """Returns the interval of each metric."""
        values = mean_of_defined(list(self.by_table))
        return {name: self._interval(name, float(values[column]), column) for column, name in enumerate(self.names)}

    def _interval(self, name: str, value: float, column: int) -> Interval:
        draws = self.draws[:, column]
        draws = draws[~np.isnan(draws)]
        if np.isnan(value) or len(draws) < 2:
            return Interval(value, np.nan, np.nan)
        evidence = max(int(self.evidence[column]), 1)  # counted in the first table, which may have nobody
        quantile = self.patients.quantile(evidence)
        if name.endswith("ece"):
            return reflected(value, draws)
        if name.endswith(("brier", "loss")):
            ends = on_log_scale(value, float(draws.std(ddof=1)), quantile)
            return dataclasses.replace(ends, high=min(ends.high, 1.0)) if name.endswith("brier") else ends
        if name.endswith("_auc") and 0 < value < 1:
            return on_logit_scale(value, draws, quantile, self.patients.pairs())
        return wilson(value, float(draws.std(ddof=1)), quantile, evidence)


def bootstrap_metrics(tables: Sequence[Scores], point: OperatingPoint, draws: int = DRAWS, seed: int = 0) -> Bootstrap:
    """Computes every metric, and what it comes to for other draws of the patients.

    A metric of several tables is the mean over these, and one draw of patients goes through all of them.

    Args:
        tables: of the same images in the same order, one for each seed.
        point: threshold and temperature, taken as given.
        draws: how often patients are drawn.
        seed: of the draws.
    """
    metrics = [WeightedMetrics(table, point) for table in tables]
    patients = Patients.of(tables[0])

    def by_table(weights: np.ndarray) -> list[np.ndarray]:
        images = weights[:, patients.of_image]
        return [of_table(images) for of_table in metrics]

    return Bootstrap(
        names=names_of(tables[0]),
        by_table=np.concatenate(by_table(np.ones((1, len(patients.classes))))),
        draws=np.concatenate(
            [mean_of_defined(by_table(weights)) for weights in patient_weights(patients, draws, seed)]
        ),
        patients=patients,
        evidence=_evidence(tables[0], point, patients),
    )


@dataclasses.dataclass(frozen=True)
class Spread:
    """A value, its standard error over patients, and the degrees of freedom that this is known with."""

    value: float
    error: float
    freedom: float

    def interval(self) -> Interval:
        """Returns the interval by Student's t."""
        reach = float(stats.t.ppf((1 + LEVEL) / 2, self.freedom)) * self.error
        return Interval(self.value, self.value - reach, self.value + reach)


def paired_auc_difference(
    first: pd.DataFrame | Sequence[pd.DataFrame],
    second: pd.DataFrame | Sequence[pd.DataFrame],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Compares the ROC AUC of two models on the same images: each draw of patients goes through both.

    Args:
        first: score table, or one for each seed; then its AUC is the mean over these.
        second: the same of the other model; the number of seeds may differ.
        draws: how often patients are drawn.
        seed: of the draws.

    Returns:
        AUC of the first less that of the second. The ends are the value, less and plus the t quantile times the
        standard deviation over the draws.

    Raises:
        PneumoError: if the tables are not score tables of the same images.
    """
    sides = [[side] if isinstance(side, pd.DataFrame) else list(side) for side in (first, second)]
    return _auc_spread(sides[0], sides[1], draws, seed).interval()


def paired_spread(
    first: Sequence[pd.DataFrame],
    second: Sequence[pd.DataFrame],
    metric: str,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Spread:
    """Compares a metric of two models on the same images, each at the operating point that its scores choose.

    Args:
        first: score tables of the first model, one for each seed.
        second: the same of the other.
        metric: one of `METRIC_NAMES`.
        draws: how often patients are drawn; each draw goes through both models.
        seed: of the draws.

    Returns:
        The first's less the second's.

    Raises:
        PneumoError: if the tables are not score tables of the same images.
    """
    if metric == "roc_auc":
        return _auc_spread(first, second, draws, seed)
    return paired_spreads(first, second, draws=draws, seed=seed)[metric]


def paired_spreads(
    first: Sequence[pd.DataFrame],
    second: Sequence[pd.DataFrame],
    points: tuple[OperatingPoint, OperatingPoint] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Spread]:
    """Compares every metric of two models on the same images.

    Args:
        first: score tables of the first model, one for each seed.
        second: the same of the other.
        points: operating points of the first and the second model; None to fit each on its own scores.
        draws: how often patients are drawn; each draw goes through both models.
        seed: of the draws.

    Returns:
        Metric, as of `pneumo_core.weighted_metrics.names_of` → the first's less the second's.

    Raises:
        PneumoError: if the tables are not score tables of the same images.
    """
    tables = read_aligned([*first, *second])
    ours, theirs = points or (fit_operating_point(first), fit_operating_point(second))
    one = bootstrap_metrics(tables[: len(first)], ours, draws, seed)
    other = bootstrap_metrics(tables[len(first) :], theirs, draws, seed)
    values = mean_of_defined(list(one.by_table)) - mean_of_defined(list(other.by_table))
    drawn = one.draws - other.draws
    return {
        name: Spread(
            float(values[column]),
            _deviation(drawn[:, column]),
            one.patients.freedom(int(min(one.evidence[column], other.evidence[column]))),
        )
        for column, name in enumerate(one.names)
    }


def _deviation(drawn: np.ndarray) -> float:
    """The standard deviation of the draws that are defined; NaN where there are none, as of a PPV without calls."""
    defined = drawn[~np.isnan(drawn)]
    return float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")


def _auc_spread(first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], draws: int, seed: int) -> Spread:
    tables = read_aligned([*first, *second])
    signs = np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])
    patients = Patients.of(tables[0])
    folds = [
        [(rows, WeightedRanking(table.labels[rows], table.ranking[rows])) for rows in table.fold_rows()]
        for table in tables
    ]

    def difference(weights: np.ndarray) -> np.ndarray:
        images = weights[:, patients.of_image]
        aucs = [mean_of_defined([of_fold(images[:, rows])[0] for rows, of_fold in table]) for table in folds]
        return np.asarray(signs @ np.stack(aucs))

    value = float(difference(np.ones((1, len(patients.classes))))[0])
    drawn = np.concatenate([difference(weights) for weights in patient_weights(patients, draws, seed)])
    return Spread(value, float(np.nanstd(drawn, ddof=1)), patients.freedom(patients.smaller_class()))


def wilson(value: float, error: float, quantile: float, evidence: int) -> Interval:
    """Returns Wilson's interval of a number from 0 to 1, for as many independent images as give its standard error.

    Where the value is 0 or 1 every draw agrees with it, and says nothing about how sure that is; then there are as many
    independent images as patients.

    Args:
        value: 0 to 1.
        error: standard deviation over the draws.
        quantile: how many standard errors to either side.
        evidence: number of patients.

    Source:
        Wilson 1927; the effective sample size as in Korn & Graubard 1998; for the AUC, Newcombe 2006.
    """
    size = value * (1 - value) / error**2 if 0 < value < 1 and error > 0 else evidence
    spread = quantile**2 / size
    centre = (value + spread / 2) / (1 + spread)
    reach = np.sqrt(spread * (value * (1 - value) + spread / 4)) / (1 + spread)
    return Interval(value, min(max(float(centre - reach), 0.0), value), max(min(float(centre + reach), 1.0), value))


def on_logit_scale(value: float, draws: np.ndarray, quantile: float, pairs: int) -> Interval:
    """Returns an interval of an area under a curve, as far on either side in logits.

    The standard error is read off the range of the middle 95 % of the draws, in logits. Near 1 it so is larger than
    that of the delta method, which small samples make too small. A draw of 1 counts as half a pair of patients less.

    Args:
        value: over 0 and under 1.
        draws: (D,)
        quantile: how many standard errors to either side.
        pairs: of a positive and a negative patient.
    """
    nearest = min(0.5 / pairs, value / 2, (1 - value) / 2)
    tail = (1 - LEVEL) / 2
    below, above = logit(np.clip(np.quantile(draws, [tail, 1 - tail]), nearest, 1 - nearest))
    reach = quantile * (above - below) / (2 * stats.norm.ppf(1 - tail))
    return Interval(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))


def on_log_scale(value: float, error: float, quantile: float) -> Interval:
    """Returns an interval of a positive number, as far on either side by ratio."""
    if value <= 0:
        return Interval(value, value, value)
    factor = float(np.exp(quantile * error / value))
    return Interval(value, value / factor, value * factor)


def reflected(value: float, draws: np.ndarray) -> Interval:
    """Returns the basic bootstrap interval, for an error that every draw makes look larger.

    An expected calibration error is a sum of distances: noise adds to it, in the sample and once more in each draw of
    it. What the draws add is taken off.
    """
    tail = (1 - LEVEL) / 2
    below, above = np.quantile(draws, [tail, 1 - tail])
    low, high = max(2 * value - float(above), 0.0), min(2 * value - float(below), 1.0)
    return Interval(value, min(low, value), max(high, value))


def _evidence(scores: Scores, point: OperatingPoint, patients: Patients) -> np.ndarray:
    """How many patients each metric rests on."""
    called = calibrated(scores.logits, point.temperature) >= point.threshold
    members = {"sensitivity": scores.labels == 1, "specificity": scores.labels == 0, "ppv": called, "npv": ~called}
    for name in scores.positive_subtypes():
        members[f"sensitivity_{name}"] = (scores.labels == 1) & (scores.subtypes == name)
    counts = {name: len(np.unique(scores.patients[rows])) for name, rows in members.items()}
    return np.array([counts.get(name, patients.smaller_class()) for name in names_of(scores)])
