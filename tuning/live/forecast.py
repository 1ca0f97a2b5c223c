"""How long a study will still take, by how long its trials took so far."""

from __future__ import annotations

import dataclasses
import math
import statistics

from tuning.live.standing import Durations, Standing, epochs_wanted
from tuning.protocol import DEFAULT_FOLDS
from tuning.record import TrialRecord

_FEWEST = 3  # trials that are over, before anything is foretold from them
_QUANTILE = statistics.NormalDist().inv_cdf(0.9)  # 80 % lie between it and its negative


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Seconds that are left.

    Attributes:
        likely: the expected value.
        low: in 8 of 10 such studies it takes longer than this and
        high: shorter than that, if trials to come take as long as those before. The same as `likely` where nothing
            of the kind was done yet, so that its spread is not known.
    """

    likely: float
    low: float
    high: float


def search_left(standing: Standing) -> Forecast | None:
    """Returns how long the search will still take; None before three of its trials are over, or if it is over."""
    record, took = standing.record, standing.searched_s
    if not record.searching or not standing.goes_on or record.trials_wanted <= standing.done or took.count < _FEWEST:
        return None
    return _sum(standing, record.trials_wanted - standing.done - _under_way(standing, confirming=False), took)


def confirmation_left(standing: Standing) -> Forecast | None:
    """Returns how long confirming the leaders will still take; None if that is not done, or nothing is known of it.

    Before the first such training is over: what the epochs of the leaders took, for as many folds and pixels.
    """
    record, took = standing.record, standing.retrained_s
    is_confirmed = record.confirmed is not None and not record.outdated
    if not record.confirm or not standing.goes_on or is_confirmed:
        return None
    left = standing.retrainings - standing.retrained - _under_way(standing, confirming=True)
    if took.count > 1:
        return _sum(standing, left, took)
    leading = [trial for trial in standing.leaders(record.confirm["top"]) if trial.status == "completed"]
    if not leading:
        return None
    likely = max(left, 0.0) * statistics.mean(_training_s(standing, trial) for trial in leading)
    return Forecast(*[likely / _workers(standing)] * 3)


def _sum(standing: Standing, left: float, took: Durations) -> Forecast:
    """How long trials that are left will take.

    The sum of n durations that are drawn as the m before were has n times their mean, and their variance times
    n + n²/m, the second part because their mean is known from m of them only. That its distribution is normal, with
    Student's t for the few of which the variance is known, is an approximation.
    """
    left = max(left, 0.0)
    spread = student_quantile(took.count - 1) * took.deviation * math.sqrt(left + left**2 / took.count)
    likely, workers = left * took.mean, _workers(standing)
    return Forecast(likely / workers, max(likely - spread, 0.0) / workers, (likely + spread) / workers)


def student_quantile(freedom: int) -> float:
    """Returns the 90 % quantile of Student's t, by Abramowitz and Stegun 26.7.5.

    Args:
        freedom: degrees of it, at least 1; 0.4 too small at 1, 0.04 at 2, less from then on.
    """
    z = _QUANTILE
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _workers(standing: Standing) -> int:
    """As many trials at once as were seen."""
    return max(standing.side_by_side, 1)


def _under_way(standing: Standing, *, confirming: bool) -> float:
    """How much is done of the trials that run, in trials."""
    trials = [standing.record.trials[trial] for trial in standing.running]
    return sum(_done_share(trial) for trial in trials if bool(trial.confirms) == confirming)


def _done_share(trial: TrialRecord) -> float:
    """Of its own epochs: those of a trial that it continues were never its work."""
    own = epochs_wanted(trial) - trial.first_epoch
    return min((trial.epochs - trial.first_epoch) / own, 1.0) if own > 0 else 1.0


def _training_s(standing: Standing, leader: TrialRecord) -> float:
    """As `tuning.confirmation.training_s`, which needs libraries that a look from another terminal should not load."""
    confirm, searched = standing.record.confirm, standing.record.started.folds
    side = (confirm.get("image_size") or leader.config["image_size"]) / leader.config["image_size"]
    folds = confirm.get("folds") or (searched if searched > 1 else DEFAULT_FOLDS)
    return float(leader.training_s * folds / searched * side**2)
