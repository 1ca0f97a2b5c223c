"""How the charts of a study look: colours that read on white and on dark ground, sizes, marks, the axis of a score."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pneumo_core.evaluation_report import METRIC_LABELS
from pneumo_core.plots import ORANGE
from tuning.record import StudyRecord, TrialRecord

# The colours of `tuning.document`'s pages in the light; `svg.themed_svg` makes the page's variables of them.
INK, SOFT, LINE, CARD = "#1a2026", "#5b6670", "#dde1e5", "#ffffff"
BLUE, GREEN = "#2B8CC4", "#009E73"
"""Halfway from Okabe & Ito's blue, too dark for a dark ground, to their sky blue, too light for white; their green."""

LEADER_COLOURS = (ORANGE, BLUE, GREEN, "#B6659B", "#A07800")
"""After Okabe & Ito, purple and yellow darkened: each has a contrast of 3 or more on white and on dark ground."""

WIDTH_IN = 8.4
TEXT_PT, SMALL_PT = 9.5, 8.5
DENSE = 400
"""So many marks or lines are drawn as pixels within an SVG, which else would be megabytes."""


def _score_colours() -> Colormap:
    """The part of `plasma` (even in lightness, for any colour vision) that reads on white and on dark ground."""
    return LinearSegmentedColormap.from_list("scores", matplotlib.colormaps["plasma"](np.linspace(0.26, 0.76, 64)))


SCORE_COLOURS = _score_colours()


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Returns an empty figure, its parts laid out so that none covers another."""
    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor=CARD)


def dress(axis: Axes, *, grid: str = "y") -> None:
    """Gives an axis the sizes and colours of all charts.

    Args:
        axis: to be dressed.
        grid: direction of faint lines behind the data: `x`, `y`, `both`; empty for none.

    Side effects:
        Changes the axis.
    """
    axis.set_facecolor("none")
    axis.tick_params(labelsize=SMALL_PT, colors=SOFT, length=3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(SOFT)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set(color=INK, size=TEXT_PT)
    axis.title.set(color=INK, size=TEXT_PT)
    axis.set_axisbelow(True)
    if grid:
        axis.grid(axis="both" if grid == "both" else "x" if grid == "x" else "y", color=LINE, lw=0.7)


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Puts a legend below all axes, where it covers nothing, in as many columns as fit.

    Side effects:
        Changes the figure.
    """
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        entry_pt = 0.58 * SMALL_PT * longest + 40.0  # a letter is about 0.58 of its size wide, a mark with gaps 40 pt
        columns = int(np.clip(72.0 * figure.get_figwidth() / entry_pt, 1, 4))
        box = figure.legend(
            handles=list(handles), loc="outside lower center", ncols=columns, fontsize=SMALL_PT, frameon=False
        )
        for text in box.get_texts():
            text.set_color(INK)


def whole_numbers(axis: Axes) -> None:
    """Has an axis count trials or epochs, of which there are no halves.

    Side effects:
        Changes the axis.
    """
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def thin(artist: Artist, count: int) -> None:
    """Has an artist of very many parts drawn as pixels where the figure becomes an SVG.

    Side effects:
        Changes the artist.
    """
    artist.set_rasterized(count > DENSE)


def opacity(count: int, least: float = 0.25) -> float:
    """Returns how opaque each of so many marks is drawn, so that many over each other still show where most are."""
    return float(np.clip(6.0 / math.sqrt(max(count, 1)), least, 0.85))


def counted(count: int, one: str, many: str = "") -> str:
    """Returns `1 trial`, `2 trials`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def sideways(number: int) -> float:
    """Returns where a trial is drawn beside others of its value, from -0.5 to 0.5, by its number alone.

    Multiples of the golden ratio fill the width evenly, however many there are.
    """
    return (number * 0.6180339887498949) % 1.0 - 0.5


def metric_label(name: str) -> str:
    """Returns `validation ROC AUC` for `val_roc_auc`."""
    part, bare = ("validation ", name.removeprefix("val_")) if name.startswith("val_") else ("", name)
    return part + METRIC_LABELS.get(bare, bare.replace("_", " "))


def objective_label(record: StudyRecord) -> str:
    """Returns what a study's scores are, and which of them are better."""
    better = "higher" if record.started.direction == "max" else "lower"
    label = metric_label(record.started.objective)
    return f"{label[:-1]}; {better} is better)" if label.endswith(")") else f"{label} ({better} is better)"


