"""The surface is a weighted mean, and stands only where trials are."""

from __future__ import annotations

import numpy as np

from tuning.analysis.charts.contour import smoothed


def test_the_surface_follows_the_scores() -> None:
    """A plane comes back as a plane, away from the edges."""
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(1500, 2))
    at = np.array([[0.3, 0.5], [0.5, 0.5], [0.7, 0.5]])
    assert np.allclose(smoothed(points, points[:, 0], at), [0.3, 0.5, 0.7], atol=0.02)


def test_there_is_no_surface_where_no_trial_is_near() -> None:
    """Nothing is made up between trials that are far apart."""
    points = np.array([[0.0, 0.0], [1.0, 1.0]] * 6)
    found = smoothed(points, np.arange(12.0), np.array([[0.0, 0.0], [0.5, 0.5], [1.0, 0.0]]))
    assert np.isfinite(found).tolist() == [True, False, False]
