"""The panel of Grad-CAM: sampled images beside what their scores depend on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumo_core.explain import Cases

CAPTION = (
    "Grad-CAM: in colour, the regions that raise the score of {positive} (each image on its own scale). "
    "It shows where the score depends on the image,\nnot where a disease is, and is no diagnosis. "
    "Where no region raises the score, Grad-CAM cannot say where it comes from."
)
_COLOURS, _OPACITY = "inferno", 0.65
_PER_INCH = 13  # characters of the caption


def plot_grad_cam(
    cases: Sequence[Cases], pixels: np.ndarray, heatmaps: np.ndarray, class_names: tuple[str, str], threshold: float
) -> Figure:
    """Draws a row for each kind of call: every sampled image, and the same under its heatmap.

    Args:
        cases: as `pneumo_core.explain.sample_cases` returns them.
        pixels: (N, size, size, 1), 0 to 255, in the order of `pneumo_core.explain.sampled_paths`.
        heatmaps: (N, size, size), 0 to 1, of these images.
        class_names: of label 0 and label 1.
        threshold: that the cases were told apart by.

    Raises:
        ValueError: if there are not as many images and heatmaps as sampled cases.
    """
    sampled = sum(len(kind.rows) for kind in cases)
    if not len(pixels) == len(heatmaps) == sampled:
        raise ValueError(
            f"expected images and heatmaps of the {sampled} sampled cases, got {len(pixels)} and {len(heatmaps)}"
        )
    columns = max(1, *(len(kind.rows) for kind in cases))
    figure = Figure(figsize=(max(3.4 * columns, 8.0), 2.35 * len(cases) + 1.0), layout="constrained")
    bands: np.ndarray = figure.subfigures(len(cases), 1, squeeze=False)[:, 0]
    images = iter(zip(pixels[..., 0], heatmaps, strict=True))
    for band, kind in zip(bands, cases, strict=True):
        band.suptitle(_count(kind, class_names), fontsize=10, x=0.01, ha="left", weight="bold")
        _draw_kind(band.subplots(1, 2 * columns, squeeze=False)[0], kind, images)
    figure.suptitle(f"What scores depend on; called {class_names[1]} from {threshold:.3g} on", fontsize=12)
    caption = " ".join(CAPTION.format(positive=class_names[1]).split())
    figure.supxlabel(textwrap.fill(caption, round(_PER_INCH * figure.get_figwidth())), fontsize=8)
    return figure


def overlay(axis: Axes, heat: np.ndarray) -> None:
    """Lays a heatmap (H, W), 0 to 1, over the image that is drawn there."""
    axis.imshow(heat, cmap=_COLOURS, vmin=0, vmax=1, alpha=_OPACITY * heat)


def _count(kind: Cases, class_names: tuple[str, str]) -> str:
    """For example `false negatives: 3 of 390 PNEUMONIA, 3 shown`."""
    shown = f", {len(kind.rows)} shown" if kind.found else ""
    return f"{kind.kind}: {kind.found} of {kind.of_class} {class_names[kind.label]}{shown}"


def _draw_kind(axes: Sequence[Axes], kind: Cases, images: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
    for axis in axes:
        axis.set_axis_off()
    if kind.rows.empty:
        axes[0].text(0, 0.5, "none", transform=axes[0].transAxes, fontsize=9)
    pairs = zip(axes[::2], axes[1::2], strict=True)
    for row, (plain, overlaid) in zip(kind.rows.itertuples(), pairs, strict=False):
        gray, heat = next(images)
        _draw_pair(plain, overlaid, gray, heat, row)


def _draw_pair(plain: Axes, overlaid: Axes, gray: np.ndarray, heat: np.ndarray, row: Any) -> None:
    for axis in (plain, overlaid):
        axis.imshow(gray, cmap="gray", vmin=0, vmax=255)
    overlay(overlaid, heat)
    plain.set_title(f"probability {row.probability:.3f}", fontsize=8)
    overlaid.set_title(row.subtype if heat.any() else "no region raises it", fontsize=8)
    name = str(row.path).rpartition("/")[2].rpartition(".")[0]
    plain.text(0, -0.03, name, transform=plain.transAxes, fontsize=6, va="top", parse_math=False)
