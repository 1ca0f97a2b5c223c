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

_REASONS = 3  # of an entry that are shown


def ledger_rows(entries: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    """Returns a mapping for each entry: the fields of `LedgerEntry`, `at` as ISO 8601 in UTC."""
    return [{**dataclasses.asdict(entry), "at": _time(entry)} for entry in entries]


def ledger_table(entries: Sequence[LedgerEntry]) -> Table:
    """Returns the entries for a terminal, of 80 columns at least. Openings are numbered for each set of test images."""
    table, openings = Table(show_lines=True), Counter[str]()
    for heading in ("when (UTC)", "test set", "what", "model, trial", "what came of it"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("when (UTC)", "test set", "what"))
    for entry in entries:
        openings[entry.test_digest] += entry.outcome == "opened"
        number = f" ({openings[entry.test_digest]})" if entry.outcome == "opened" else ""
        auc = (entry.metrics or {}).get("roc_auc")
        test_set = f"{entry.test_digest[:12]}\n{entry.images} images" if entry.test_digest else ""
        of = f"{entry.model}\n{entry.trial} of {entry.study}" if entry.trial else f"{entry.model}\n{entry.study}"
        result = f"ROC AUC {auc:.4f}" if auc is not None else shortened_reason(entry.reason)
        at = _time(entry)[:19].replace("T", "\n")
        table.add_row(at, test_set, entry.outcome + number, escape(of), escape(result))
    return table


def shortened_reason(reason: str) -> str:
    """Returns the first reasons of an entry, a line each, and how many more there are."""
    reasons = reason.split("; ")
    more = [f"and {len(reasons) - _REASONS} more"] if len(reasons) > _REASONS else []
    return "\n".join([*reasons[:_REASONS], *more])


def ledger_warnings(entries: Sequence[LedgerEntry]) -> list[str]:
    """Returns a sentence for each set of test images that is spent."""
    openings = Counter(entry.test_digest for entry in entries if entry.outcome == "opened")
    return [f"{digest[:12]}: {spent_sentence(count)}" for digest, count in openings.items() if spent_sentence(count)]


def _time(entry: LedgerEntry) -> str:
    return datetime.datetime.fromtimestamp(entry.at, datetime.UTC).isoformat(timespec="seconds")
