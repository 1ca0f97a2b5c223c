"""Every metric comes from the score table, and is what its name says."""

import numpy as np
import pandas as pd
import pytest

from pneumo_core.errors import PneumoError
from pneumo_core.evaluation import SCORE_COLUMNS, compute_metrics, confusion_counts, logits_of, score_table, text_report
from pneumo_core.metric_names import METRIC_NAMES


def _scores(labels: list[int], probabilities: list[float]) -> pd.DataFrame:
    names = [f"{number}.jpeg" for number in range(len(labels))]
    manifest = pd.DataFrame({"path": names, "group": names, "subtype": "normal", "label": labels})
    return manifest.assign(probability=probabilities)


HAND_WORKED = _scores([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [0.1, 0.2, 0.6, 0.3, 0.9, 0.8, 0.7, 0.4, 0.5, 0.95])


def test_metrics_equal_a_hand_worked_table() -> None:
    """Of 6 positives 5 are called (one exactly at the threshold), of 4 negatives 1."""
    metrics = compute_metrics(HAND_WORKED)
    assert metrics["sensitivity"] == pytest.approx(5 / 6)
    assert metrics["specificity"] == pytest.approx(3 / 4)
    assert metrics["ppv"] == pytest.approx(5 / 6)
    assert metrics["npv"] == pytest.approx(3 / 4)
    assert metrics["accuracy"] == pytest.approx(8 / 10)
    assert metrics["balanced_accuracy"] == pytest.approx((5 / 6 + 3 / 4) / 2)
    assert metrics["roc_auc"] == pytest.approx(22 / 24)  # 22 of 24 pairs stand in the right order
    assert metrics["brier"] == pytest.approx(1.2525 / 10)
    assert confusion_counts(HAND_WORKED).tolist() == [[3, 1], [1, 5]]


def test_a_table_of_logits_has_the_metrics_of_its_probabilities() -> None:
    """As trials make it; columns and order are those that are documented."""
    table = score_table(HAND_WORKED, logits_of(HAND_WORKED["probability"].to_numpy()), fold=3)
    assert tuple(table.columns) == SCORE_COLUMNS
    assert set(table["fold"]) == {3}
    assert compute_metrics(table, 0.45) == pytest.approx(compute_metrics(HAND_WORKED, 0.45))


def test_the_threshold_moves_the_operating_point_and_nothing_else() -> None:
    """Sensitivity and specificity follow the threshold, AUC and Brier do not."""
    low, high = compute_metrics(HAND_WORKED, 0.35), compute_metrics(HAND_WORKED, 0.65)
    assert (low["sensitivity"], high["specificity"]) == (1.0, 1.0)
    assert (low["roc_auc"], low["brier"]) == (high["roc_auc"], high["brier"])


def test_undefined_predictive_values_are_nan_not_zero() -> None:
    """Where nothing is called positive, PPV is not a number; it is not 0 either."""
    metrics = compute_metrics(_scores([0, 1], [0.1, 0.2]))
    assert np.isnan(metrics["ppv"])
    assert metrics["npv"] == 0.5


def test_what_is_computed_is_what_is_named() -> None:
    """The names that spaces may take for objectives."""
    assert tuple(compute_metrics(HAND_WORKED)) == METRIC_NAMES


def test_several_folds_are_averaged_because_each_has_a_model_of_its_own() -> None:
    """The mean of the folds' metrics, not the metric of all; only the calibration error is of all together."""
    second = HAND_WORKED.assign(probability=HAND_WORKED["probability"] * 0.4, fold=1)
    both = pd.concat([HAND_WORKED.assign(fold=0), second], ignore_index=True)
    metrics, first, other, pooled = (
        compute_metrics(table) for table in (both, HAND_WORKED, second, both.drop(columns="fold"))
    )
    assert metrics["roc_auc"] == pytest.approx((first["roc_auc"] + other["roc_auc"]) / 2)
    assert metrics["roc_auc"] > pooled["roc_auc"]  # the second model's scores are lower, which is not its ranking
    assert metrics["ppv"] == first["ppv"]  # the second calls nothing positive, which leaves its PPV undefined
    assert metrics["ece"] == pooled["ece"]


@pytest.mark.parametrize(("labels", "probabilities"), [([0, 1], [0.1, np.nan]), ([0, 1], [0, 1.1]), ([1, 1], [0, 1])])
def test_scores_that_are_none_are_refused(labels: list[int], probabilities: list[float]) -> None:
    """NaN, values beyond 1 and one-class tables never become a metric."""
    with pytest.raises(PneumoError):
        compute_metrics(_scores(labels, probabilities))


def test_report_names_the_classes() -> None:
    """The text says how many of which class were called what."""
    text = text_report(HAND_WORKED, ("NORMAL", "PNEUMONIA"))
    assert "10 images, threshold 0.5" in text
    assert "true PNEUMONIA" in text
