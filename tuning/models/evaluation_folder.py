"""What `tune evaluate --out` leaves: the report as text and JSON, the scores, and figures of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_core.errors import StoreError

if TYPE_CHECKING:
    from tuning.models.external import ExternalValidation


def check_folder(folder: Path) -> None:
    """Makes sure that a folder can be written, before the work.

    Raises:
        StoreError: if there is something already, or no folder above it.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise StoreError(f"--out {folder}: expected a new folder, found one with files; name another.")
    if not folder.absolute().parent.is_dir():
        raise StoreError(
            f"--out {folder}: expected a folder in one that exists; make {folder.absolute().parent} first."
        )


def write_folder(validation: ExternalValidation, folder: Path, *, with_plots: bool = True) -> None:
    """Writes `report.md`, `report.json`, `scores.csv` and, if wanted, `plots/*.png`; all or none.

    Raises:
        StoreError: if the disk refuses.

    Side effects:
        Writes the folder.
    """
    unfinished = folder.absolute().with_name(f".{folder.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        (unfinished / "report.md").write_text(validation.text())
        (unfinished / "report.json").write_text(json.dumps(validation.document(), indent=2, allow_nan=False) + "\n")
        validation.scores.to_csv(unfinished / "scores.csv", index=False)
        if with_plots:
            _draw(validation, unfinished / "plots")
        unfinished.replace(folder)  # an empty folder of that name gives way
    except OSError as error:
        raise StoreError(f"--out {folder}: cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _draw(validation: ExternalValidation, folder: Path) -> None:
    from pneumo_core import plots
    from pneumo_core.operating_point import OperatingPoint

    scores, point = validation.scores, OperatingPoint(validation.report.operating_point.threshold)
    folder.mkdir()
    figures = {
        "roc": plots.plot_roc(scores, point),
        "precision_recall": plots.plot_precision_recall(scores, point),
        "confusion_matrix": plots.plot_confusion(scores, validation.class_names, point.threshold),
        "calibration": plots.plot_calibration(scores, operating_point=point),
    }
    for name, figure in figures.items():
        plots.save(figure, folder / f"{name}.png")
