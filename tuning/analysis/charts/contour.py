"""Two parameters at once: scores as a surface where there are trials, as strips or as a table where values are few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from tuning.analysis.baseline import baseline
from tuning.analysis.charts.parameter_axis import ParameterAxis, parameter_axis
from tuning.analysis.charts.style import (
    INK,
    LINE,
    SMALL_PT,
    ScoreRange,
    add_score_bar,
    counted,
    dress,
    leaders,
    legend,
    new_figure,
    opacity,
    score_colours,
    score_range,
    scored,
    sideways,
    thin,
)
from tuning.record import StudyRecord, TrialRecord

LEAST_TRIALS = 10
_GRID = 100  # points of a surface in each direction
_SURFACE_ENDS = (-0.04, 1.04)
_LEAST_WEIGHT = 0.6  # of trials near a point of the surface: 1 is a trial at the point itself
_ON_COLOUR, _POINT = "#fefefe", "#101418"  # text and points on coloured ground, in light and dark


def plot_contour(record: StudyRecord, first: str, second: str) -> Figure:
    """Draws the completed trials' scores over two parameters.

    Where both have few values it is a table of medians with counts; where one has, a strip for each of its values;
    else a surface: at each point the mean of the trials around it, weighted by a Gaussian of their distance
    (Nadaraya 1964), and nothing where no trial is near.

    Args:
        record: of the study.
        first: parameter from left to right.
        second: from bottom to top.

    Raises:
        ValueError: if fewer than `LEAST_TRIALS` completed trials have both parameters.
    """
    across, up = parameter_axis(record, first), parameter_axis(record, second)
    trials = [t for t in scored(record) if t.params.get(first) is not None and t.params.get(second) is not None]
    if len(trials) < LEAST_TRIALS:
        has = "has" if len(trials) == 1 else "have"
        raise ValueError(
            f"a contour needs {LEAST_TRIALS} completed trials with {first} and {second}; {len(trials)} {has} both."
        )
    if across.discrete and not up.discrete:
        return plot_contour(record, second, first)
    figure = new_figure(4.4, 6.6)
    axis = figure.subplots()
    dress(axis, grid="")
    if across.discrete:
        shown = _draw_table(axis, record, trials, across, up)
    else:
        shown = (_draw_strips if up.discrete else _draw_surface)(axis, record, trials, across, up)
        _draw_points(figure, axis, record, trials, across, up)
    axis.set(xlabel=across.label(), ylabel=up.label(), xlim=_ends(across), ylim=_ends(up))
    for one, ticks in ((across, axis.set_xticks), (up, axis.set_yticks)):
        active = [(place, text) for place, text in one.ticks() if place >= 0]
        ticks([place for place, _ in active], [text for _, text in active])
    add_score_bar(figure, axis, record, shown)
    return figure


def _ends(one: ParameterAxis) -> tuple[float, float]:
    margin = _half_cell(one) if one.discrete else 0.04
    return -margin, 1 + margin


def _half_cell(one: ParameterAxis) -> float:
    return 0.5 / max(len(one.values) - 1, 1) if len(one.values) > 1 else 0.6


def _range(drawn: Sequence[float] | np.ndarray, trials: Sequence[TrialRecord], record: StudyRecord) -> ScoreRange:
    """The colours' range: of what is drawn, yet at least a quarter of the trials' own, so that noise stays pale."""
    values = np.asarray(drawn, dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    whole = score_range([trial.score or 0.0 for trial in trials], record.started.direction)
    missing = max(0.25 * (whole.high - whole.low) - (high - low), 0.0)
    return ScoreRange(low - missing / 2, high + missing / 2, clipped=False)


def _draw_table(
    axis: Axes, record: StudyRecord, trials: Sequence[TrialRecord], across: ParameterAxis, up: ParameterAxis
) -> ScoreRange:
    scores: dict[tuple[float, float], list[float]] = {}
    for trial, x, y in zip(trials, across.places(trials), up.places(trials), strict=True):
        scores.setdefault((float(x), float(y)), []).append(trial.score or 0.0)
    medians = {place: float(np.median(found)) for place, found in scores.items()}
    shown = _range(list(medians.values()), trials, record)
    colours, norm = score_colours(record), shown.normalize()
    width, height, small = 2 * _half_cell(across), 2 * _half_cell(up), len(across.values) > 6
    for (x, y), median in medians.items():
        corner, face = (x - width / 2, y - height / 2), colours(norm(median))
        axis.add_patch(Rectangle(corner, width, height, facecolor=face, edgecolor=LINE, lw=0.8))
        text = f"{median:.3f}" + ("\n" if small else "\nn = ") + f"{len(scores[x, y])}"
        axis.text(x, y, text, ha="center", va="center", color=_text_on(face), size=SMALL_PT - 1.5 * small)
    axis.set_title("median of trials, and how many", loc="left", size=SMALL_PT)
    return shown


def _text_on(face: tuple[float, float, float, float]) -> str:
    """The colour of text on another, by its relative luminance, roughly."""
    return _POINT if 0.21 * face[0] ** 2.2 + 0.72 * face[1] ** 2.2 + 0.07 * face[2] ** 2.2 > 0.2 else _ON_COLOUR


def _draw_surface(
    axis: Axes, record: StudyRecord, trials: Sequence[TrialRecord], across: ParameterAxis, up: ParameterAxis
) -> ScoreRange:
    points = np.column_stack([across.places(trials), up.places(trials)])
    along = np.linspace(*_SURFACE_ENDS, _GRID)
    right, top = np.meshgrid(along, along)
    places = np.column_stack([right.ravel(), top.ravel()])
    surface = smoothed(points, _scores(trials), places).reshape(_GRID, _GRID)
    shown = _range(surface, trials, record)
    _show(axis, surface, (*_SURFACE_ENDS, *_SURFACE_ENDS), record, shown)
    if np.ptp(surface[np.isfinite(surface)]) > 0:
        lines = axis.contour(along, along, surface, levels=5, colors=_ON_COLOUR, linewidths=0.6, alpha=0.8)
        axis.clabel(lines, fontsize=SMALL_PT - 1.5)
    return shown


def _draw_strips(
    axis: Axes, record: StudyRecord, trials: Sequence[TrialRecord], across: ParameterAxis, up: ParameterAxis
) -> ScoreRange:
    """One for each value of the second parameter."""
    x, y, scores = across.places(trials), up.places(trials), _scores(trials)
    along, half = np.linspace(*_SURFACE_ENDS, 4 * _GRID)[:, None], 0.8 * _half_cell(up)
    strips = {
        float(place): smoothed(x[y == place][:, None], scores[y == place], along)[None, :] for place in np.unique(y)
    }
    shown = _range(np.concatenate(list(strips.values())), trials, record)
    for place, strip in strips.items():
        _show(axis, strip, (*_SURFACE_ENDS, place - half, place + half), record, shown)
    return shown


def _show(
    axis: Axes, values: np.ndarray, extent: tuple[float, float, float, float], record: StudyRecord, shown: ScoreRange
) -> None:
    axis.imshow(
        values,
        extent=extent,
        cmap=score_colours(record),
        norm=shown.normalize(),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )


def _scores(trials: Sequence[TrialRecord]) -> np.ndarray:
    return np.array([trial.score for trial in trials], dtype=float)


def smoothed(points: np.ndarray, scores: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Returns the mean of scores around places, weighted by a Gaussian of the distance.

    Its width follows Scott's rule for points that fill the unit cube evenly. Robust against a few hopeless trials it
    is not: they are there.

    Args:
        points: (N, dimensions) where the scores are, each from 0 to 1.
        scores: (N,).
        at: (M, dimensions) places.

    Returns:
        (M,); NaN where all weights together are less than `_LEAST_WEIGHT` of a trial's at the place itself.
    """
    width = 0.29 * len(points) ** (-1.0 / (points.shape[1] + 4))  # 0.29: standard deviation of the uniform
    squares = ((at[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
    weights = np.exp(-0.5 * squares / width**2)
    total = weights.sum(axis=1)
    means: np.ndarray = np.divide(weights @ scores, total, out=np.full(len(at), np.nan), where=total >= _LEAST_WEIGHT)
    return means


def _draw_points(
    figure: Figure,
    axis: Axes,
    record: StudyRecord,
    trials: Sequence[TrialRecord],
    across: ParameterAxis,
    up: ParameterAxis,
) -> None:
    spread = np.array([sideways(trial.number) for trial in trials]) * up.spread * up.discrete
    size, alpha = 12 if len(trials) < 100 else 6, opacity(len(trials), least=0.35)
    points = axis.scatter(across.places(trials), up.places(trials) + spread, s=size, color=_POINT, alpha=alpha, lw=0)
    thin(points, len(trials))
    handles = [Line2D([], [], color=INK, marker="o", ls="", ms=3, label=counted(len(trials), "completed trial"))]
    recipe = baseline(record)
    for trial, marker, name, size in ((recipe, "s", "baseline", 40), (leaders(record, 1)[0], "*", "best", 160)):
        if trial in trials and trial is not None:
            at = (across.place(trial.params[across.name]), up.place(trial.params[up.name]))
            axis.scatter(*at, s=size, marker=marker, color=_ON_COLOUR, edgecolor=_POINT, lw=1.0, zorder=5)
            handle = Line2D([], [], color=_ON_COLOUR, marker=marker, ls="", ms=size**0.5 * 0.8, markeredgecolor=INK)
            handle.set_label(f"{name} {trial.trial}: {trial.score:.4f}")
            handles.append(handle)
    legend(figure, handles)
