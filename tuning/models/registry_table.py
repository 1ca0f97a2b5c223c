"""A registered model as `tune registry` shows it: its versions and its history, as rows and as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from tuning.models.history import (
    RegisteredModel,
    RegisteredVersion,
    headlines,
    in_words,
    iso,
    unrecorded_holder,
    unrecorded_moves,
)
from tuning.models.ledger import LedgerEntry
from tuning.models.ledger_table import ledger_rows, shortened_reason
from tuning.ranking import defined

_SHOWN = {"test_roc_auc": "test ROC AUC", "test_sensitivity": "sensitivity", "test_specificity": "specificity"}
_MAKING = "pneumo.making"


def model_rows(model: RegisteredModel, refused: Sequence[LedgerEntry] = ()) -> dict[str, Any]:
    """Returns a model as a document of plain values; what is undefined is None.

    Args:
        model: as the registry has it.
        refused: entries of the ledger about models that wanted to be it.
    """
    return {
        "name": model.name,
        "aliases": dict(model.aliases),
        "versions": [_version_row(model, version) for version in model.versions],
        "history": [
            dataclasses.asdict(event) | {"numbers": {name: defined(value) for name, value in event.numbers.items()}}
            for event in model.events
        ],
        "refused": ledger_rows(refused),
        "remarks": remarks(model),
    }


def versions_table(model: RegisteredModel) -> Table:
    """Returns the versions of a model for a terminal of 80 to 100 columns: which is what, on what numbers."""
    table = Table(show_lines=True)
    for heading in ("version", "trial, made (UTC)", *_SHOWN.values()):
        table.add_column(heading, overflow="fold", no_wrap=heading in _SHOWN.values())
    for version in model.versions:
        tags = version.tags
        of = f"{tags.get('pneumo.trial', '')} of {tags.get('pneumo.study', '')}\n{_minute(version.at)}"
        aliases = "\n".join(_aliases(model, version)) or ("being made" if _MAKING in tags else "")
        numbers = (_interval(version.metrics, name) for name in _SHOWN)
        table.add_row(escape(f"{version.version}\n{aliases}".strip()), escape(of), *numbers)
    return table


def history_table(model: RegisteredModel, refused: Sequence[LedgerEntry] = ()) -> Table:
    """Returns the history of a model for a terminal of 80 to 100 columns: who replaced whom, when, why.

    Args:
        model: as the registry has it.
        refused: entries of the ledger about models that wanted to be it.
    """
    table, rows = Table(show_lines=True), list[tuple[str, str, str, str]]()
    widths = {"when (UTC)": 10, "what": 23, "why": None, "policy": None}
    for heading, width in widths.items():
        table.add_column(heading, overflow="fold", width=width)
    for event in model.events:
        policy = "\n".join([*([event.policy] if event.policy else []), *(["forced"] if event.forced else [])])
        why = "\n".join([event.reason, *headlines(event)])
        rows.append((event.at, in_words(event, "\n"), why, policy))
    rows += [
        (iso(entry.at), f"refused {entry.trial} of {entry.study}", shortened_reason(entry.reason), "")
        for entry in refused
    ]
    for at, what, why, policy in sorted(rows):
        table.add_row(_minute(at).replace(" ", "\n"), *(escape(cell) for cell in (what, why, policy)))
    return table


def remarks(model: RegisteredModel) -> list[str]:
    """Returns what the tables do not say of themselves."""
    said = []
    if "champion" not in model.aliases:
        said.append(f"{model.name}: no version is champion")
    for alias in sorted({event.alias for event in model.events}):
        if unrecorded_holder(model, alias):
            where = f"points to version {model.aliases[alias]}" if alias in model.aliases else "was removed"
            said.append(f"{model.name}: {alias} {where} by another hand than `tune`; the history does not say why")
        said += [
            f"{model.name}: {alias} had been {f'moved to version {event.replaced}' if event.replaced else 'removed'} "
            f"by another hand than `tune` before {event.at[:16].replace('T', ' ')} UTC; the history does not say why"
            for event in unrecorded_moves(model.events, alias)
        ]
    if model.versions and not model.events:
        said.append(f"{model.name}: has no history; its versions were registered by an earlier version of `tune`")
    return said


def _version_row(model: RegisteredModel, version: RegisteredVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        "aliases": _aliases(model, version),
        "registered_at": version.at,
        "study": version.tags.get("pneumo.study"),
        "trial": version.tags.get("pneumo.trial"),
        "being_made": _MAKING in version.tags,
        "metrics": {name: defined(value) for name, value in sorted(version.metrics.items())},
        "tags": dict(sorted(version.tags.items())),
    }


def _aliases(model: RegisteredModel, version: RegisteredVersion) -> list[str]:
    return [alias for alias, holder in model.aliases.items() if holder == version.version]


def _interval(metrics: Mapping[str, float], name: str) -> str:
    if metrics.get(name) is None:
        return ""
    low, high = (metrics.get(f"{name}_{end}") for end in ("low", "high"))
    ends = "" if low is None or high is None else f"\n{low:.3f} – {high:.3f}"
    return f"{metrics[name]:.3f}{ends}"


def _minute(at: str) -> str:
    return f"{at[:10]} {at[11:16]}"
