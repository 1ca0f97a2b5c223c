"""A report says everything about a score table, at an operating point that was fitted on it or before."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from pneumo_core.evaluation import compute_metrics, confusion_counts
from pneumo_core.evaluation_report import evaluate, report_text
from pneumo_core.metric_names import METRIC_NAMES
from pneumo_core.operating_point import OperatingPoint, fit_operating_point

CLASSES = ("NORMAL", "PNEUMONIA")


def _table(seed: int = 0, folds: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(60), 2)
    labels = (group % 3 > 0).astype(int)
    logits = rng.normal(4 * labels - 2, 3)
    return pd.DataFrame(
        {
            "path": [f"{row}.png" for row in range(120)],
            "group": [f"person{number}" for number in group],
            "subtype": np.array(["normal", "bacteria", "virus"])[group % 3],
            "label": labels,
            "fold": group // 3 % folds,
            "logit": logits,
            "probability": expit(logits),
        }
    )


@pytest.mark.parametrize("folds", [1, 2])
def test_values_are_those_of_calibrated_probabilities_at_the_chosen_threshold(folds: int) -> None:
    """By `compute_metrics` of the same table, each within its interval; what is uncalibrated is that of the table."""
    table = _table(folds=folds)
    report = evaluate(table, draws=200)
    point = fit_operating_point(table)
    assert (report.operating_point, report.fitted_here, report.folds) == (point, True, folds)
    calibrated = table.assign(probability=expit(table["logit"] / point.temperature))
    for name, value in compute_metrics(calibrated, point.threshold).items():
        assert report.metrics[name].value == pytest.approx(value), name
        assert report.metrics[name].low <= value <= report.metrics[name].high
    for name in ("brier", "ece", "loss"):
        assert report.uncalibrated[name].value == pytest.approx(compute_metrics(table)[name])
    assert report.metrics["sensitivity"].value >= (0.95 if folds == 1 else 0.9)
    assert np.array(report.confusion).tolist() == confusion_counts(calibrated, point.threshold).tolist()


def test_a_given_operating_point_is_left_alone() -> None:
    """As on test images: nothing is fitted on them."""
    point = OperatingPoint(0.3, 2.0, "sensitivity", 0.95)
    report = evaluate(_table(), operating_point=point, draws=50)
    assert (report.operating_point, report.fitted_here) == (point, False)
    assert "flatters" not in report_text(report, CLASSES)


def test_kinds_of_pneumonia_have_sensitivities_of_their_own() -> None:
    """Weighted by their numbers they make up the whole."""
    report = evaluate(_table(), draws=50)
    kinds = report.subtype_sensitivity
    assert list(kinds) == ["bacteria", "virus"]
    whole = (kinds["bacteria"].value * 40 + kinds["virus"].value * 40) / 80
    assert whole == pytest.approx(report.metrics["sensitivity"].value)
    assert report.sizes["subtypes"]["virus"] == {"images": 40, "patients": 20}
    assert report.sizes["positive"] == {"images": 80, "patients": 40}
    assert (report.sizes["images"], report.sizes["patients"]) == (120, 60)


def test_several_seeds_are_averaged_and_their_spread_is_told() -> None:
    """One operating point for all; the standard deviation over seeds beside the intervals, which leave it out."""
    tables = [_table(seed) for seed in (0, 1, 2)]
    report = evaluate(tables, draws=50)
    aucs = [compute_metrics(table)["roc_auc"] for table in tables]
    assert report.metrics["roc_auc"].value == pytest.approx(np.mean(aucs))
    assert report.seed_deviation["roc_auc"] == pytest.approx(np.std(aucs, ddof=1))
    assert (report.seeds, np.sum(report.confusion)) == (3, 360)
    assert "3 seeds" in report_text(report, CLASSES)


def test_a_report_is_json_without_nan() -> None:
    """What is undefined is null, and all metrics are there in their order."""
    point = OperatingPoint(1.0)
    report = evaluate([_table(), _table(1)], operating_point=point, draws=50)
    mapping = json.loads(json.dumps(report.to_mapping(), allow_nan=False))
    assert tuple(mapping["metrics"]) == METRIC_NAMES
    assert mapping["metrics"]["ppv"] == {"value": None, "low": None, "high": None}
    assert mapping["operating_point"]["threshold"] == 1.0
    assert np.sum(mapping["confusion"]) == 240


def test_the_same_report_twice_is_the_same() -> None:
    """By its seed."""
    assert evaluate(_table(), draws=100) == evaluate(_table(), draws=100)


def test_the_text_has_every_number_and_its_conditions() -> None:
    """Counts, operating point, intervals, and what they leave out."""
    text = report_text(evaluate(_table(folds=2), draws=50), CLASSES)
    assert "120 images of 60 patients: 40 NORMAL (20 patients), 80 PNEUMONIA (40 patients)" in text
    for word in ("ROC AUC", "PPV", "Brier", "ECE", "sensitivity, virus", "called PNEUMONIA", "2 folds", "as given"):
        assert word in text
    undefined = evaluate(_table(), operating_point=OperatingPoint(1.0), draws=50)
    assert "undefined" in report_text(undefined, CLASSES)
