"""The history shows every trial, and what became of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tuning.analysis.charts.optimization_history import plot_optimization_history
from tuning.events import TrialConfirmed
from tuning.record import StudyRecord

Study = Callable[..., StudyRecord]


def labels(record: StudyRecord) -> list[str]:
    """Returns what its legend says."""
    return [text.get_text() for text in plot_optimization_history(record).legends[0].get_texts()]


def test_the_legend_counts_completed_pruned_and_failed_trials(study: Study) -> None:
    """So that nothing is left out in silence."""
    record = study(60, failed=0.1, pruned=0.1)
    found = labels(record)
    for status in ("completed", "pruned", "failed"):
        assert f"{record.count(status)} {status}" in found
    assert f"baseline t0001: {record.trials['t0001'].score:.4f}" in found


def test_scores_off_the_axis_are_counted(study: Study) -> None:
    """They are arrows at its end."""
    record = study(20, failed=0.0, pruned=0.0)
    trials = {**record.trials, "t0002": dataclasses.replace(record.trials["t0002"], score=0.1)}
    assert "1 of them below the axis" in labels(StudyRecord(record.started, trials=trials))


def test_confirmed_scores_stand_beside_those_of_the_search(study: Study) -> None:
    """With their own intervals, which the axis holds."""
    record = study(20, failed=0.0, pruned=0.0)
    place = TrialConfirmed("t0001", 1, 0.95, 0.90, 0.995, False, [0.0, 0.0, 0.0], 0.01, {}, [], 0.5, 1.0)
    trials = {**record.trials, "t0001": dataclasses.replace(record.trials["t0001"], confirmed=place)}
    figure = plot_optimization_history(StudyRecord(record.started, trials=trials))
    assert "confirmed, 95 % interval" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert figure.axes[0].get_ylim()[1] > 0.995
