"""The panel of `tune predict`: images, what their scores depend on, and what was predicted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from pneumo_core.explain_plots import CAPTION, overlay
from pneumo_core.plots import BLUE, ORANGE

_COLUMNS = 2
_UNLIKE = "unlike the training images"


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One image of the panel.

    Attributes:
        pixels: (H, W), 0 to 255, as the model saw them.
        heatmap: (H, W), 0 to 1, by Grad-CAM; None to draw none.
        name: of the file.
        lines: what was predicted, a line each.
        probabilities: of the negative and the positive class.
        is_familiar: whether it looks like the images that the model was made with.
    """

    pixels: np.ndarray
    heatmap: np.ndarray | None
    name: str
    lines: Sequence[str]
    probabilities: tuple[float, float]
    is_familiar: bool = True


def plot_predictions(panels: Sequence[Panel], class_names: tuple[str, str], threshold: float, title: str) -> Figure:
    """Draws for each image: the image, the same under its heatmap, and a bar for each class.

    Args:
        panels: one at least.
        class_names: of the negative and the positive class.
        threshold: probability from which on the positive class is called; a dashed line at the bar.
        title: of all.
    """
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.4 * columns, 2.75 * rows + 0.8), layout="constrained")
    cells = figure.subfigures(rows, columns, squeeze=False).ravel()
    for cell, panel in zip(cells, panels, strict=False):
        _draw(cell, panel, class_names, threshold)
    figure.suptitle(title, fontsize=11, parse_math=False)
    if any(panel.heatmap is not None for panel in panels):
        caption = CAPTION.format(positive=class_names[1])
        figure.supxlabel(caption if columns > 1 else caption.replace(". ", ".\n"), fontsize=7)
    return figure


def _draw(cell: SubFigure, panel: Panel, class_names: tuple[str, str], threshold: float) -> None:
    drawn = 1 if panel.heatmap is None else 2
    *images, bars = cell.subplots(1, drawn + 1, squeeze=False, width_ratios=[1.0] * drawn + [0.9])[0]
    for axis in images:
        axis.imshow(panel.pixels, cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
    if panel.heatmap is not None:
        overlay(images[1], panel.heatmap)
        if not panel.heatmap.any():
            images[1].text(0.5, -0.03, "no region raises the score", transform=images[1].transAxes, **_UNDER)
    if not panel.is_familiar:
        images[0].text(0.5, -0.03, _UNLIKE, transform=images[0].transAxes, color=ORANGE, weight="bold", **_UNDER)
    text = "\n".join([_short(panel.name), *panel.lines])
    cell.suptitle(text, fontsize=8, x=0.02, ha="left", linespacing=1.3, parse_math=False)
    _draw_bars(bars, panel.probabilities, class_names, threshold)


_UNDER = {"fontsize": 7, "ha": "center", "va": "top"}


def _short(name: str, most: int = 60) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}"


def _draw_bars(axis: Axes, values: tuple[float, float], class_names: tuple[str, str], threshold: float) -> None:
    drawn = axis.bar((0, 1), values, color=[BLUE, ORANGE], width=0.7)
    axis.bar_label(drawn, fmt="{:.1%}", fontsize=7)
    axis.hlines(threshold, 0.55, 1.45, colors="black", linestyles="--", lw=1)
    axis.set(ylim=(0, 1.12), xlim=(-0.6, 1.6))
    axis.set_xticks((0, 1), [_short(name, 14) for name in class_names], fontsize=7, parse_math=False)
    axis.set_yticks((0, 0.5, 1), ("0", "0.5", "1"), fontsize=7)
    axis.spines[["top", "right"]].set_visible(False)
