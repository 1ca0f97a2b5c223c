"""Whole configurations: a line for each trial through an axis for each parameter, coloured by its score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pneumo_core.plots import ORANGE
from tuning.analysis.baseline import baseline
from tuning.analysis.charts.parameter_axis import INACTIVE, ParameterAxis, parameter_axes
from tuning.analysis.charts.style import (
    CARD,
    INK,
    SCORE_COLOURS,
    SMALL_PT,
    SOFT,
    TEXT_PT,
    ScoreRange,
    add_score_bar,
    counted,
    leaders,
    legend,
    metric_label,
    new_figure,
    opacity,
    score_colours,
    score_range,
    scored,
    sideways,
    thin,
)
from tuning.record import StudyRecord, TrialRecord

MOST_PARAMETERS = 8
MOST_STRONG = 50


def plot_parallel_coordinates(record: StudyRecord, parameters: Sequence[str]) -> Figure:
    """Draws a study's completed trials; where they are many, the best fifth stands out (at most `MOST_STRONG`).

    Trials without a parameter (its condition does not hold) pass below its axis. Where values are few, lines are
    spread around each, in a way that follows from the trial's number.

    Args:
        record: of the study.
        parameters: the first `MOST_PARAMETERS` of them that trials have, from left to right; the score comes last.

    Raises:
        ValueError: if no trial completed, or there is no parameter to draw.
    """
    trials = scored(record)
    axes = parameter_axes(record, parameters, MOST_PARAMETERS)
    if not trials or not axes:
        raise ValueError("parallel coordinates need a completed trial and a parameter.")
    shown = score_range([trial.score or 0.0 for trial in trials], record.started.direction)
    figure = new_figure(4.4)
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set(xlim=(-0.45, len(axes) + 0.25), ylim=(min(one.ends[0] for one in axes) - 0.02, 1.1))
    _draw_trials(axis, record, trials, axes, shown)
    size = TEXT_PT if len(axes) < 7 else TEXT_PT - 1.5
    for place, one in enumerate(axes):
        _draw_axis(axis, place, one.label(12), size)
        for height, text in one.ticks():
            _tick(axis, place, height, "inactive" if height == INACTIVE else text)
    score = metric_label(record.started.objective).replace("validation ", "validation\n")
    _draw_axis(axis, len(axes), score, size)
    _draw_marked(figure, axis, record, axes, shown)
    return figure


def _line(trial: TrialRecord, axes: Sequence[ParameterAxis], shown: ScoreRange, *, spread: bool = True) -> np.ndarray:
    heights = [one.place(trial.params.get(one.name)) for one in axes]
    if spread:
        heights = [
            height + sideways(trial.number + 7 * place) * one.spread if one.discrete or height == INACTIVE else height
            for place, (height, one) in enumerate(zip(heights, axes, strict=True))
        ]
    heights.append(_of_score(trial.score or 0.0, shown))
    return np.column_stack([np.arange(len(heights)), heights])


def _of_score(score: float, shown: ScoreRange) -> float:
    return float((shown.inside([score])[0] - shown.low) / (shown.high - shown.low))


def _draw_trials(
    axis: Axes, record: StudyRecord, trials: Sequence[TrialRecord], axes: Sequence[ParameterAxis], shown: ScoreRange
) -> None:
    """The worst first, so that the best lie on top."""
    sign = 1.0 if record.started.direction == "max" else -1.0
    ordered = sorted(trials, key=lambda trial: (sign * (trial.score or 0.0), -trial.number))
    strong = _strong(len(ordered))
    for part, alpha, width in (
        (ordered[:-strong], 0.5 * opacity(len(ordered), least=0.12), 0.8),
        (ordered[-strong:], opacity(strong // 2), 1.2),
    ):
        lines = LineCollection([_line(trial, axes, shown) for trial in part], linewidths=width, alpha=alpha)
        lines.set(array=[trial.score or 0.0 for trial in part], cmap=score_colours(record), norm=shown.normalize())
        lines.set_zorder(1)
        thin(lines, len(ordered) if part else 0)
        axis.add_collection(lines)


def _strong(count: int) -> int:
    """How many of so many trials stand out."""
    return count if count <= 20 else min(max(10, round(0.2 * count)), MOST_STRONG)


def _draw_axis(axis: Axes, place: int, name: str, size: float) -> None:
    axis.plot([place, place], [0, 1], color=SOFT, lw=1, zorder=3)
    axis.text(place, 1.09, name, ha="center", va="bottom", color=INK, size=size, linespacing=1.0)


def _tick(axis: Axes, place: float, height: float, text: str) -> None:
    axis.plot([place - 0.02, place + 0.02], [height, height], color=SOFT, lw=1, zorder=3)
    ground = {"facecolor": CARD, "alpha": 0.8, "edgecolor": "none", "pad": 0.6}
    axis.text(place - 0.05, height, text, ha="right", va="center", color=INK, size=SMALL_PT, bbox=ground, zorder=8)


def _draw_marked(
    figure: Figure, axis: Axes, record: StudyRecord, axes: Sequence[ParameterAxis], shown: ScoreRange
) -> None:
    """The best trial and the baseline, and what the colours mean."""
    best, recipe = leaders(record, 1)[0], baseline(record)
    x, y = _line(best, axes, shown, spread=False).T
    axis.plot(x, y, color=CARD, lw=4.5, zorder=5)
    handles = axis.plot(x, y, color=ORANGE, lw=2.4, zorder=6, label=f"best {best.trial}: {best.score:.4f}")
    if recipe and recipe is not best:
        x, y = _line(recipe, axes, shown, spread=False).T
        label = f"baseline {recipe.trial}: {recipe.score:.4f}"
        handles += axis.plot(x, y, color=INK, lw=1.6, ls="--", zorder=6, label=label)
    count = len(scored(record))
    strong = f", the best {_strong(count)} stronger" if _strong(count) < count else ""
    rest = [Line2D([], [], color=SCORE_COLOURS(0.5), lw=1, label=counted(count, "completed trial") + strong)]
    legend(figure, [*handles, *rest])
    add_score_bar(figure, axis, record, shown)
