"""A study's listener that draws the plots of finished trials, from the files they left, beside these files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pneumo_core import plots
from pneumo_core.classifier import DEFAULT_THRESHOLD
from pneumo_core.errors import StoreError
from tuning.events import Event, TrialCompleted
from tuning.record import StudyRecord
from tuning.store import StudyFolder
from tuning.trial import HISTORY_FILE, SCORES_FILE


class PlotDrawer:
    """Draws `plots/*.png` for each trial that completes.

    Args:
        folder: of the study; trials' files are in its staging folder.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Draws, if the event is the end of a trial.

        Raises:
            StoreError: if the disk refuses.
        """
        if not isinstance(event, TrialCompleted):
            return
        negative, positive = record.started.class_names
        try:
            draw_plots(self._folder.staging(event.trial), event.best_epoch, (negative, positive))
        except OSError as error:
            root = self._folder.root
            raise StoreError(f"study {root.name}: its plots cannot be written to {root} ({error}).") from error


def draw_plots(folder: Path, best_epoch: int, class_names: tuple[str, str]) -> None:
    """Draws the plots of a trial.

    Args:
        folder: with the files of the trial.
        best_epoch: index of the epoch that counts.
        class_names: of label 0 and label 1.

    Side effects:
        Writes `plots/*.png` in the folder.
    """
    scores = pd.read_csv(folder / SCORES_FILE, keep_default_na=False)
    history = pd.read_csv(folder / HISTORY_FILE).to_dict("records")
    (folder / "plots").mkdir(exist_ok=True)
    figures: dict[str, Any] = {
        "history": plots.plot_history(history, best_epoch),
        "roc": plots.plot_roc(scores),
        "precision_recall": plots.plot_precision_recall(scores),
        "confusion_matrix": plots.plot_confusion(scores, class_names, DEFAULT_THRESHOLD),
        "calibration": plots.plot_calibration(scores),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / "plots" / f"{name}.png")
