"""Bars of importances, pale where they mean nothing."""

from __future__ import annotations

import pytest

from tuning.analysis.charts.importance_chart import plot_importances
from tuning.analysis.importance import Importances, ParameterImportance


def test_what_cannot_be_told_from_noise_is_pale() -> None:
    """And the legend says what pale is."""
    strong = ParameterImportance("learning_rate", 0.8, 0.7, 0.9, matters=True)
    weak = ParameterImportance("dropout", 0.2, 0.0, 0.3, matters=False)
    figure = plot_importances(Importances((strong, weak), 50, "fANOVA", "", (), noise=0.1))
    first, second = figure.axes[0].patches
    assert (first.get_width(), second.get_width()) == (0.8, 0.2)
    assert first.get_alpha() > 2 * second.get_alpha()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["95 % interval", "cannot be told from no effect", "reached by random numbers"]
    assert "50 trials" in figure.axes[0].get_xlabel()


def test_no_importances_are_no_chart() -> None:
    """The reason is told instead."""
    with pytest.raises(ValueError, match="too few trials"):
        plot_importances(Importances((), 3, "fANOVA", "too few trials.", ()))
