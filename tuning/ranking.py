"""Trials side by side, best first."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from pneumo_core.errors import StoreError
from tuning.journal import read_journal
from tuning.record import StudyRecord, TrialRecord, replay
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
    """Returns a mapping for each trial, best first: trial, status, score, metrics, params, run_id, duration_s, reason.

    Metrics that are undefined (PPV where nothing was called positive) are None.
    """
    return [
        {
            "trial": trial.trial,
            "status": trial.status,
            "score": trial.score,
            "metrics": {name: defined(value) for name, value in trial.metrics.items()},
            "params": trial.params,
            "run_id": trial.run_id,
            "duration_s": trial.duration_s,
            "reason": trial.reason,
        }
        for trial in record.ranked()
    ]


def leaderboard_table(record: StudyRecord, top: int | None = None, width: int = 200) -> Table:
    """Returns the leaderboard for a terminal.

    Args:
        record: of the study.
        top: rows to show; all if None.
        width: of the terminal, in characters. Where a column for each parameter does not fit, they share one.
    """
    rows = [(rank, trial) for rank, trial in enumerate(record.ranked(), start=1)][:top]
    wide = _table(record, rows, one_column=False)
    endless = Console(width=10_000)
    needed = Measurement.get(endless, endless.options, wide).maximum
    return wide if needed <= width else _table(record, rows, one_column=True)


def failures(record: StudyRecord) -> list[str]:
    """Returns a sentence for each failed trial: why it failed."""
    return [f"{trial.trial} failed: {trial.reason}" for trial in record.trials.values() if trial.status == "failed"]


def _table(record: StudyRecord, rows: list[tuple[int, TrialRecord]], *, one_column: bool) -> Table:
    objective, names = record.started.objective, _parameter_names(record)
    metrics = [] if one_column else [name for name in _SHOWN_METRICS if name != objective]
    table = Table(title=f"{record.started.study}: {objective}, {record.started.direction}imum first")
    for heading in ("#", "trial", objective, *metrics):
        justify: JustifyMethod = "left" if heading == "trial" else "right"
        table.add_column(heading.removeprefix("val_"), justify=justify, no_wrap=True)
    for heading in ["parameters"] if one_column else [name.replace("_", " ") for name in names]:
        table.add_column(heading, overflow="fold")
    table.add_column("s", justify="right", no_wrap=True)
    for rank, trial in rows:
        values = {name: escape(format_value(trial.params.get(name))) for name in names}
        joined = [" ".join(f"{name}={value}" for name, value in values.items())]
        duration = "" if trial.duration_s is None else f"{trial.duration_s:.1f}"
        cells = joined if one_column else list(values.values())
        table.add_row(str(rank), trial.trial, *_score_cells(trial, [objective, *metrics]), *cells, duration)
    return table


def _parameter_names(record: StudyRecord) -> list[str]:
    """The searched parameters, and `stop_after` where Hyperband set it."""
    rungs = any("stop_after" in trial.params for trial in record.trials.values())
    return [*record.started.parameters, *(["stop_after"] if rungs else [])]


def _score_cells(trial: TrialRecord, metrics: list[str]) -> list[str]:
    if trial.score is not None:
        mark = " pruned" if trial.status == "pruned" else ""
        return [f"{trial.metrics[name]:.4f}{mark if name == metrics[0] else ''}" for name in metrics]
    return [trial.status, *[""] * (len(metrics) - 1)]


def studies_rows(store: Store) -> list[dict[str, Any]]:
    """Returns a mapping for each study of a store, oldest first; one whose journal is damaged says so in `status`."""
    return [_study_row(store, name) for name in store.study_names()]


def studies_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the studies for a terminal."""
    table = Table()
    for heading in ("study", "space", "status", "completed", "failed", "objective", "best", "trial"):
        table.add_column(heading, justify="right" if heading in ("completed", "failed", "best") else "left")
    for row in rows:
        cells = [format_value(row[key]) for key in ("study", "space", "status", "completed", "failed", "objective")]
        best = [f"{row['best']['score']:.4f}", row["best"]["trial"]] if row["best"] else ["–", "–"]
        table.add_row(*map(escape, cells), *best)
    return table


def _study_row(store: Store, name: str) -> dict[str, Any]:
    try:
        record = load_record(store, name)
    except StoreError:
        return {"study": name, "space": None, "status": "damaged", "completed": 0, "failed": 0} | dict.fromkeys(
            ("objective", "best")
        )
    best = record.best()
    return {
        "study": name,
        "space": record.started.space,
        "status": record.ended.status if record.ended else "running" if store.study(name).is_held() else "killed",
        "completed": record.count("completed"),
        "failed": record.count("failed"),
        "objective": record.started.objective,
        "best": best and {"trial": best.trial, "score": best.score},
    }


def format_value(value: object) -> str:
    """Returns a value as people read it: at most 4 significant digits, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def defined(value: float) -> float | None:
    """Returns the value, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None
