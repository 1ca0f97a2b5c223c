"""Figures for people. Each function returns a matplotlib figure that nothing else holds on to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumo_core.calibration import calibrated
from pneumo_core.classifier import DEFAULT_THRESHOLD
from pneumo_core.curves import BAND_DRAWS, GRID, Band, precision_recall_band, reliability, roc_band
from pneumo_core.evaluation import confusion_counts
from pneumo_core.evaluation_report import EvaluationReport, evaluate
from pneumo_core.operating_point import OperatingPoint
from pneumo_core.scores import Scores, read_aligned, read_scores
from pneumo_core.seeds import generator
from pneumo_core.weighted_metrics import WeightedMetrics, names_of

if TYPE_CHECKING:
    from pneumo_core.training import EpochMetrics  # brings TensorFlow along

# Okabe & Ito's colours can be told apart with any colour vision: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#7F7F7F"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Of curves side by side, in this order; the lines differ too."""

_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 1, 2)))
_MARKS = "osD^vPX*"
_LEGEND_DRAWS = 500  # of patients, for three digits
_CORNER = 0.2  # side of the part that is enlarged
_MARGINS = {"left": 0.17, "right": 0.97, "bottom": 0.12, "top": 0.93}
# Of what is drawn for every trial, beside trainings that need the processor; to have them found takes a third longer.


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG.

    Side effects:
        Writes the file.
    """
    figure.savefig(path, dpi=100, metadata={"Software": None})


def sample_rows(manifest: pd.DataFrame, *, seed: int = 0, columns: int = 6) -> np.ndarray:
    """Returns the positions of random images, at most `columns` of each class."""
    labels = manifest["label"].to_numpy()
    chosen = [generator(seed, "samples", label).permutation(np.flatnonzero(labels == label)) for label in (0, 1)]
    return np.concatenate([rows[:columns] for rows in chosen])


def plot_samples(pixels: np.ndarray, manifest: pd.DataFrame, class_names: tuple[str, str]) -> Figure:
    """Draws a grid of images, one row for each class.

    Args:
        pixels: (N, H, W, 1), 0 to 255, in the order of the manifest's rows.
        manifest: columns label and subtype; as chosen by `sample_rows`.
        class_names: of label 0 and label 1.
    """
    labels = manifest["label"].to_numpy()
    columns = max(int((labels == label).sum()) for label in (0, 1))
    figure = Figure(figsize=(2.0 * columns, 4.6), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    for label, name in enumerate(class_names):
        rows = np.flatnonzero(labels == label)
        for column, axis in enumerate(axes[label]):
            axis.set_axis_off()
            if column < len(rows):
                axis.imshow(pixels[rows[column], :, :, 0], cmap="gray", vmin=0, vmax=255)
                subtype = manifest["subtype"].iloc[rows[column]]
                axis.set_title(name if subtype in ("", name.lower()) else f"{name} ({subtype})", fontsize=8)
    figure.suptitle(f"Random images as the model sees them, {pixels.shape[2]} × {pixels.shape[1]} px")
    return figure


def plot_history(history: Sequence[EpochMetrics], best_epoch: int) -> Figure:
    """Draws loss, accuracy and validation ROC AUC over the epochs; a dotted line marks the epoch that counts."""
    figure = Figure(figsize=(11, 3.6))
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.14, top=0.89, wspace=0.28)
    loss, accuracy, auc = figure.subplots(1, 3)
    epochs = np.arange(1, len(history) + 1)
    for axis, name in ((loss, "loss"), (accuracy, "accuracy")):
        axis.plot(epochs, [row[name] for row in history], "o-", ms=3, color=BLUE, label="training")
        axis.plot(epochs, [row[f"val_{name}"] for row in history], "s-", ms=3, color=ORANGE, label="validation")
        axis.legend()
    loss.set_ylabel("loss (nats; training: weighted, with dropout)", fontsize=8)
    accuracy.set_ylabel("accuracy at 0.5")
    auc.plot(epochs, [row["val_roc_auc"] for row in history], "s-", ms=3, color=ORANGE)
    auc.set_ylabel("validation ROC AUC")
    for axis in (loss, accuracy, auc):
        axis.axvline(best_epoch + 1, color=GRAY, ls=":")
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"Training history; epoch {best_epoch + 1}, with the lowest validation loss, counts")
    return figure


def plot_roc(scores: pd.DataFrame, operating_point: OperatingPoint | None = None) -> Figure:
    """Draws the ROC curve of a score table with its band, the mean curve and those of the folds if there are several.

    Args:
        scores: as for `pneumo_core.evaluation`.
        operating_point: is marked on the curve.
    """
    figure, axis = _square("Receiver operating characteristic")
    table = read_scores(scores)
    at = _metrics_at(table, operating_point or OperatingPoint(DEFAULT_THRESHOLD))
    _draw_band(axis, roc_band(table), f"AUC {at['roc_auc']:.3f}", start=(0.0, 0.0))
    axis.plot([0, 1], [0, 1], ":", color=GRAY, label="chance")
    if operating_point:
        _mark(axis, 1 - at["specificity"], at["sensitivity"], operating_point)
    axis.set(xlabel="1 - specificity", ylabel="sensitivity")
    axis.legend(loc="lower right", fontsize=8)
    return figure


def plot_roc_curves(
    curves: Mapping[str, Sequence[pd.DataFrame]], points: Mapping[str, OperatingPoint] | None = None
) -> Figure:
    """Draws the ROC curves of several models over each other, each the mean over its folds and seeds.

    Where all of them come near the upper left corner, that is shown enlarged beside them. Two curves have their bands;
    more would hide each other.

    Args:
        curves: name of a model → its score tables, one for each seed; 8 models at most.
        points: name → operating point, which is marked; fitted on the scores themselves if None.
    """
    reports = {
        name: evaluate(tables, operating_point=points[name] if points else None, draws=_LEGEND_DRAWS)
        for name, tables in curves.items()
    }
    close = all(report.metrics["roc_auc"].value > 1 - _CORNER / 2 for report in reports.values())
    size_in = (9.4, 5.0 + 0.1 * len(curves)) if close else (5.4, 5.9 + 0.2 * len(curves))
    figure = Figure(figsize=size_in, layout="constrained")
    axes = figure.subplots(1, 2 if close else 1, squeeze=False)[0]
    for number, (name, tables) in enumerate(curves.items()):
        _draw_model(axes, number, name, tables, reports[name], with_band=len(curves) <= 2)
    for axis in axes:
        axis.plot([0, 1], [0, 1], ":", color=GRAY, lw=0.8)
        axis.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes[0].set_title("Receiver operating characteristic")
    if close:
        edge = 0.02 * _CORNER
        axes[1].set(title="Its upper left corner", xlim=(-edge, _CORNER), ylim=(1 - _CORNER, 1 + edge))
        axes[1].set(xticks=np.linspace(0, _CORNER, 5), yticks=np.linspace(1 - _CORNER, 1, 5))
    shaded = "; shaded: 95 % over patients" if len(curves) <= 2 else ""
    axes[0].plot([], [], "o", color=GRAY, label=f"marks: where the models call{shaded}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if close else 1, fontsize=8)
    return figure


def plot_precision_recall(scores: pd.DataFrame, operating_point: OperatingPoint | None = None) -> Figure:
    """Draws the precision-recall curve of a score table, as `plot_roc` draws its."""
    figure, axis = _square("Precision and recall")
    table = read_scores(scores)
    at = _metrics_at(table, operating_point or OperatingPoint(DEFAULT_THRESHOLD))
    _draw_band(axis, precision_recall_band(table), f"average precision {at['pr_auc']:.3f}")
    axis.axhline(table.labels.mean(), ls=":", color=GRAY, label="prevalence")
    if operating_point:
        _mark(axis, at["sensitivity"], at["ppv"], operating_point)
    axis.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)")
    axis.legend(loc="lower left", fontsize=8)
    return figure


def plot_confusion(scores: pd.DataFrame, class_names: tuple[str, str], threshold: float) -> Figure:
    """Draws the confusion matrix of a score table at a threshold, with counts and the share of each true class."""
    counts = confusion_counts(scores, threshold)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(4.6, 4.2))
    figure.subplots_adjust(**_MARGINS)
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        colour = "#fefefe" if share[row, column] > 0.5 else "#101418"  # not the ink of a page that may be dark
        text = f"{counts[row, column]}\n{share[row, column]:.1%}"
        axis.text(column, row, text, ha="center", va="center", color=colour)
    axis.set_xticks([0, 1], class_names)
    axis.set_yticks([0, 1], class_names, rotation=90, va="center")
    axis.set(xlabel="called", ylabel="true", title=f"Confusion matrix at threshold {threshold:.3g}")
    return figure


def plot_calibration(scores: pd.DataFrame, bins: int = 10, operating_point: OperatingPoint | None = None) -> Figure:
    """Draws observed against predicted frequency in equally filled bins, above the histogram of probabilities.

    Args:
        scores: as for `pneumo_core.evaluation`; all folds together.
        bins: how many, at most.
        operating_point: its temperature is applied, with what it was without in gray, and its threshold drawn.
    """
    figure = Figure(figsize=(4.6, 5.2))
    figure.subplots_adjust(**_MARGINS, hspace=0.1)
    curve, histogram = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    table = read_scores(scores)
    probabilities = calibrated(table.logits, operating_point.temperature) if operating_point else table.probabilities
    curve.plot([0, 1], [0, 1], ":", color=GRAY, label="perfect")
    if operating_point:
        before = reliability(table, table.probabilities, bins)
        label = f"before (temperature {operating_point.temperature:.2f})"
        curve.plot(before.predicted, before.observed, "s--", ms=3, lw=1, color=GRAY, label=label)
        for axis in (curve, histogram):
            axis.axvline(operating_point.threshold, color=ORANGE, lw=1)
    points = reliability(table, probabilities, bins)
    reach = np.abs(np.stack([points.low, points.high]) - points.observed)
    label = f"{len(points.observed)} bins of equal size, 95 % intervals"
    curve.errorbar(points.predicted, points.observed, reach, fmt="o-", ms=4, capsize=2, color=BLUE, label=label)
    curve.set(ylabel="observed frequency", title="Calibration", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    curve.legend(loc="lower right", fontsize=8)
    histogram.hist(probabilities, bins=20, range=(0, 1), color=BLUE)
    histogram.set(xlabel="predicted probability", ylabel="images")
    return figure


def _square(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 4.2))
    figure.subplots_adjust(**_MARGINS)
    axis = figure.subplots()
    axis.set(title=title, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure, axis


def _draw_band(axis: Axes, band: Band, label: str, start: tuple[float, float] | None = None) -> None:
    axis.fill_between(GRID, band.low, band.high, color=BLUE, alpha=0.2, lw=0, label="95 % band over patients")
    if len(band.of_folds) > 1:
        axis.plot(GRID, band.of_folds.T, color=GRAY, lw=0.6)
        axis.plot([], [], color=GRAY, lw=0.6, label=f"{len(band.of_folds)} folds")
        label = f"mean of the folds, {label}"
    x, y = (GRID, band.curve) if start is None else (np.append(start[0], GRID), np.append(start[1], band.curve))
    axis.plot(x, y, color=BLUE, label=label)


def _draw_model(
    axes: Sequence[Axes],
    number: int,
    name: str,
    tables: Sequence[pd.DataFrame],
    report: EvaluationReport,
    *,
    with_band: bool,
) -> None:
    bands = [roc_band(table, BAND_DRAWS if with_band else 2) for table in read_aligned(tables)]
    curve = np.append(0.0, np.mean([band.curve for band in bands], axis=0))
    auc, at, colour = report.metrics["roc_auc"], report.metrics, COLOURS[number % len(COLOURS)]
    label = f"{name}: AUC {auc.value:.3f} (95 %: {auc.low:.3f} to {auc.high:.3f})"
    line, mark = _LINES[number % len(_LINES)], _MARKS[number % len(_MARKS)]
    axes[0].plot([], [], mark, ls=line, lw=1.6, color=colour, label=label)
    for axis in axes:
        axis.plot(np.append(0.0, GRID), curve, ls=line, lw=1.6, color=colour)
        x, y = 1 - at["specificity"].value, at["sensitivity"].value
        axis.plot(x, y, mark, color=colour, ms=7, mec="white", mew=0.8, zorder=3)
        if with_band:
            low, high = (np.mean([getattr(band, end) for band in bands], axis=0) for end in ("low", "high"))
            axis.fill_between(GRID, low, high, color=colour, alpha=0.15, lw=0)


def _metrics_at(table: Scores, point: OperatingPoint) -> dict[str, float]:
    values = WeightedMetrics(table, point)(np.ones((1, len(table.labels))))[0]
    return dict(zip(names_of(table), values.tolist(), strict=True))


def _mark(axis: Axes, x: float, y: float, point: OperatingPoint) -> None:
    axis.plot(x, y, "o", color=ORANGE, ms=6, label=f"threshold {point.threshold:.3f}", zorder=3)
