"""Slices: a panel for each parameter, medians where there are enough trials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tuning.analysis.charts.slices import plot_slices
from tuning.record import StudyRecord

Study = Callable[..., StudyRecord]


def test_each_parameter_has_its_panel(study: Study) -> None:
    """Named below it, on a common axis of scores."""
    record = study(60)
    names = [axis.get_xlabel() for axis in plot_slices(record, record.started.parameters).axes if axis.get_visible()]
    assert names[:2] == ["head units", "dropout"]
    assert "learning rate (log)" in names
    assert len(names) == len(record.started.parameters)


def test_medians_are_those_of_the_trials(study: Study) -> None:
    """At each value of a parameter with few of them."""
    record = study(200, failed=0.0, pruned=0.0)
    figure = plot_slices(record, ["head_units"])
    drawn = {float(np.unique(line.get_ydata())[0]) for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1}
    scores = [trial.score for trial in record.searched if trial.params["head_units"] == 64]
    assert any(np.isclose(np.median(scores), value) for value in drawn)


def test_few_trials_have_no_medians(study: Study) -> None:
    """A median of two would be read as a finding."""
    texts = [text.get_text() for text in plot_slices(study(5), ["head_units", "dropout"]).legends[0].get_texts()]
    assert "median and middle half" not in texts