def scored(record: StudyRecord) -> list[TrialRecord]:
    """Returns the completed trials of the search with a score that is a number, in the order of their start."""
    return [
        trial
        for trial in record.searched
        if trial.status == "completed" and trial.score is not None and math.isfinite(trial.score)
    ]


def leaders(record: StudyRecord, top: int = 5) -> list[TrialRecord]:
    """Returns the best of those that `scored` returns, as the leaderboard ranks them."""
    known = {trial.trial for trial in scored(record)}
    return [trial for trial in record.ranked() if trial.trial in known][:top]


@dataclasses.dataclass(frozen=True)
class ScoreRange:
    """The part of the scores' axis that is shown: good ones never leave it, a few hopeless ones may.

    Attributes:
        low: lower end.
        high: upper end.
        clipped: whether there are scores outside.
    """

    low: float
    high: float
    clipped: bool

    def inside(self, values: Iterable[float]) -> np.ndarray:
        """Returns values with those outside moved to the end that they are beyond."""
        held: np.ndarray = np.clip(np.asarray(list(values), dtype=float), self.low, self.high)
        return held

    def is_outside(self, values: Iterable[float]) -> np.ndarray:
        """Returns for each value whether it is outside."""
        array = np.asarray(list(values), dtype=float)
        outside: np.ndarray = (array < self.low) | (array > self.high)
        return outside

    def normalize(self) -> Normalize:
        """Returns the range for colours."""
        return Normalize(self.low, self.high, clip=True)


def score_range(scores: Iterable[float], direction: str, always: Iterable[float] = ()) -> ScoreRange:
    """Returns the range in which scores can be told apart.

    The fence lies on the worse side, 1.5 times as far from the worst quartile as that is from the best score. Where
    the worst score is less than 3 times as far, nothing is left out.

    Args:
        scores: any number of them; those that are not finite are ignored.
        direction: `max` or `min`: which side is the better one.
        always: values that are to be shown as well: ends of intervals, the baseline.
    """
    sign = 1.0 if direction == "max" else -1.0
    found = sign * np.asarray([score for score in scores if math.isfinite(score)], dtype=float)
    if not len(found):
        return ScoreRange(0.0, 1.0, clipped=False)
    best, quartile = float(found.max()), float(np.quantile(found, 0.25))
    reach = best - quartile
    low = float(found.min())
    clipped = low < quartile - 3.0 * reach and reach > 0
    low = quartile - 1.5 * reach if clipped else low
    shown = [low, best, *(sign * value for value in always if math.isfinite(value))]
    low, high = min(shown), max(shown)
    margin = 0.05 * (high - low) or 0.01 * (abs(high) or 1.0)
    ends = sorted((sign * (low - margin), sign * (high + margin)))
    return ScoreRange(ends[0], ends[1], clipped=bool((found < low - margin).any()))


def score_colours(record: StudyRecord) -> Colormap:
    """Returns the colours of a study's scores, whose light end is the better one."""
    return SCORE_COLOURS if record.started.direction == "max" else SCORE_COLOURS.reversed()


def add_score_bar(figure: Figure, axes: Axes | Sequence[Axes], record: StudyRecord, shown: ScoreRange) -> None:
    """Puts the colours of scores beside a chart.

    Side effects:
        Changes the figure.
    """
    extend = "neither" if not shown.clipped else "min" if record.started.direction == "max" else "max"
    mappable = ScalarMappable(shown.normalize(), score_colours(record))
    bar = figure.colorbar(mappable, ax=axes, extend=extend, fraction=0.025, pad=0.01, aspect=30)
    bar.set_label(objective_label(record), color=INK, size=TEXT_PT)
    bar.ax.tick_params(labelsize=SMALL_PT, colors=SOFT)
    bar.outline.set_visible(False)
