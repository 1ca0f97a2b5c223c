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
