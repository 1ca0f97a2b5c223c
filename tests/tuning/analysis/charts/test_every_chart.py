"""What holds for every chart of a study, whatever its size and its state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from tuning.analysis.charts.contour import plot_contour
from tuning.analysis.charts.learning_curves import plot_learning_curves
from tuning.analysis.charts.optimization_history import plot_optimization_history
from tuning.analysis.charts.parallel import plot_parallel_coordinates
from tuning.analysis.charts.slices import plot_slices
from tuning.analysis.charts.svg import themed_svg
from tuning.record import StudyRecord

Study = Callable[..., StudyRecord]

CHARTS: dict[str, Callable[[StudyRecord], Figure]] = {
    "history": plot_optimization_history,
    "curves": plot_learning_curves,
    "parallel": lambda record: plot_parallel_coordinates(record, record.started.parameters),
    "slices": lambda record: plot_slices(record, record.started.parameters),
    "surface": lambda record: plot_contour(record, "learning_rate", "backbone_lr_fraction"),
    "strips": lambda record: plot_contour(record, "dropout", "learning_rate"),
    "table": lambda record: plot_contour(record, "head_units", "class_weighting"),
}


@pytest.mark.parametrize("chart", CHARTS)
def test_every_axis_of_data_is_labelled(chart: str, study: Study) -> None:
    """With what it shows, in words."""
    figure = CHARTS[chart](study(60))
    text = themed_svg(figure)
    if chart in ("history", "parallel", "slices", "surface"):
        assert "validation ROC AUC (higher is better)" in text
    for axis in figure.axes:
        if axis.axison and axis.get_visible() and chart != "slices":
            assert axis.get_ylabel()


def test_scores_that_shall_be_low_are_said_to_be_low(study: Study) -> None:
    """The best one is the lowest, and the axis says so."""
    record = study(60)
    turned = dataclasses.replace(record.started, objective="val_brier", direction="min")
    lowest = StudyRecord(turned, trials=record.trials)
    best = min(trial.score for trial in record.searched if trial.status == "completed" and trial.score is not None)
    text = themed_svg(plot_optimization_history(lowest))
    assert "lower is better" in text
    assert f"best so far: {best:.4f}" in text
    assert f": {best:.4f}" in themed_svg(plot_parallel_coordinates(lowest, ["dropout"]))


@pytest.mark.parametrize("chart", ["history", "curves"])
def test_a_study_without_a_completed_trial_can_be_drawn(chart: str, study: Study) -> None:
    """It has just begun, or everything failed."""
    record = study(6)
    empty = StudyRecord(record.started)
    failed = {name: dataclasses.replace(trial, status="failed", score=None) for name, trial in record.trials.items()}
    assert "<svg" in themed_svg(CHARTS[chart](empty))
    assert "6 failed" in themed_svg(CHARTS[chart](StudyRecord(record.started, trials=failed)))


@pytest.mark.parametrize("chart", ["parallel", "slices", "table"])
def test_what_needs_completed_trials_says_so(chart: str, study: Study) -> None:
    """The report leaves such a chart out, with the sentence."""
    failed = dataclasses.replace(study(6).trials["t0002"], status="failed", score=None)
    with pytest.raises(ValueError, match="completed trial"):
        CHARTS[chart](StudyRecord(study(6).started, trials={"t0002": failed}))


def test_a_parameter_that_no_trial_ever_had_is_left_out(study: Study) -> None:
    """Its condition never held; the other parameters are drawn."""
    record = study(6)
    trials = {"t0001": record.trials["t0001"]}
    text = themed_svg(plot_slices(StudyRecord(record.started, trials=trials), record.started.parameters))
    assert "dropout" in text
    assert "backbone" not in text


def test_contours_need_trials_that_have_both_parameters(study: Study) -> None:
    """Fewer than ten say nothing about two dimensions."""
    with pytest.raises(ValueError, match="contour needs 10 completed trials with learning_rate and backbone_lr_fr"):
        plot_contour(study(12), "learning_rate", "backbone_lr_fraction")


@pytest.mark.slow
def test_two_thousand_trials_are_drawn_small(study: Study) -> None:
    """All charts together in less than 2 MB, for a report has five."""
    record = study(2000)
    sizes = {name: len(themed_svg(draw(record))) for name, draw in CHARTS.items()}
    assert sum(sizes.values()) < 2_000_000, sizes
