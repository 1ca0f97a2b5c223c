"""The threshold is exactly the one that the rule asks for, ties and ends included."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_curve

from pneumo_core.errors import ConfigError, PneumoError
from pneumo_core.operating_point import OperatingPoint, choose_threshold, fit_operating_point

LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0])
PROBABILITIES = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.4, 0.2, 0.1])


@pytest.mark.parametrize(
    ("target", "threshold"),
    [
        (0.25, 0.85),  # one of four positives: 0.9, and 0.8 is the next score below
        (0.5, 0.75),
        (0.51, 0.5),  # three are needed: 0.6, next below is the negative at 0.4
        (0.75, 0.5),
        (0.95, 0.25),  # all four
        (1.0, 0.25),
    ],
)
def test_the_target_is_reached_by_the_highest_threshold(target: float, threshold: float) -> None:
    """Hand-worked; midway between the last score that is called and the first that is not."""
    assert choose_threshold(LABELS, PROBABILITIES, "sensitivity", target) == pytest.approx(threshold)


def test_tied_scores_are_called_together() -> None:
    """Half of the positives stand at 0.5 with a negative: no threshold calls one of them alone."""
    labels, probabilities = np.array([1, 1, 1, 0, 0]), np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    threshold = choose_threshold(labels, probabilities, "sensitivity", 0.5)
    assert threshold == pytest.approx(0.3)
    assert (probabilities >= threshold).tolist() == [True, True, True, True, False]


def test_19_of_20_are_95_percent() -> None:
    """0.95 × 20 may be a little more than 19 in binary; the threshold must not fall for it, at any such target."""
    for positives in (20, 40, 100, 140, 380, 1000):
        labels = np.append(np.ones(positives, int), 0)
        probabilities = np.append(np.linspace(0.99, 0.5, positives), 0.1)
        for percent in (35, 55, 70, 95, 99):
            if percent * positives % 100 == 0:
                threshold = choose_threshold(labels, probabilities, "sensitivity", percent / 100)
                assert (probabilities >= threshold).sum() == percent * positives // 100


@pytest.mark.parametrize("rule", ["sensitivity", "youden"])
def test_the_threshold_is_the_best_of_scikit_learns_curve(rule: str) -> None:
    """On random tables with many ties, sensitivity and specificity are those of the best point of the ROC curve."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = np.append(rng.integers(0, 2, 40), [0, 1])
        probabilities = np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1)
        called = probabilities >= choose_threshold(labels, probabilities, rule, 0.9)
        sensitivity, specificity = called[labels == 1].mean(), (~called)[labels == 0].mean()
        alarms, hits, _ = roc_curve(labels, probabilities, drop_intermediate=False)
        if rule == "youden":
            assert sensitivity + specificity == pytest.approx((hits + 1 - alarms).max())
        else:
            assert sensitivity >= 0.9
            assert specificity == pytest.approx(1 - alarms[hits >= 0.9 - 1e-12].min())


def test_of_equal_youden_points_the_more_sensitive_is_taken() -> None:
    """0.9 alone (1/2 + 1) and everything from 0.4 on (1 + 1/2) are worth the same; a missed pneumonia is worse."""
    assert choose_threshold(np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.4, 0.1]), "youden") == pytest.approx(0.25)


def test_without_a_score_below_the_lowest_score_is_the_threshold() -> None:
    """Nothing can stand between a lowest score that has to be called, and nothing."""
    assert choose_threshold(np.array([1, 0]), np.array([0.3, 0.6])) == 0.3
    assert choose_threshold(np.array([1, 0]), np.array([0.5, 0.5]), "youden") == 0.5


def test_between_neighbouring_floats_the_upper_is_taken() -> None:
    """Their middle rounds to one of them, and must not be the lower."""
    lower, upper = 0.5, float(np.nextafter(0.5, 1))
    assert choose_threshold(np.array([0, 1]), np.array([lower, upper])) == upper


@pytest.mark.parametrize(("rule", "target"), [("f1", 0.9), ("sensitivity", 0.0), ("sensitivity", 1.5)])
def test_impossible_rules_are_refused(rule: str, target: float) -> None:
    """In one line that says what was expected."""
    with pytest.raises(ConfigError, match="expected"):
        choose_threshold(LABELS, PROBABILITIES, rule, target)


def test_scores_of_one_class_have_no_threshold() -> None:
    """There is nothing to tell apart."""
    with pytest.raises(PneumoError, match="both classes"):
        choose_threshold(np.zeros(3), np.array([0.1, 0.2, 0.3]))


def test_the_point_is_fitted_on_all_folds_and_seeds_together() -> None:
    """One temperature and one threshold, on calibrated probabilities, whatever the fold."""
    rng = np.random.default_rng(1)
    labels, folds = np.tile([0, 1], 100), np.repeat([0, 1], 100)
    tables = []
    for _ in range(2):
        logits = 6 * (labels - 0.5) + rng.normal(0, 4, 200)
        paths = [f"{row}.png" for row in range(200)]
        tables.append(
            pd.DataFrame({"path": paths, "label": labels, "logit": logits, "probability": expit(logits), "fold": folds})
        )
    point = fit_operating_point(tables, target=0.9)
    pooled = pd.concat(tables).assign(path=[f"{row}.png" for row in range(400)])
    assert point == fit_operating_point(pooled, target=0.9)
    called = expit(pooled["logit"] / point.temperature) >= point.threshold
    assert 0.9 <= called[pooled["label"] == 1].mean() < 0.9 + 1.5 / 200
    assert point.temperature > 1  # drawn twice as sure as they are right
    assert (point.rule, point.target) == ("sensitivity", 0.9)
    assert fit_operating_point(tables, "youden").target is None


def test_a_point_says_where_it_comes_from() -> None:
    """In the report, and as plain values for JSON."""
    assert "as given" in OperatingPoint(0.5).in_words()
    assert "sensitivity of 0.95" in OperatingPoint(0.3, 1.2, "sensitivity", 0.95).in_words()
    assert OperatingPoint(0.5).to_mapping() == {"threshold": 0.5, "temperature": 1.0, "rule": "given", "target": None}
