"""Which parameters mattered: the share of each in how scores differ, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pneumo_core.plots import ORANGE
from tuning.analysis.charts.style import BLUE, INK, SMALL_PT, counted, dress, legend, new_figure

if TYPE_CHECKING:  # it brings Optuna, which no figure needs
    from tuning.analysis.importance import Importances, ParameterImportance

MOST_PARAMETERS = 12
_PALE = 0.3


def plot_importances(importances: Importances) -> Figure:
    """Draws a bar for each parameter, the most important one first, with the ends of its interval.

    A bar is pale if the parameter cannot be told from one without any effect. A dotted line shows how far a column of
    random numbers came.

    Args:
        importances: the first `MOST_PARAMETERS` of them are drawn.

    Raises:
        ValueError: if there are none, with the reason.
    """
    shown = importances.parameters[:MOST_PARAMETERS]
    if not shown:
        raise ValueError(f"there are no importances to draw: {importances.reason or 'nothing was searched.'}")
    figure = new_figure(1.15 + 0.32 * len(shown))
    axis = figure.subplots()
    dress(axis, grid="x")
    _draw_bars(axis, shown)
    axis.set_xlabel(f"share of what the parameters explain ({counted(importances.trials, 'trial')})")
    legend(figure, _handles(axis, importances))
    return figure


def _draw_bars(axis: Axes, shown: Sequence[ParameterImportance]) -> None:
    for place, one in enumerate(shown):
        axis.barh(place, one.share, height=0.62, color=BLUE, alpha=0.95 if one.matters else _PALE)
        axis.plot([one.low, one.high], [place, place], color=INK, lw=1.2, marker="|", ms=6)
        end = (max(one.high, one.share), place)
        axis.annotate(
            f"{one.share:.0%}", end, (6, 0), textcoords="offset points", va="center", color=INK, size=SMALL_PT
        )
    axis.set_yticks(range(len(shown)), [one.name.replace("_", " ") for one in shown])
    axis.tick_params(axis="y", labelcolor=INK, length=0)
    widest = max(max(one.high, one.share) for one in shown)
    axis.set(xlim=(0, 1.12 * widest or 1.0), ylim=(len(shown) - 0.4, -0.6))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _handles(axis: Axes, importances: Importances) -> list[Artist]:
    handles: list[Artist] = [Line2D([], [], color=INK, lw=1.2, marker="|", ms=6, label="95 % interval")]
    if not all(one.matters for one in importances.parameters):
        handles.append(Patch(color=BLUE, alpha=_PALE, label="cannot be told from no effect"))
    if importances.noise > 0:
        handles.append(axis.axvline(importances.noise, color=ORANGE, ls=":", lw=1.4, label="reached by random numbers"))
    return handles
