"""Intervals are over patients, agree with independent computations, and depend on their seed alone."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from pneumo_core.errors import PneumoError
from pneumo_core.intervals import (
    Bootstrap,
    Interval,
    Patients,
    bootstrap_metrics,
    on_log_scale,
    on_logit_scale,
    paired_auc_difference,
    paired_spread,
    patient_weights,
    reflected,
    wilson,
)
from pneumo_core.operating_point import OperatingPoint, fit_operating_point
from pneumo_core.scores import read_scores

POINT = OperatingPoint(0.5)


def _table(patients: int, images_each: int = 1, folds: int = 1, seed: int = 0, spread: float = 1.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(patients), images_each)
    labels = (group % 5 < 3).astype(int)
    logits = rng.normal(2 * labels - 1, spread)
    return pd.DataFrame(
        {
            "path": [f"{row}.png" for row in range(len(group))],
            "group": group,
            "label": labels,
            "fold": group // 5 % folds,
            "logit": logits,
            "probability": expit(logits),
            "subtype": np.where(labels == 0, "normal", np.where(group % 5 == 1, "bacteria", "virus")),
        }
    )


def _bootstrap(table: pd.DataFrame, draws: int = 2000, seed: int = 0) -> Bootstrap:
    return bootstrap_metrics([read_scores(table)], POINT, draws, seed)


def _error(bootstrap: Bootstrap, name: str) -> float:
    return float(bootstrap.draws[:, bootstrap.names.index(name)].std(ddof=1))


def test_standard_errors_are_those_of_scipys_bootstrap() -> None:
    """In the plain case, one image a patient, class by class: two samples for the AUC, one for a sensitivity.

    SciPy draws m of m, which makes a standard error too small by the square root of (m - 1) / m.
    """
    table = _table(60, seed=2)
    positive, negative = (table["logit"][table["label"] == label].to_numpy() for label in (1, 0))

    def auc(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
        return (one[..., :, None] > other[..., None, :]).mean(axis=(-2, -1))

    rng = np.random.default_rng(0)
    options = {"n_resamples": 8000, "batch": 500, "vectorized": True, "method": "percentile", "rng": rng}
    expected = stats.bootstrap((positive, negative), auc, **options).standard_error
    ours = _bootstrap(table, 8000)
    assert _error(ours, "roc_auc") == pytest.approx(expected * np.sqrt(30 / 29), rel=0.04)
    expected = stats.bootstrap((positive > 0,), np.mean, **options).standard_error
    assert _error(ours, "sensitivity") == pytest.approx(expected * np.sqrt(36 / 35), rel=0.04)


def test_variances_of_drawn_means_are_unbiased() -> None:
    """Of m patients m - 1, each counting m / (m - 1): the variance of their mean is s² / m, not less."""
    patients = Patients.of(read_scores(_table(10)))
    ages = np.arange(10.0) ** 2
    weights = np.concatenate(list(patient_weights(patients, 40_000, 0)))
    for group in patients.strata:
        assert weights[:, group].sum(axis=1) == pytest.approx(len(group))
        means = weights[:, group] @ ages[group] / len(group)
        assert means.mean() == pytest.approx(ages[group].mean(), rel=0.02)
        assert means.var() == pytest.approx(ages[group].var(ddof=1) / len(group), rel=0.04)


def test_patients_are_drawn_with_all_their_images_and_never_mixed_between_folds_and_classes() -> None:
    """Each fold and class keeps its number of patients in every draw."""
    table = _table(40, images_each=3, folds=2)
    patients = Patients.of(read_scores(table))
    assert len(patients.strata) == 4
    of_patient = table.groupby(table["group"].astype(str))[["fold", "label"]].first()
    for group in patients.strata:
        assert len(of_patient.iloc[group].drop_duplicates()) == 1
    weights = next(patient_weights(patients, 7, 0))
    assert weights.shape == (7, 40)


def test_copies_of_images_of_the_same_patients_are_no_evidence() -> None:
    """A table in which every image is there three times has the same intervals."""
    table = _table(50, seed=3)
    copies = pd.concat([table] * 3)
    copies["path"] = [f"{row}.png" for row in range(len(copies))]
    for one, other in zip(_bootstrap(table).intervals().values(), _bootstrap(copies).intervals().values(), strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    """Draws are keyed by patient and seed, and by nothing that went before."""
    table = _table(50, 2, folds=2)
    one, other = _bootstrap(table, 150), _bootstrap(table.sample(frac=1, random_state=0), 150)
    np.testing.assert_allclose(one.draws, other.draws, rtol=1e-9)
    np.testing.assert_array_equal(one.draws[:100], _bootstrap(table, 100).draws)
    assert not np.allclose(one.draws, _bootstrap(table, 150, seed=1).draws)


def test_several_seeds_are_averaged_draw_by_draw() -> None:
    """The mean over two tables of the same images, by one draw of patients for both."""
    first, second = read_scores(_table(50)), read_scores(_table(50, seed=1))
    together = bootstrap_metrics([first, second], POINT, 200, 0)
    alone = [bootstrap_metrics([table], POINT, 200, 0) for table in (first, second)]
    np.testing.assert_allclose(together.draws, (alone[0].draws + alone[1].draws) / 2)
    np.testing.assert_allclose(together.by_table, [alone[0].by_table[0], alone[1].by_table[0]])


def test_a_perfect_sensitivity_is_not_certain() -> None:
    """All draws agree; the interval is Wilson's for as many images as there are patients, not [1, 1]."""
    table = _table(50, images_each=4)
    table["probability"] = table["logit"] = 0.1 + 0.8 * table["label"]
    interval = _bootstrap(table, 100).intervals()["sensitivity"]
    quantile = stats.t.ppf(0.975, 20 - 1)  # 30 positive patients, but 20 negative ones
    assert (interval.value, interval.high) == (1, 1)
    assert interval.low == pytest.approx(30 / (30 + quantile**2))
    assert _bootstrap(table, 100).intervals()["roc_auc"].low == pytest.approx(20 / (20 + quantile**2))


