"""Trials side by side, best first."""

from __future__ import annotations

import math
from typing import Any

from rich.markup import escape
from rich.table import Table

from pneumo_core.errors import StoreError
from tuning.journal import read_journal
from tuning.record import StudyRecord, replay
from tuning.store import Store

_SHOWN_METRICS = ("val_roc_auc", "val_sensitivity", "val_specificity")


def load_record(store: Store, study: str) -> StudyRecord:
    """Reads a study's journal to its record.

    Raises:
        StudyError: if there is no such study.
        StoreError: if its journal is damaged.
    """
    return replay(read_journal(store.study(study).journal))


def leaderboard_rows(record: StudyRecord) -> list[dict[str, Any]]:
    """Returns a mapping for each trial, best first: trial, status, score, metrics, params, run_id, duration_s.

    Metrics that are undefined (PPV where nothing was called positive) are None.
    """
    return [
        {
            "trial": trial.trial,
            "status": trial.status,
            "score": trial.score,
            "metrics": {name: _defined(value) for name, value in trial.metrics.items()},
            "params": trial.params,
            "run_id": trial.run_id,
            "duration_s": trial.duration_s,
        }
        for trial in record.ranked()
    ]


def leaderboard_table(record: StudyRecord, top: int | None = None) -> Table:
    """Returns the leaderboard for a terminal: rank, trial, score, a few metrics, and the searched parameters."""
    objective = record.started.objective
    metrics = [name for name in _SHOWN_METRICS if name != objective]
    table = Table(title=f"{record.started.study}: {objective}, {record.started.direction}imum first")
    for heading in ("#", "trial", objective, *metrics):
        table.add_column(heading.removeprefix("val_"), justify="left" if heading == "trial" else "right")
    for name in record.started.parameters:
        table.add_column(name.replace("_", " "), overflow="fold")
    table.add_column("s", justify="right")
    for rank, trial in enumerate(record.ranked()[:top], start=1):
        scores = (
            [f"{trial.metrics[name]:.4f}" for name in (objective, *metrics)]
            if trial.status == "completed"
            else [trial.status, *[""] * len(metrics)]
        )
        values = [escape(format_value(trial.params.get(name))) for name in record.started.parameters]
        duration = "" if trial.duration_s is None else f"{trial.duration_s:.1f}"
        table.add_row(str(rank), trial.trial, *scores, *values, duration)
    return table


def studies_rows(store: Store) -> list[dict[str, Any]]:
    """Returns a mapping for each study of a store, oldest first; one whose journal is damaged says so in `status`."""
    return [_study_row(store, name) for name in store.study_names()]


def studies_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the studies for a terminal."""
    table = Table()
    for heading in ("study", "space", "status", "completed", "failed", "best", "trial"):
        table.add_column(heading, justify="right" if heading in ("completed", "failed", "best") else "left")
    for row in rows:
        best = row["best"] or {"score": None, "trial": None}
        cells = [row[key] for key in ("study", "space", "status", "completed", "failed")]
        table.add_row(*(format_value(cell) for cell in (*cells, best["score"], best["trial"])))
    return table


def _study_row(store: Store, name: str) -> dict[str, Any]:
    try:
        record = load_record(store, name)
    except StoreError:
        return {"study": name, "space": None, "status": "damaged", "completed": 0, "failed": 0, "best": None}
    best = record.best()
    return {
        "study": name,
        "space": record.started.space,
        "status": record.ended.status if record.ended else "not ended",
        "completed": record.count("completed"),
        "failed": record.count("failed"),
        "best": best and {"trial": best.trial, "score": best.score},
    }


def format_value(value: object) -> str:
    """Returns a value as people read it: at most 4 significant digits, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
