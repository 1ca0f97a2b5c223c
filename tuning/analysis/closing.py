"""What a study leaves behind when it ends: its report, beside its journal and for its MLflow run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuning.analysis.report import REPORT_FILE, write_report_files, write_whole
from tuning.analysis.winner import explained
from tuning.store import Store

if TYPE_CHECKING:
    from tuning.trial_data import TrialData


def write_closing_report(store: Store, name: str, data: TrialData | None = None) -> None:
    """Writes the report of a study that is over to its folder, and with charts and a short text to its staging folder.

    It may be written again at any time, which replaces it.

    Args:
        store: that holds the study.
        name: of the study.
        data: its images, to look at a model of the winner, where that is cheap; None to leave a picture as it is.

    Raises:
        PneumoError: if it cannot be read or written.

    Side effects:
        Writes the files; may train a head for the picture.
    """
    folder = store.study(name)
    why = "" if data is None else explained(store, name, lambda: data)
    staging = folder.staging("study")
    write_report_files(store, name, staging, why_no_picture=why)
    write_whole(folder.root / REPORT_FILE, (staging / REPORT_FILE).read_text(encoding="utf-8"))
