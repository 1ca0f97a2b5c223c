"""The studies of a store side by side."""

from __future__ import annotations

from typing import Any

from pneumo_core.errors import StoreError
from tuning.grid import Column, Grid
from tuning.ranking import format_value, load_record
from tuning.record import TrialRecord
from tuning.store import Store

_BELOW = ("space", "objective")


def studies_rows(store: Store) -> list[dict[str, Any]]:
    """Returns a mapping for each study of a store, oldest first; one whose journal is damaged says so in `status`."""
    return [_study_row(store, name) for name in store.study_names()]


def studies_table(rows: list[dict[str, Any]], width: int = 200) -> Grid:
    """Returns the studies for a terminal.

    Args:
        rows: as `studies_rows` returns them.
        width: of the terminal, in characters; where space and objective have no room, they stand below their study.
    """
    columns = {
        name: Column(name, [format_value(row[name]) for row in rows], right=name in ("completed", "failed"))
        for name in ("study", "space", "status", "completed", "failed", "objective")
    }
    best = [row["best"] for row in rows]
    columns["best"] = Column("best", [f"{each['score']:.4f}" if each else "–" for each in best])
    columns["trial"] = Column("trial", [each["trial"] if each else "–" for each in best], right=False)
    confirmed = [("yes" if each["confirmed"] else "no") if each else "" for each in best]
    columns["confirmed"] = Column("confirmed", confirmed, right=False)
    wide = Grid("", list(columns.values()))
    below = [" ".join(f"{name}={format_value(row[name])}" for name in _BELOW) for row in rows]
    narrow = Grid("", [column for name, column in columns.items() if name not in _BELOW], below)
    return wide if wide.width <= width else narrow


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