def test_a_proportion_has_wilsons_interval() -> None:
    """As SciPy computes it, when the standard error is that of independent images."""
    for hits in (3, 12, 29):
        value = hits / 30
        expected = stats.binomtest(hits, 30).proportion_ci(method="wilson")
        interval = wilson(value, float(np.sqrt(value * (1 - value) / 30)), float(stats.norm.ppf(0.975)), 7)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_intervals_of_losses_and_errors_hold_their_value() -> None:
    """A loss lies in the middle by ratio; an ECE is moved down, never below 0 and never out of its interval."""
    assert on_log_scale(0.2, 0.02, 2.0) == Interval(0.2, 0.2 / np.exp(0.2), 0.2 * np.exp(0.2))
    assert reflected(0.05, np.linspace(0.06, 0.16, 101)) == Interval(0.05, 0.0, 0.05)
    assert reflected(0.1, np.linspace(0.07, 0.17, 101)).high == pytest.approx(0.2 - 0.0725)


def test_metrics_that_are_undefined_have_no_interval() -> None:
    """Nothing is called positive: no PPV, and None for it in JSON."""
    table = _table(20)
    table["logit"] -= 30
    table["probability"] = expit(table["logit"])
    interval = _bootstrap(table, 50).intervals()["ppv"]
    assert interval.to_mapping() == {"value": None, "low": None, "high": None}


def test_a_proportion_that_only_the_second_seed_has_is_hardly_known() -> None:
    """The first calls everybody, so has no NPV; the second spares one patient, wrongly: 0, and most of the way to 1."""
    first = _table(20).assign(logit=9.0, probability=expit(9.0))
    second = first.copy()
    second.loc[first.index[first["label"] == 1][0], ["logit", "probability"]] = (-9.0, expit(-9.0))
    interval = bootstrap_metrics([read_scores(first), read_scores(second)], POINT, 50, 0).intervals()["npv"]
    assert interval.value == interval.low == 0
    assert interval.high > 0.5


def test_a_patient_alone_in_fold_and_class_is_always_drawn() -> None:
    """Tables of a handful of images, as the demo's, have intervals all the same."""
    table = _table(10, folds=2)
    weights = np.concatenate(list(patient_weights(Patients.of(read_scores(table.iloc[[0, 3, 4, 5, 8]])), 50, 0)))
    assert (weights > 0).any(axis=1).all()
    for interval in _bootstrap(table, 50).intervals().values():
        assert interval.low <= interval.value <= interval.high


