"""Weighted metrics are scikit-learn's, and those of a table in which images are repeated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from pneumo_core.evaluation import compute_metrics
from pneumo_core.metric_names import METRIC_NAMES
from pneumo_core.operating_point import OperatingPoint
from pneumo_core.scores import read_scores
from pneumo_core.weighted_metrics import WeightedMetrics, WeightedRanking, names_of


def _table(images: int, folds: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    logits = np.round(rng.normal(2 * labels - 1, 1.5), 1)
    kinds = np.where(labels == 0, "normal", np.where(rng.random(images) < 0.5, "bacteria", "virus"))
    folds_of = np.arange(images) // 2 % folds
    return pd.DataFrame(
        {"label": labels, "logit": logits, "probability": expit(logits), "subtype": kinds, "fold": folds_of}
    )


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_auc_and_average_precision_are_scikit_learns_with_weights(digits: int) -> None:
    """On random tables, from nearly all scores tied to none, with images left out and counted several times."""
    rng = np.random.default_rng(digits)
    for _ in range(20):
        labels = np.append(rng.integers(0, 2, 60), [0, 1])
        scores = np.round(rng.normal(labels, 1.0), digits)
        weights = rng.integers(0, 4, (5, 62)) * 1.25
        weights[:, -2:] = 1
        auc, precision = WeightedRanking(labels, scores)(weights)
        expected = [
            (
                roc_auc_score(labels, scores, sample_weight=row),
                average_precision_score(labels, scores, sample_weight=row),
            )
            for row in weights
        ]
        np.testing.assert_allclose(np.column_stack([auc, precision]), expected, rtol=1e-12)


def test_the_best_and_the_worst_order_are_1_and_0() -> None:
    """And what is undefined is not a number."""
    labels, weights = np.array([0, 0, 1, 1]), np.array([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    auc, precision = WeightedRanking(labels, np.arange(4.0))(weights)
    assert (auc[0], precision[0]) == (1, 1)
    assert np.isnan(auc[1])
    assert np.isnan(precision[1])
    assert WeightedRanking(labels, -np.arange(4.0))(weights)[0][0] == 0
    assert WeightedRanking(labels, np.zeros(4))(weights)[0][0] == 0.5


@pytest.mark.parametrize("folds", [1, 3])
def test_equal_weights_give_the_metrics_of_the_table(folds: int) -> None:
    """The same numbers by two ways, also as means over folds."""
    table = _table(120, folds)
    scores = read_scores(table)
    values = dict(
        zip(names_of(scores), WeightedMetrics(scores, OperatingPoint(0.4))(np.ones((1, 120)))[0], strict=True)
    )
    expected = compute_metrics(table, 0.4)
    for name in METRIC_NAMES:
        assert values[name] == pytest.approx(expected[name], rel=1e-12), name
    virus = table[table["subtype"] == "virus"]
    shares = [(rows["probability"] >= 0.4).mean() for _, rows in virus.groupby("fold")]
    assert values["sensitivity_virus"] == pytest.approx(np.mean(shares))


def test_a_weight_of_2_is_an_image_that_is_there_twice() -> None:
    """For every metric, after a temperature as well."""
    table = _table(80, 2)
    point = OperatingPoint(0.45, 1.7)
    weights = np.random.default_rng(5).integers(0, 3, 80)
    repeated = table.loc[np.repeat(table.index, weights)].reset_index(drop=True)
    once = read_scores(repeated)
    np.testing.assert_allclose(
        WeightedMetrics(read_scores(table), point)(weights[None].astype(float)),
        WeightedMetrics(once, point)(np.ones((1, len(repeated)))),
        rtol=1e-12,
    )


def test_the_temperature_moves_probabilities_and_nothing_else() -> None:
    """Ranking stays; what is said of uncalibrated probabilities stays; Brier score and loss move."""
    scores = read_scores(_table(80, 1))
    cold, hot = (WeightedMetrics(scores, OperatingPoint(0.5, heat))(np.ones((1, 80)))[0] for heat in (1.0, 3.0))
    same = {name: one == other for name, one, other in zip(names_of(scores), cold, hot, strict=True)}
    assert {name for name, kept in same.items() if not kept} == {"brier", "ece", "loss"}
