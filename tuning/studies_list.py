"""The studies of a store side by side."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from pneumo_core.errors import StoreError
from tuning.ranking import format_value, load_record
from tuning.record import TrialRecord
from tuning.store import Store


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
