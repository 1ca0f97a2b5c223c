"""How the search went: every trial's score in the order of their start, the best so far, what failed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pneumo_core.plots import GRAY, ORANGE
from tuning.analysis.baseline import baseline
from tuning.analysis.charts.style import (
    BLUE,
    GREEN,
    INK,
    ScoreRange,
    dress,
    leaders,
    legend,
    new_figure,
    objective_label,
    opacity,
    score_range,
    scored,
    thin,
    whole_numbers,
)
from tuning.record import StudyRecord, TrialRecord


def plot_optimization_history(record: StudyRecord) -> Figure:
    """Draws the scores of a study's trials over their numbers.

    The best so far is a step line and the baseline a dashed one. The leaders have their 95 % intervals over patients,
    confirmed ones also the score and interval of their confirmation. Pruned trials are small triangles, failed ones
    ticks at the worse end. Scores far below the others do not stretch the axis: they are arrows at its end.

    Args:
        record: of the study; it may be half done, or have no trial that completed.
    """
    trials, recipe = scored(record), baseline(record)
    axis_range = score_range([trial.score or 0.0 for trial in trials], record.started.direction, _always(record))
    figure = new_figure(3.9)
    axis = figure.subplots()
    dress(axis)
    handles = _draw_trials(axis, record, trials, axis_range)
    handles += _draw_best(axis, record, trials, axis_range)
    if recipe and recipe.score is not None:
        label = f"baseline {recipe.trial}: {recipe.score:.4f}"
        handles.append(axis.axhline(recipe.score, color=INK, ls="--", lw=1.1, label=label, zorder=4.5))
    handles += _draw_confirmed(axis, record)
    axis.set(xlabel="trial, by its start", ylabel=objective_label(record), ylim=(axis_range.low, axis_range.high))
    count = max((trial.number for trial in record.searched), default=1)
    axis.set_xlim(0.5 - 0.02 * count, count + 0.5 + 0.02 * count)
    whole_numbers(axis)
    legend(figure, handles)
    return figure


def _always(record: StudyRecord) -> list[float]:
    """Scores that are shown whatever they are: of the baseline and of the confirmed, with the ends of intervals."""
    recipe = baseline(record)
    shown = [recipe.score] if recipe and recipe.score is not None else []
    for place in record.places:
        shown += [place.low, place.high, place.score]
    for trial in leaders(record):
        shown += [end for end in trial.intervals.get(record.started.objective, []) if end is not None]
    return shown


def _draw_trials(
    axis: Axes, record: StudyRecord, trials: Sequence[TrialRecord], axis_range: ScoreRange
) -> list[Artist]:
    numbers = np.array([trial.number for trial in trials], dtype=int)
    scores = np.array([trial.score for trial in trials], dtype=float)
    outside = axis_range.is_outside(scores)
    handles: list[Artist] = []
    if (~outside).any():
        alpha, count = opacity(len(trials)), int((~outside).sum())
        points = axis.scatter(numbers[~outside], scores[~outside], s=20, color=BLUE, alpha=alpha, lw=0, zorder=2)
        thin(points, count)
        handles.append(_mark("o", BLUE, f"{len(trials)} completed"))
    if outside.any():
        handles.append(_at_the_end(axis, record, numbers[outside]))
    return handles + _draw_intervals(axis, record) + _draw_hopeless(axis, record, axis_range)


def _at_the_end(axis: Axes, record: StudyRecord, numbers: np.ndarray) -> Artist:
    """Arrows for scores beyond the axis."""
    low = record.started.direction == "max"
    end, marker = (0.02, "v") if low else (0.98, "^")
    across = axis.get_xaxis_transform()
    arrows = axis.scatter(numbers, np.full(len(numbers), end), s=22, marker=marker, color=BLUE, lw=0, transform=across)
    arrows.set(clip_on=False, zorder=3)
    thin(arrows, len(numbers))
    return _mark(marker, BLUE, f"{len(numbers)} of them {'below' if low else 'above'} the axis")


def _draw_intervals(axis: Axes, record: StudyRecord) -> list[Artist]:
    drawn = False
    for trial in leaders(record):
        low, high = trial.intervals.get(record.started.objective) or (None, None)
        if low is not None and high is not None:
            axis.plot([trial.number, trial.number], [low, high], color=BLUE, lw=1.3, alpha=0.8, zorder=3)
            drawn = True
    return [Line2D([], [], color=BLUE, lw=1.3, label="leaders' 95 % intervals")] if drawn else []


def _draw_hopeless(axis: Axes, record: StudyRecord, axis_range: ScoreRange) -> list[Artist]:
    handles: list[Artist] = []
    pruned = [trial for trial in record.searched if trial.status == "pruned" and trial.score is not None]
    if pruned:
        heights = axis_range.inside(trial.score or 0.0 for trial in pruned)
        marks = axis.scatter([trial.number for trial in pruned], heights, s=14, marker="v", facecolor="none")
        marks.set(edgecolor=GRAY, linewidth=0.8, alpha=0.8, zorder=1)
        thin(marks, len(pruned))
        handles.append(_mark("v", GRAY, f"{len(pruned)} pruned", hollow=True))
    failed = [trial.number for trial in record.searched if trial.status == "failed"]
    if failed:
        ends = (0.0, 0.035) if record.started.direction == "max" else (0.965, 1.0)
        axis.vlines(failed, *ends, color=ORANGE, lw=1.2, transform=axis.get_xaxis_transform(), zorder=3)
        handles.append(Line2D([], [], color=ORANGE, marker="|", ls="", ms=8, label=f"{len(failed)} failed"))
    return handles


def _draw_best(axis: Axes, record: StudyRecord, trials: Sequence[TrialRecord], axis_range: ScoreRange) -> list[Artist]:
    if not trials:
        return []
    better = np.maximum if record.started.direction == "max" else np.minimum
    best = better.accumulate([trial.score or 0.0 for trial in trials])
    count = max(trial.number for trial in record.searched)
    numbers, heights = [*(trial.number for trial in trials), count], axis_range.inside([*best, best[-1]])
    return list(
        axis.step(numbers, heights, where="post", color=ORANGE, lw=1.8, label=f"best so far: {best[-1]:.4f}", zorder=4)
    )


def _draw_confirmed(axis: Axes, record: StudyRecord) -> list[Artist]:
    """Beside its trial, so that the interval of the search stays visible."""
    aside = 0.25 if len(record.searched) < 30 else 0.008 * len(record.searched)
    for place in record.places:
        reach = [[place.score - place.low], [place.high - place.score]]
        x = record.trials[place.trial].number + aside
        axis.errorbar(x, place.score, reach, fmt="D", ms=5, color=GREEN, capsize=2.5, lw=1.5, zorder=5)
    return [_mark("D", GREEN, "confirmed, 95 % interval")] if record.places else []


def _mark(marker: str, colour: str, label: str, *, hollow: bool = False) -> Artist:
    face = "none" if hollow else colour
    return Line2D([], [], marker=marker, ls="", ms=5, color=colour, markerfacecolor=face, label=label)
