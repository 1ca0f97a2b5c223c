"""Trials side by side, best first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from pneumo_core.errors import StoreError
from tuning.confirmed import confirmed_summary
from tuning.journal import read_journal
from tuning.record import StudyRecord, TrialRecord, replay
from tuning.store import Store

_SHOWN_METRICS = ("val_roc_auc", "val_sensitivity", "val_specificity")
_PARAMETERS_WIDTH = 24  # at least, of a column that all parameters share


def load_record(store: Store, study: str) -> StudyRecord:
    """Reads a study's journal to its record.

    Raises:
        StudyError: if there is no such study.
        StoreError: if its journal is damaged.
    """
    return replay(read_journal(store.study(study).journal))


def leaderboard_rows(record: StudyRecord) -> list[dict[str, Any]]:
    """Returns a mapping for each trial of the search, confirmed ones first, then by score.

    It holds trial, status, score (in the search), interval, confirmed (None, or see `confirmed_summary`), metrics,
    intervals, params, run_id, duration_s and reason. What is undefined (PPV where nothing was called positive) is None.
    """
    return [
        {
            "trial": trial.trial,
            "status": trial.status,
            "score": trial.score,
            "interval": trial.intervals.get(record.started.objective),
            "confirmed": trial.confirmed and confirmed_summary(trial.confirmed),
            "metrics": {name: defined(value) for name, value in trial.metrics.items()},
            "intervals": trial.intervals,
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
        width: of the terminal, in characters. Where a column for each parameter does not fit, they share one; where
            that has no room, the interval that confirmation made needless goes, and the duration.
    """
    rows = [(rank, trial) for rank, trial in enumerate(record.ranked(), start=1)][:top]
    wide = _table(record, rows, one_column=False)
    if _width(wide) <= width:
        return wide
    foldable = max((len(_joined(record, trial)) for _, trial in rows), default=0) - _PARAMETERS_WIDTH
    narrow = _table(record, rows, one_column=True)
    fits = _width(narrow) - max(foldable, 0) <= width
    return narrow if fits else _table(record, rows, one_column=True, brief=True)


def _width(table: Table) -> int:
    """The width at which nothing of a table is folded."""
    endless = Console(width=10_000)
    return Measurement.get(endless, endless.options, table).maximum


def failures(record: StudyRecord) -> list[str]:
    """Returns a sentence for each failed trial: why it failed."""
    return [f"{trial.trial} failed: {trial.reason}" for trial in record.trials.values() if trial.status == "failed"]


def _table(record: StudyRecord, rows: list[tuple[int, TrialRecord]], *, one_column: bool, brief: bool = False) -> Table:
    objective, names = record.started.objective, _parameter_names(record)
    metrics = [] if one_column else [name for name in _SHOWN_METRICS if name != objective]
    confirmed = ["confirmed", "95 %"] if record.confirmed else []
    first = "confirmed ones" if confirmed else f"{record.started.direction}imum"
    table = Table(title=f"{record.started.study}: {objective}, {first} first")
    ends = [] if brief and confirmed else ["95 %"]
    for heading in ("#", "trial", *confirmed, objective, *ends, *metrics):
        justify: JustifyMethod = "left" if heading == "trial" else "right"
        table.add_column(heading.removeprefix("val_"), justify=justify, no_wrap=True)
    for heading in ["parameters"] if one_column else [name.replace("_", " ") for name in names]:
        table.add_column(heading, overflow="fold", min_width=_PARAMETERS_WIDTH if one_column else None)
    if not brief:
        table.add_column("s", justify="right", no_wrap=True)
    for rank, trial in rows:
        cells = [_joined(record, trial)] if one_column else [format_value(trial.params.get(name)) for name in names]
        duration = "" if trial.duration_s is None else f"{trial.duration_s:.1f}"
        places = _confirmed_cells(trial) if confirmed else []
        score, interval, *others = _score_cells(trial, [objective, *metrics])
        scores = [score, *([interval] if ends else []), *others]
        ending = [] if brief else [duration]
        table.add_row(str(rank), trial.trial, *places, *scores, *map(escape, cells), *ending)
    return table


def _joined(record: StudyRecord, trial: TrialRecord) -> str:
    """The searched parameters of a trial in one line."""
    return " ".join(f"{name}={format_value(trial.params.get(name))}" for name in _parameter_names(record))


def _parameter_names(record: StudyRecord) -> list[str]:
    """The searched parameters, and `stop_after` where Hyperband set it."""
    rungs = any("stop_after" in trial.params for trial in record.trials.values())
    return [*record.started.parameters, *(["stop_after"] if rungs else [])]


def _score_cells(trial: TrialRecord, metrics: list[str]) -> list[str]:
    if trial.score is None:
        return [trial.status, *[""] * len(metrics)]
    mark = " pruned" if trial.status == "pruned" else ""
    others = [f"{trial.metrics[name]:.4f}" for name in metrics[1:]]
    return [f"{trial.metrics[metrics[0]]:.4f}{mark}", _ends(trial.intervals.get(metrics[0], [])), *others]


def _confirmed_cells(trial: TrialRecord) -> list[str]:
    place = trial.confirmed
    if place is None:
        return ["", ""]
    return [f"{place.score:.4f}{' tied' if place.tied else ''}", _ends([place.low, place.high])]


def _ends(interval: Sequence[float | None]) -> str:
    return " – ".join("?" if end is None else f"{end:.3f}" for end in interval)


def studies_rows(store: Store) -> list[dict[str, Any]]:
    """Returns a mapping for each study of a store, oldest first; one whose journal is damaged says so in `status`."""
    return [_study_row(store, name) for name in store.study_names()]


def studies_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the studies for a terminal."""
    table = Table()
    for heading in ("study", "space", "status", "completed", "failed", "objective", "best", "trial", "confirmed"):
        table.add_column(heading, justify="right" if heading in ("completed", "failed", "best") else "left")
    for row in rows:
        cells = [format_value(row[key]) for key in ("study", "space", "status", "completed", "failed", "objective")]
        best = ["–", "–", ""]
        if row["best"]:
            best = [f"{row['best']['score']:.4f}", row["best"]["trial"], "yes" if row["best"]["confirmed"] else "no"]
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
        "best": best and _best(best),
    }


def _best(trial: TrialRecord) -> dict[str, Any]:
    """The best trial with the score that it is the best by: confirmed, or of the search."""
    score = trial.score if trial.confirmed is None else trial.confirmed.score
    return {"trial": trial.trial, "score": score, "confirmed": trial.confirmed is not None}


def format_value(value: object) -> str:
    """Returns a value as people read it: at most 4 significant digits, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def defined(value: float) -> float | None:
    """Returns the value, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None
