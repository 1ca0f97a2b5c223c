"""Temperature and calibration error are what independent computations say they are."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import log_loss

from pneumo_core.calibration import COLDEST, HOTTEST, bin_of, calibrated, expected_calibration_error, fit_temperature


@pytest.mark.parametrize("truth", [0.4, 1.0, 3.0])
def test_the_temperature_is_scipys_minimum_of_the_log_loss(truth: float) -> None:
    """Found by the slope's sign here, by a simplex search over scikit-learn's log loss there."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, 400)
    labels = (rng.random(400) < expit(logits / truth)).astype(int)
    found = fit_temperature(logits, labels)
    other = minimize(
        lambda log_t: log_loss(labels, expit(logits / np.exp(log_t[0]))), [0.0], method="Nelder-Mead", tol=1e-10
    )
    assert found == pytest.approx(float(np.exp(other.x[0])), rel=1e-4)
    assert found == pytest.approx(truth, rel=0.35)  # 400 images are not many


def test_separated_classes_and_scores_of_no_use_end_at_the_limits() -> None:
    """Without them the first would be 0 and the second infinite or less than 0."""
    logits, labels = np.array([-3.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])
    assert fit_temperature(logits, labels) == COLDEST
    assert fit_temperature(-logits, labels) == HOTTEST
    assert fit_temperature(np.zeros(4), labels) == HOTTEST
    assert fit_temperature(1e4 * logits, 1 - labels) == HOTTEST


def test_a_temperature_keeps_the_order_and_the_middle() -> None:
    """Ranking does not change, nor what is called at 0.5."""
    logits = np.array([-2.0, 0.0, 3.0])
    assert calibrated(logits, 1.0).tolist() == expit(logits).tolist()
    hot = calibrated(logits, 4.0)
    assert hot[1] == 0.5
    assert (np.diff(hot) > 0).all()


def test_ece_equals_a_hand_worked_table() -> None:
    """Five bins: 0.1, 0.2 | 0.3 | 0.5, 0.6 | none | 0.9, 1.0, with 1 of 2, 0 of 1, 2 of 2 and 1 of 2 positive.

    Distances: |0.15 - 0.5| of 2, |0.3 - 0| of 1, |0.55 - 1| of 2, |0.95 - 0.5| of 2; so (0.7 + 0.3 + 0.9 + 0.9) / 7.
    """
    labels = np.array([0, 1, 0, 1, 1, 1, 0])
    probabilities = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.9, 1.0])
    assert expected_calibration_error(labels, probabilities, bins=5) == pytest.approx(2.8 / 7)


def test_every_bin_holds_its_upper_edge() -> None:
    """As in Guo et al.; 0 has no bin below and lies in the first, and no rounding moves an edge."""
    assert bin_of(np.array([0.0, 1 / 15, 2 / 15, 7 / 15, 14 / 15, 1.0])).tolist() == [0, 0, 1, 6, 13, 14]
    assert bin_of(np.array([1e-9, np.nextafter(1 / 15, 1), 0.999])).tolist() == [0, 1, 14]


def test_frequencies_that_agree_have_no_error() -> None:
    """One of four at 0.25 is what 0.25 means, and calling it 0.75 is off by 0.5."""
    labels = np.array([1, 0, 0, 0])
    assert expected_calibration_error(labels, np.full(4, 0.25)) == 0
    assert expected_calibration_error(labels, np.full(4, 0.75)) == pytest.approx(0.5)
