"""Curves are those of scikit-learn, means over folds, and lie in their bands."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_scores import World
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from pneumo_core.curves import GRID, precision_recall_band, reliability, roc_band
from pneumo_core.scores import Scores


def _scores(folds: int = 1, patients: int = 80) -> Scores:
    return World(0.85, 0.5).tables(patients, np.random.default_rng(0), folds)[0]


def test_the_roc_curve_is_scikit_learns() -> None:
    """At every point of the grid, on the lines between its points."""
    scores = _scores()
    alarms, hits, _ = roc_curve(scores.labels, scores.ranking, drop_intermediate=False)
    band = roc_band(scores, draws=50)
    np.testing.assert_allclose(band.curve, np.interp(GRID, alarms, hits))
    assert len(band.of_folds) == 1


def test_precision_is_that_of_the_highest_threshold_that_reaches_a_recall() -> None:
    """As in the sum of average precision, without interpolation."""
    scores = _scores()
    precision, recall, _ = precision_recall_curve(scores.labels, scores.ranking)
    band = precision_recall_band(scores, draws=50)
    for position in (1, 60, 120, 200):
        reaching = np.flatnonzero(recall >= GRID[position] - 1e-12)
        assert band.curve[position] == pytest.approx(precision[reaching[-1]])


@pytest.mark.parametrize("band_of", [roc_band, precision_recall_band])
def test_several_folds_are_averaged_and_a_band_encloses_its_curve(band_of) -> None:  # type: ignore[no-untyped-def]
    """The curve that is drawn is the mean of the folds' curves; bands narrow with more patients."""
    few, many = (band_of(_scores(3, patients), draws=200) for patients in (80, 800))
    assert len(few.of_folds) == 3
    np.testing.assert_allclose(few.curve, few.of_folds.mean(axis=0))
    assert ((few.low <= few.curve + 0.05) & (few.curve <= few.high + 0.05)).all()
    assert (many.high - many.low).mean() < (few.high - few.low).mean() / 2


def test_reliability_is_scikit_learns_in_bins_of_equal_size() -> None:
    """And an interval of a share that is 0 or 1 is not a point."""
    scores = _scores()
    observed, predicted = calibration_curve(scores.labels, scores.probabilities, n_bins=10, strategy="quantile")
    points = reliability(scores, scores.probabilities, draws=50)
    np.testing.assert_allclose(points.observed, observed)
    np.testing.assert_allclose(points.predicted, predicted)
    assert ((points.low <= observed) & (observed <= points.high) & (points.low < points.high)).all()


def test_one_probability_for_all_is_one_bin() -> None:
    """Edges that coincide are one."""
    scores = _scores()
    points = reliability(scores, np.full(len(scores.labels), 0.5), draws=10)
    assert points.predicted.tolist() == [0.5]
    assert points.observed == pytest.approx([scores.labels.mean()])
