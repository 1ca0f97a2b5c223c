"""How trials learned: validation loss, and the objective, over the epochs of every training of the search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pneumo_core.plots import GRAY, ORANGE
from tuning.analysis.baseline import baseline
from tuning.analysis.charts.style import (
    INK,
    LEADER_COLOURS,
    ScoreRange,
    counted,
    dress,
    leaders,
    legend,
    new_figure,
    objective_label,
    opacity,
    score_range,
    thin,
    whole_numbers,
)
from tuning.record import StudyRecord, TrialRecord

Curve = tuple[TrialRecord, np.ndarray, np.ndarray]
"""A trial with the epochs that it trained, from 1, and a value after each of them."""


def plot_learning_curves(record: StudyRecord) -> Figure:
    """Draws the curves of all trials of the search, the leaders' in colour with a dot at the epoch that counts.

    Pruned trials end in a triangle, failed ones in a cross. The curve of a trial that continued another (a rung of
    Hyperband) begins where that one ended. Curves far from those of the leaders run out of the picture.

    Args:
        record: of the study; it may be half done.
    """
    losses = {trial.trial: trial.epoch_losses for trial in record.searched}
    scores = {trial.trial: trial.epoch_scores for trial in record.searched}
    both = any(scores.values()) and record.started.objective != "val_loss"
    figure = new_figure(3.9)
    axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    handles = _draw(axes[0], record, losses, "min")
    axes[0].set_ylabel("validation loss (nats; lower is better)")
    if both:
        _draw(axes[1], record, scores, record.started.direction)
        axes[1].set_ylabel(objective_label(record))
    legend(figure, handles)
    return figure


def _draw(axis: Axes, record: StudyRecord, values: Mapping[str, Mapping[int, float]], direction: str) -> list[Artist]:
    curves = _curves(record, values)
    shown = _range(record, curves, direction)
    leading = {trial.trial: colour for trial, colour in zip(leaders(record), LEADER_COLOURS, strict=False)}
    others = [curve for curve in curves if curve[0].trial not in leading]
    dress(axis)
    handles = _draw_others(axis, others) + _draw_ends(axis, others, shown)
    handles += _draw_leaders(axis, record, curves, leading)
    axis.set(xlabel="epochs trained", ylim=(shown.low, shown.high))
    axis.set_xmargin(0.04)
    whole_numbers(axis)
    return handles


def _range(record: StudyRecord, curves: Sequence[Curve], direction: str) -> ScoreRange:
    """Holds the leaders' curves, and of the others the first and last values, unless they are hopeless."""
    leading = {trial.trial for trial in leaders(record)}
    whole = [float(y) for trial, _, heights in curves if trial.trial in leading for y in heights]
    begun = score_range([float(heights[0]) for _, _, heights in curves], direction)
    ends = [begun.low, begun.high] if curves else []
    return score_range([float(heights[-1]) for _, _, heights in curves], direction, [*whole, *ends])


def _curves(record: StudyRecord, values: Mapping[str, Mapping[int, float]]) -> list[Curve]:
    curves = []
    for trial in record.searched:
        points = dict(values[trial.trial])
        before = values.get(trial.parent, {}).get(trial.first_epoch)
        if before is not None:
            points[trial.first_epoch] = before
        known = sorted((epoch, value) for epoch, value in points.items() if math.isfinite(value))
        if known:
            epochs, heights = zip(*known, strict=True)
            curves.append((trial, np.array(epochs, dtype=int), np.array(heights, dtype=float)))
    return curves


def _draw_others(axis: Axes, curves: Sequence[Curve]) -> list[Artist]:
    if not curves:
        return []
    alpha = opacity(len(curves), least=0.08)
    lines = LineCollection([np.column_stack(curve[1:]) for curve in curves], colors=GRAY, linewidths=0.8, alpha=alpha)
    thin(lines, len(curves))
    axis.add_collection(lines)
    single = [(epochs[0], heights[0]) for _, epochs, heights in curves if len(epochs) == 1]
    if single:  # a line needs two points
        x, y = np.transpose(single)
        dots = axis.scatter(x, y, s=8, color=GRAY, lw=0, alpha=alpha)
        thin(dots, len(single))
    return [Line2D([], [], color=GRAY, lw=1, label=counted(len(curves), "other trial"))]


def _draw_ends(axis: Axes, curves: Sequence[Curve], shown: ScoreRange) -> list[Artist]:
    handles: list[Artist] = []
    for status, marker, colour, face in (("pruned", "v", GRAY, "none"), ("failed", "x", ORANGE, ORANGE)):
        ended = [(epochs[-1], shown.inside([heights[-1]])[0]) for t, epochs, heights in curves if t.status == status]
        if ended:
            size = 24 if len(ended) < 50 else 12
            x, y = np.transpose(ended)
            marks = axis.scatter(x, y, s=size, marker=marker, color=colour, lw=1.0)
            marks.set(facecolor=face, zorder=3, clip_on=False)
            thin(marks, len(ended))
            handle = Line2D([], [], color=colour, marker=marker, ls="", ms=5, markerfacecolor=face)
            handle.set_label(f"{len(ended)} {status}")
            handles.append(handle)
    return handles


def _draw_leaders(axis: Axes, record: StudyRecord, curves: Sequence[Curve], colours: Mapping[str, str]) -> list[Artist]:
    by_trial = {curve[0].trial: curve for curve in curves}
    handles: list[Artist] = []
    for rank, (name, colour) in enumerate(colours.items(), start=1):
        if name in by_trial:
            trial, epochs, heights = by_trial[name]
            label = f"{rank}. {name}: {trial.score:.4f}"
            handles += axis.plot(epochs, heights, color=colour, lw=1.8, label=label, zorder=4)
            _dot(axis, by_trial[name], colour)
    recipe = baseline(record)
    if recipe and recipe.trial in by_trial and recipe.trial not in colours:
        _, epochs, heights = by_trial[recipe.trial]
        label = f"baseline {recipe.trial}: {recipe.score:.4f}"
        handles += axis.plot(epochs, heights, color=INK, ls="--", lw=1.3, label=label, zorder=4)
        _dot(axis, by_trial[recipe.trial], INK)
    return handles


def _dot(axis: Axes, curve: Curve, colour: str) -> None:
    """At the epoch that counts."""
    trial, epochs, heights = curve
    at = np.flatnonzero(epochs == (trial.best_epoch or 0) + 1)
    axis.plot(epochs[at], heights[at], "o", color=colour, ms=5, zorder=5)
