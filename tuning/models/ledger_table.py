"""The ledger of the test folder as `tune data ledger` shows it."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from tuning.models.ledger import LedgerEntry, spent_sentence


def ledger_rows(entries: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    """Returns a mapping for each entry: the fields of `LedgerEntry`, `at` as ISO 8601 in UTC."""
    return [{**dataclasses.asdict(entry), "at": _time(entry)} for entry in entries]


def ledger_table(entries: Sequence[LedgerEntry]) -> Table:
    """Returns the entries for a terminal. Openings are numbered for each set of test images."""
    table, openings = Table(), Counter[str]()
    for heading in ("at (UTC)", "test set", "images", "what", "model", "study", "trial", "ROC AUC", "reason"):
        table.add_column(heading, justify="right" if heading in ("images", "ROC AUC") else "left")
    for entry in entries:
        openings[entry.test_digest] += entry.outcome == "opened"
        number = f" ({openings[entry.test_digest]})" if entry.outcome == "opened" else ""
        auc = (entry.metrics or {}).get("roc_auc")
        cells = (entry.model, entry.study, entry.trial, "" if auc is None else f"{auc:.4f}", entry.reason)
        known = (entry.test_digest[:12], str(entry.images)) if entry.test_digest else ("", "")
        at = _time(entry)[:19].replace("T", " ")
        table.add_row(at, *known, entry.outcome + number, *(escape(cell) for cell in cells))
    return table


def ledger_warnings(entries: Sequence[LedgerEntry]) -> list[str]:
    """Returns a sentence for each set of test images that is spent."""
    openings = Counter(entry.test_digest for entry in entries if entry.outcome == "opened")
    return [f"{digest[:12]}: {spent_sentence(count)}" for digest, count in openings.items() if spent_sentence(count)]


def _time(entry: LedgerEntry) -> str:
    return datetime.datetime.fromtimestamp(entry.at, datetime.UTC).isoformat(timespec="seconds")
