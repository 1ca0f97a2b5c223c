"""A registered model as `tune registry` shows it: its versions and its history, as rows and as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from tuning.models.history import DONE, PROMOTED, HistoryEvent, RegisteredModel, RegisteredVersion, unrecorded_holder
from tuning.ranking import defined

_SHOWN = {"test_roc_auc": "test ROC AUC", "test_sensitivity": "sensitivity", "test_specificity": "specificity"}
_MAKING = "pneumo.making"


def model_rows(model: RegisteredModel) -> dict[str, Any]:
    """Returns a model as a document of plain values; what is undefined is None."""
    return {
        "name": model.name,
        "aliases": dict(model.aliases),
        "versions": [_version_row(model, version) for version in model.versions],
        "history": [
            dataclasses.asdict(event) | {"numbers": {name: defined(value) for name, value in event.numbers.items()}}
            for event in model.events
        ],
        "remarks": remarks(model),
    }


def versions_table(model: RegisteredModel) -> Table:
    """Returns the versions of a model for a terminal of 100 columns: which is what, on what numbers."""
    table = Table(show_lines=True)
    for heading in ("version", "alias", "trial, study", "made (UTC)", *_SHOWN.values()):
        table.add_column(heading, overflow="fold")
    for version in model.versions:
        tags = version.tags
        of = f"{tags.get('pneumo.trial', '')}\n{tags.get('pneumo.study', '')}"
        aliases = "\n".join(_aliases(model, version)) or ("being made" if _MAKING in tags else "")
        numbers = (_interval(version.metrics, name) for name in _SHOWN)
        table.add_row(version.version, escape(aliases), escape(of), _day(version.at), *numbers)
    return table


def history_table(model: RegisteredModel) -> Table:
    """Returns the history of a model for a terminal of 100 columns: who replaced whom, when, why."""
    table = Table(show_lines=True)
    for heading in ("when (UTC)", "what", "why", "policy"):
        table.add_column(heading, overflow="fold")
    for event in model.events:
        policy = "\n".join([*([event.policy] if event.policy else []), *(["forced"] if event.forced else [])])
        why = "\n".join([event.reason, *([_numbers(event.numbers)] if event.numbers else [])])
        table.add_row(_day(event.at), escape(_what(event)), escape(why), escape(policy))
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


def _what(event: HistoryEvent) -> str:
    verb = "promoted" if event.action == PROMOTED else "back to"
    place = f"{verb} {event.version} as {event.alias}" if event.alias != "champion" else f"{verb} {event.version}"
    instead = f"\ninstead of {event.replaced}" if event.replaced else "\nthe first"
    return place + (instead if event.state == DONE else f"\n{event.state}")


def _numbers(numbers: Mapping[str, float]) -> str:
    return " ".join(_spans(numbers))


def _spans(numbers: Mapping[str, float]) -> Iterator[str]:
    """Yields the numbers of a decision, the ends of an interval behind its value."""
    for name, value in numbers.items():
        if name.endswith(("_low", "_high")) and name.rpartition("_")[0] in numbers:
            continue
        low, high = (numbers.get(f"{name}_{end}") for end in ("low", "high"))
        yield f"{name} {value:.4g}" + ("" if low is None or high is None else f" ({low:.4g} – {high:.4g})")


def _day(at: str) -> str:
    return f"{at[:10]}\n{at[11:16]}"
