"""Plots of a finished trial, drawn from the files it left, beside these files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import special
from threadpoolctl import threadpool_limits

from pneumo_core import plots
from pneumo_core.operating_point import OperatingPoint
from tuning.trial_files import HISTORY_FILE, REPORT_FILE, SCORES_FILE


def draw_plots(folder: Path, best_epoch: int, class_names: tuple[str, str]) -> None:
    """Draws the plots of a trial that left its scores.

    Args:
        folder: with the files of the trial.
        best_epoch: index of the epoch that counts.
        class_names: of label 0 and label 1.

    Side effects:
        Writes `plots/*.png` in the folder, all or none.
    """
    if not (folder / SCORES_FILE).is_file():
        return
    scores = pd.read_csv(folder / SCORES_FILE, keep_default_na=False)
    history = pd.read_csv(folder / HISTORY_FILE).to_dict("records")
    point = OperatingPoint(**json.loads((folder / REPORT_FILE).read_text())["operating_point"])
    calibrated = scores.assign(probability=special.expit(scores["logit"] / point.temperature))
    unfinished = folder / "plots.unfinished"
    unfinished.mkdir(exist_ok=True)
    with threadpool_limits(1):  # the other processors are training
        figures: dict[str, Any] = {
            "history": plots.plot_history(history, best_epoch),
            "roc": plots.plot_roc(scores, point),
            "precision_recall": plots.plot_precision_recall(scores, point),
            "confusion_matrix": plots.plot_confusion(calibrated, class_names, point.threshold),
            "calibration": plots.plot_calibration(scores, operating_point=point),
        }
        for name, figure in figures.items():
            plots.save(figure, unfinished / f"{name}.png")
    unfinished.rename(folder / "plots")
