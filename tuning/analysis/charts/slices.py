"""Score against one parameter at a time, as small multiples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pneumo_core.plots import ORANGE
from tuning.analysis.baseline import baseline
from tuning.analysis.charts.parameter_axis import INACTIVE, ParameterAxis, parameter_axes
from tuning.analysis.charts.style import (
    BLUE,
    CARD,
    GREEN,
    INK,
    LINE,
    SMALL_PT,
    SOFT,
    TEXT_PT,
    ScoreRange,
    counted,
    dress,
    leaders,
    legend,
    new_figure,
    objective_label,
    opacity,
    score_range,
    scored,
    sideways,
    thin,
)
from tuning.record import StudyRecord, TrialRecord

MOST_PARAMETERS = 9
_COLUMNS = 3
_LEAST = 5  # trials in a group that has a median
_LONGEST_LABELS = 26  # characters side by side below an axis


def plot_slices(record: StudyRecord, parameters: Sequence[str]) -> Figure:
    """Draws the completed trials' scores over each parameter, with medians and the middle half of neighbouring trials.

    Medians say what trials with a value came to, not what the value did: a search tries good regions more often, and
    together with good values of other parameters. Trials without the parameter stand apart on the left.

    Args:
        record: of the study.
        parameters: the first `MOST_PARAMETERS` of them that trials have are drawn.

    Raises:
        ValueError: if no trial completed, or there is no parameter to draw.
    """
    trials, recipe = scored(record), baseline(record)
    axes = parameter_axes(record, parameters, MOST_PARAMETERS)
    if not trials or not axes:
        raise ValueError("slices need a completed trial and a parameter.")
    always = [recipe.score] if recipe and recipe.score is not None else []
    shown = score_range([trial.score or 0.0 for trial in trials], record.started.direction, always)
    columns = min(_COLUMNS, len(axes))
    rows = -(-len(axes) // columns)
    figure = new_figure(0.75 + 2.15 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    medians = 0
    for panel, one in zip(panels, axes, strict=False):
        medians += _draw_panel(panel, one, trials, shown)
        _draw_marked(panel, one, leaders(record, 1)[0], recipe, shown)
    for panel in panels[len(axes) :]:
        panel.set_visible(False)
    figure.supylabel(objective_label(record), color=INK, fontsize=TEXT_PT)
    handles = _handles(trials, leaders(record, 1)[0], recipe, shown)
    if medians:
        handles.append(Line2D([], [], color=INK, lw=1.6, label="median and middle half"))
    if any(one.inactive for one in axes):
        handles.append(Line2D([], [], ls="", marker="$–$", color=SOFT, label="without the parameter"))
    legend(figure, handles)
    return figure


def _draw_panel(panel: Axes, one: ParameterAxis, trials: Sequence[TrialRecord], shown: ScoreRange) -> int:
    """Returns how many medians it has."""
    dress(panel)
    places = one.places(trials)
    scores = shown.inside(trial.score or 0.0 for trial in trials)
    spread = np.array([sideways(trial.number) for trial in trials]) * one.spread
    apart = places + np.where((places == INACTIVE) | one.discrete, spread, 0.0)
    size = 16 if len(trials) < 100 else 9
    points = panel.scatter(apart, scores, s=size, color=BLUE, alpha=opacity(len(trials)), lw=0, zorder=2)
    thin(points, len(trials))
    groups = [places == place for place in np.unique(places)] if one.discrete else _neighbours(places)
    groups = [group for group in groups if group.sum() >= _LEAST]
    _draw_medians(panel, places, scores, groups, one)
    if one.inactive:
        panel.axvline(INACTIVE / 2 - 0.01, color=LINE, lw=1)
    panel.set(xlim=one.ends, ylim=(shown.low, shown.high), xlabel=one.label())
    _draw_ticks(panel, one)
    return len(groups)


def _neighbours(places: np.ndarray) -> list[np.ndarray]:
    """The inactive ones, and three or more groups of equally many active ones, in the order of their values."""
    active = np.flatnonzero(places != INACTIVE)
    count = int(np.clip(len(active) // 12, 0, 10))
    ordered = active[np.argsort(places[active], kind="stable")]
    groups = np.array_split(ordered, count) if count >= 3 else []
    return [places == INACTIVE, *(np.isin(np.arange(len(places)), group) for group in groups)]


def _draw_medians(
    panel: Axes, places: np.ndarray, scores: np.ndarray, groups: Sequence[np.ndarray], one: ParameterAxis
) -> None:
    lines = []
    for group in groups:
        place = float(np.median(places[group]))
        low, middle, high = np.quantile(scores[group], (0.25, 0.5, 0.75))
        if one.discrete or place == INACTIVE:
            half = 0.6 * min(one.spread, 0.1)
            panel.plot([place, place], [low, high], color=INK, lw=1.2, zorder=4)
            panel.plot([place - half, place + half], [middle, middle], color=INK, lw=2, zorder=4)
        else:
            lines.append((place, low, middle, high))
    if lines:
        at, low, middle, high = np.array(lines).T
        panel.fill_between(at, low, high, color=INK, alpha=0.15, lw=0, zorder=3)
        panel.plot(at, middle, color=INK, lw=1.6, zorder=4)


def _draw_marked(
    panel: Axes, one: ParameterAxis, best: TrialRecord, recipe: TrialRecord | None, shown: ScoreRange
) -> None:
    marks = [(best, "*", ORANGE, 130)] if recipe is None else [(recipe, "s", GREEN, 34), (best, "*", ORANGE, 130)]
    for trial, marker, colour, size in marks:
        place = one.place(trial.params.get(one.name))
        height = shown.inside([trial.score or 0.0])
        panel.scatter(place, height, s=size, marker=marker, color=colour, edgecolor=CARD, lw=0.8, zorder=6)


def _draw_ticks(panel: Axes, one: ParameterAxis) -> None:
    ticks = one.ticks()
    while len(ticks) > 6 and one.scale != "choice":
        ticks = ticks[::2]
    panel.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    if sum(len(text) for _, text in ticks) > _LONGEST_LABELS:
        panel.tick_params(axis="x", labelrotation=30, labelsize=SMALL_PT)
        for text in panel.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")


def _handles(
    trials: Sequence[TrialRecord], best: TrialRecord, recipe: TrialRecord | None, shown: ScoreRange
) -> list[Artist]:
    outside = int(shown.is_outside(trial.score or 0.0 for trial in trials).sum())
    beyond = f", {outside} of them beyond the axis" if outside else ""
    label = counted(len(trials), "completed trial") + beyond
    handles = [
        Line2D([], [], color=BLUE, marker="o", ls="", ms=4, label=label),
        Line2D([], [], color=ORANGE, marker="*", ls="", ms=10, label=f"best {best.trial}: {best.score:.4f}"),
    ]
    if recipe:
        text = f"baseline {recipe.trial}: {recipe.score:.4f}"
        handles.append(Line2D([], [], color=GREEN, marker="s", ls="", ms=5, label=text))
    return list(handles)