def test_a_paired_difference_agrees_with_delong() -> None:
    """Its width is that of DeLong's variance of two correlated AUCs, computed here from the placements."""
    first = _table(300, seed=4)
    second = first.assign(logit=first["logit"] + np.random.default_rng(9).normal(0, 1.5, 300))
    second["probability"] = expit(second["logit"])
    components = []
    for table in (first, second):
        positive, negative = (table["logit"][table["label"] == label].to_numpy() for label in (1, 0))
        order = positive[:, None] > negative
        components.append((order.mean(axis=1), order.mean(axis=0)))
    differences = [one - other for one, other in zip(*components, strict=True)]
    error = np.sqrt(sum(one.var(ddof=1) / len(one) for one in differences))
    interval = paired_auc_difference(first, second, draws=4000)
    aucs = [roc_auc_score(table["label"], table["logit"]) for table in (first, second)]
    assert interval.value == pytest.approx(aucs[0] - aucs[1])
    assert (interval.high - interval.low) / 2 == pytest.approx(stats.t.ppf(0.975, 119) * error, rel=0.04)
    alone = _bootstrap(first).intervals()["roc_auc"]
    assert interval.high - interval.low < 1.2 * (alone.high - alone.low)  # unpaired it would be 1.4 times and more


def test_a_model_does_not_differ_from_itself_and_images_find_each_other() -> None:
    """By path, whatever the order of the rows, and with other numbers of seeds."""
    first, second = _table(40, 2, folds=2), _table(40, 2, folds=2, seed=1)
    assert paired_auc_difference(first, first, draws=50) == Interval(0.0, 0.0, 0.0)
    straight = paired_auc_difference(first, second, draws=50)
    shuffled = paired_auc_difference(first, second.sample(frac=1, random_state=1), draws=50)
    assert shuffled.high == pytest.approx(straight.high)
    assert paired_auc_difference([first, second], second, draws=50).value == pytest.approx(straight.value / 2)


def test_scores_of_other_images_are_not_compared() -> None:
    """Nor of the same number of other ones, nor of the same ones with other labels."""
    table = _table(20)
    others = (table.iloc[:-1], table.assign(path=table["path"] + "x"), table.assign(label=1 - table["label"]))
    for other in others:
        with pytest.raises(PneumoError, match="same images"):
            paired_auc_difference(table, other, draws=10)


def test_2000_draws_over_1000_scores_take_less_than_2_seconds() -> None:
    """All metrics, as the report has them; measured at 0.12 s."""
    scores = read_scores(_table(500, images_each=2))
    begun = time.process_time()
    bootstrap_metrics([scores], POINT, 2000)
    assert time.process_time() - begun < 2


def test_an_area_has_the_same_reach_on_either_side_in_logits() -> None:
    """Read off the middle 95 % of the draws; draws of 1 are half a pair of patients short of it, not infinitely far."""
    rng = np.random.default_rng(0)
    draws = expit(rng.normal(3, 0.5, 20_000))
    interval = on_logit_scale(float(expit(3)), draws, 2.0, 10**6)
    assert (logit(interval.low), logit(interval.high)) == pytest.approx((2, 4), abs=0.03)
    most_are_1 = np.append(np.full(900, 1.0), np.full(100, 0.95))
    interval = on_logit_scale(0.99, most_are_1, 1.96, 5000)
    reach = (logit(1 - 1e-4) - logit(0.95)) / 2
    assert logit(interval.low) == pytest.approx(logit(0.99) - reach, rel=1e-3)


def test_other_metrics_are_compared_in_pairs_too() -> None:
    """By the same draws, each model at its own operating point; the AUC as `paired_auc_difference` does."""
    first, second = _table(60, 2, folds=2), _table(60, 2, folds=2, seed=1, spread=4.0)
    assert paired_spread([first], [second], "roc_auc", draws=50).interval() == paired_auc_difference(
        first, second, draws=50
    )
    interval = paired_spread([first], [second], "brier", draws=200).interval()
    values = [bootstrap_metrics([read_scores(table)], fit_operating_point(table), 2) for table in (first, second)]
    column = values[0].names.index("brier")
    assert interval.value == pytest.approx(values[0].by_table[0, column] - values[1].by_table[0, column])
    assert interval.low < interval.value < interval.high
    assert paired_spread([first], [first], "specificity", draws=50).interval() == Interval(0.0, 0.0, 0.0)
