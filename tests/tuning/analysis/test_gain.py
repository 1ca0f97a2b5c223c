"""What a trial gained over the baseline: like with like, positive for better."""

from __future__ import annotations

import pytest

from tuning.analysis.gain import Gain, gain_over
from tuning.events import TrialConfirmed
from tuning.ranking import Criterion
from tuning.record import TrialRecord

AUC = Criterion("val_roc_auc", higher_is_better=True, is_objective=True)
BRIER = Criterion("val_brier", higher_is_better=False, is_objective=True)
OTHER = Criterion("val_brier", higher_is_better=False, is_objective=False)


def _trial(score: float | None, mean: float | None = None, rank: int = 0, away: float = 0.0) -> TrialRecord:
    """A trial whose difference to the first has ends 0.01 below and 0.03 above it."""
    trial = TrialRecord(f"t{rank}", 1, {}, {}, "completed", score, {"val_brier": score or 0.0})
    if mean is not None:
        metrics: dict[str, list[float | None]] = {"val_brier": [mean, 0.0, 1.0]}
        difference = [away, away - 0.01, away + 0.03]
        trial.confirmed = TrialConfirmed(
            trial.trial, rank, mean, 0.0, 1.0, False, difference, None, metrics, [], 0.5, 1.0
        )
    return trial


def test_more_or_less_is_better() -> None:
    """As the criterion says."""
    assert gain_over(_trial(0.9), _trial(0.8), AUC) == Gain(pytest.approx(0.1), "search")
    assert gain_over(_trial(0.1), _trial(0.3), BRIER) == Gain(pytest.approx(0.2), "search")


def test_nothing_is_said_of_a_trial_without_a_value() -> None:
    """A failed one, or one whose metric is not a number."""
    assert gain_over(_trial(None), _trial(0.8), AUC) is None
    assert gain_over(_trial(float("nan")), _trial(0.8), AUC) is None


def test_a_confirmed_mean_is_not_held_against_a_search_score() -> None:
    """If one of the two is not confirmed, both count by the search."""
    assert gain_over(_trial(0.9, mean=0.5, rank=1), _trial(0.8), AUC) == Gain(pytest.approx(0.1), "search")
    assert gain_over(_trial(0.9), _trial(0.8, mean=0.5, rank=1), AUC) == Gain(pytest.approx(0.1), "search")


def test_the_interval_is_that_of_the_confirmation() -> None:
    """Turned round where the trial is the first and where less is better."""
    first, later = _trial(0.9, 0.95, rank=1), _trial(0.8, 0.85, rank=2, away=-0.1)
    assert gain_over(first, later, AUC) == Gain(pytest.approx(0.1), "confirmed", pytest.approx((0.07, 0.11)))
    assert gain_over(later, first, AUC) == Gain(pytest.approx(-0.1), "confirmed", pytest.approx((-0.11, -0.07)))
    low, high = _trial(0.1, 0.1, rank=1), _trial(0.3, 0.3, rank=2, away=0.2)
    assert gain_over(low, high, BRIER) == Gain(pytest.approx(0.2), "confirmed", pytest.approx((0.19, 0.23)))
    assert gain_over(high, low, BRIER) == Gain(pytest.approx(-0.2), "confirmed", pytest.approx((-0.23, -0.19)))


def test_without_a_comparison_there_is_no_interval() -> None:
    """Two that are both not the first, and metrics that the confirmation did not compare."""
    second, third = _trial(0.9, 0.9, rank=2), _trial(0.8, 0.8, rank=3)
    assert gain_over(second, third, AUC) == Gain(pytest.approx(0.1), "confirmed")
    first = _trial(0.1, 0.1, rank=1)
    assert gain_over(first, second, OTHER) == Gain(pytest.approx(0.8), "confirmed")
