"""Plots are drawn for ordinary and for extreme results alike, without any global state."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pneumo_core import plots
from pneumo_core.operating_point import OperatingPoint

MANIFEST = pd.DataFrame({"label": [0, 0, 1, 1, 1], "subtype": ["normal", "normal", "bacteria", "virus", ""]})
POINT = OperatingPoint(0.37, 1.5)
SCORES = pd.DataFrame({"label": [0, 0, 1, 1, 1, 0], "probability": [0.1, 0.4, 0.35, 0.8, 0.9, 0.2]})
FOLDS = pd.concat([SCORES.assign(fold=fold, group=[1, 1, 2, 2, 3, 4]) for fold in (0, 1)], ignore_index=True)
EPOCH = {"loss": 0.5, "val_loss": 0.6, "accuracy": 0.7, "val_accuracy": 0.6, "val_roc_auc": 0.7}


def test_samples_are_a_few_of_each_class() -> None:
    """At most so many a class, none twice, the same for the same seed."""
    manifest = pd.DataFrame({"label": [0] * 3 + [1] * 20})
    rows = plots.sample_rows(manifest, columns=5)
    assert sorted(manifest["label"].iloc[rows]) == [0] * 3 + [1] * 5
    assert len(set(rows)) == 8
    assert (rows == plots.sample_rows(manifest, columns=5)).all()


FIGURES = {
    "samples": lambda: plots.plot_samples(np.zeros((5, 8, 8, 1), np.uint8), MANIFEST, ("NORMAL", "PNEUMONIA")),
    "one epoch": lambda: plots.plot_history([EPOCH], 0),
    "history": lambda: plots.plot_history([EPOCH] * 30, 7),
    "roc": lambda: plots.plot_roc(SCORES),
    "precision and recall": lambda: plots.plot_precision_recall(SCORES),
    "confusion": lambda: plots.plot_confusion(SCORES, ("NORMAL", "PNEUMONIA"), 0.5),
    "all called one class": lambda: plots.plot_confusion(SCORES, ("A", "B"), 0.0),
    "calibration": lambda: plots.plot_calibration(SCORES),
    "folds": lambda: plots.plot_roc(FOLDS, POINT),
    "folds, precision and recall": lambda: plots.plot_precision_recall(FOLDS, POINT),
    "calibrated": lambda: plots.plot_calibration(FOLDS, operating_point=POINT),
    "two models": lambda: plots.plot_roc_curves({"a": [FOLDS, FOLDS], "b": [FOLDS]}, {"a": POINT, "b": POINT}),
    "eight models": lambda: plots.plot_roc_curves({str(number): [SCORES] for number in range(8)}),
    "constant probability": lambda: plots.plot_calibration(SCORES.assign(probability=0.5)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_written(name: str, tmp_path: Path) -> None:
    """Also one epoch, one bin and one class called."""
    plots.save(FIGURES[name](), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert min(image.size) > 200
        assert len(image.convert("L").getcolors() or []) > 2


def test_figures_are_written_to_the_same_bytes_and_nothing_stays_in_memory(tmp_path: Path) -> None:
    """A hundred trials leave no open figures behind."""
    import matplotlib.pyplot as plt

    first, second = io.BytesIO(), io.BytesIO()
    for target in (first, second):
        figure: Figure = plots.plot_roc(SCORES)
        figure.savefig(target, metadata={"Software": None})
    assert first.getvalue() == second.getvalue()
    assert not plt.get_fignums()


def _separated(by: float) -> pd.DataFrame:
    labels = np.arange(60) % 2
    logits = by * (labels - 0.5) + np.random.default_rng(1).normal(size=60)
    return pd.DataFrame({"label": labels, "logit": logits, "probability": 1 / (1 + np.exp(-logits))})


def test_curves_of_models_can_be_told_apart_without_colour() -> None:
    """Eight models have eight kinds of lines, eight marks, and a name with the AUC each; no bands that hide them."""
    curves = {f"study/{number}": [_separated(number / 4)] for number in range(8)}
    figure = plots.plot_roc_curves(curves)
    (axis,) = figure.axes
    handles, labels = axis.get_legend_handles_labels()
    assert [label.split(":")[0] for label in labels] == [*curves, "marks"]
    models = handles[:8]
    assert len({(str(handle.get_linestyle()), handle.get_marker()) for handle in models}) == 8
    assert len({handle.get_color() for handle in models}) == 8
    assert not axis.collections
    assert axis.get_aspect() == 1


def test_two_good_models_have_bands_and_their_corner_enlarged() -> None:
    """Curves of AUC 0.99 are one line in a plot of the whole square."""
    figure = plots.plot_roc_curves({"a": [_separated(5.0)], "b": [_separated(6.0)]})
    whole, corner = figure.axes
    assert len(whole.collections) == len(corner.collections) == 2
    assert corner.get_xlim()[1] == pytest.approx(0.2)
    assert corner.get_ylim()[0] == pytest.approx(0.8)


def test_a_mark_stands_where_the_model_calls() -> None:
    """At the operating point that is given, not at 0.5."""
    scores = _separated(2.0)
    figure = plots.plot_roc_curves({"a": [scores]}, {"a": OperatingPoint(0.8)})
    called = scores["probability"] >= 0.8
    expected = (called[scores["label"] == 0].mean(), called[scores["label"] == 1].mean())
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks] == [pytest.approx(expected)]


@pytest.mark.parametrize("models", [3, 8])
def test_title_axis_and_legend_of_curves_have_room(models: int) -> None:
    """Nothing is cut off, and the legend does not lie on the name of the axis."""
    figure = plots.plot_roc_curves({f"study/t000{number}": [SCORES] for number in range(models)})
    figure.draw_without_rendering()
    (axis,), (legend,) = figure.axes, figure.legends
    assert axis.title.get_window_extent().y1 <= figure.bbox.y1
    assert legend.get_window_extent().y1 < axis.xaxis.label.get_window_extent().y0
    assert legend.get_window_extent().y0 >= 0
