"""`tune data check`: the audit of a data folder, as tables for people and as one document for scripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pneumo_core.audit import Audit, audit_dataset
from pneumo_core.dataset import index_dataset
from pneumo_core.findings import Case, Finding
from pneumo_core.layout import few

SHOWN_CASES = 3
SHOWN_SERIOUS_CASES = 20
"""Of leaks and problems, which have to be dealt with."""

_NAMED_FILES = 20
_STYLES = {"leak": "bold red", "problem": "red", "warning": "yellow", "note": "dim"}


def check_data(
    directory: Path,
    *,
    class_names: tuple[str, str] = ("NORMAL", "PNEUMONIA"),
    patient_pattern: str | None = None,
) -> Audit:
    """Indexes a folder and audits it. Files that cannot be used become findings.

    Args:
        directory: the data set's root, or a folder above it.
        class_names: names of the class folders, negative first.
        patient_pattern: see `index_dataset`.

    Raises:
        DatasetError: if the folder is not laid out as a data set, or a class has no usable image in `train/`.
        ImageError: if an image cannot be read a second time.
    """
    return audit_dataset(
        index_dataset(directory, class_names=class_names, skip_unreadable=True, patient_pattern=patient_pattern)
    )


def leak_sentence(audit: Audit) -> str | None:
    """Returns one line that names the files that join test with training data, or None if there are none."""
    paths = dict.fromkeys(path for finding in audit.leaks for case in finding.cases for path in case.paths)
    if not paths:
        return None
    named = list(paths)
    more = f" and {len(named) - _NAMED_FILES} more" if len(named) > _NAMED_FILES else ""
    return (
        f"{audit.dataset.root}: expected patients and pictures of test/ nowhere else, found them on both sides: "
        f"{', '.join(named[:_NAMED_FILES])}{more}. Keep them on one side."
    )


def data_document(audit: Audit) -> dict[str, Any]:
    """Returns all of an audit, fit for JSON: the summary's numbers, counts, shortcut and findings with every file."""
    shortcut = audit.shortcut
    return {
        "root": str(audit.dataset.root),
        "classes": list(audit.dataset.class_names),
        "summary": audit.summary(),
        "counts": [dataclasses.asdict(count) for count in audit.counts],
        "shortcut": {**dataclasses.asdict(shortcut), "gives_label_away": shortcut.gives_label_away},
        "findings": [{**dataclasses.asdict(finding), "count": finding.count} for finding in audit.findings],
    }


def data_tables(audit: Audit) -> Group:
    """Returns an audit for a terminal: counts, what file properties tell, findings with their first files."""
    return Group(_counts_table(audit), _shortcut_line(audit), _findings_table(audit))


def _counts_table(audit: Audit) -> Table:
    table = Table(title=f"{audit.dataset.root}", title_justify="left")
    for heading in ("split", "class", "subtype", "images", "patients", "published"):
        table.add_column(heading, justify="left" if heading in ("split", "class", "subtype") else "right")
    for count in audit.counts:
        names = [Text(text) for text in (count.split, count.class_name, count.subtype)]
        official = "" if count.official is None else f"{count.official:,}"
        table.add_row(
            *names, f"{count.images:,}", f"{count.patients:,}", official, style="dim" if count.subtype else ""
        )
    return table


def _shortcut_line(audit: Audit) -> Text:
    shortcut = audit.shortcut
    if shortcut.auc is None:
        return Text(shortcut.reason)
    alone = ", ".join(f"{name} {auc:.3f}" for name, auc in shortcut.alone.items())
    return Text(f"AUC of the label from file properties: {shortcut.auc:.3f} (alone: {alone})\n")


def _findings_table(audit: Audit) -> Table:
    table = Table(show_lines=True)
    for heading in ("severity", "finding"):
        table.add_column(heading, overflow="fold")
    for finding in audit.findings:
        body = "\n".join([finding.text, *(f"  {line}" for line in _case_lines(finding))])
        table.add_row(Text(finding.severity, style=_STYLES[finding.severity]), Text(body))
    return table


def _case_lines(finding: Finding) -> Iterator[str]:
    limit = SHOWN_SERIOUS_CASES if finding.severity in ("leak", "problem") else SHOWN_CASES
    for case in finding.cases[:limit]:
        yield _case_line(case)
    if len(finding.cases) > limit:
        yield f"and {len(finding.cases) - limit:,} more"


def _case_line(case: Case) -> str:
    if not case.paths:
        return case.remark
    files = few(case.paths)
    return f"{files} ({case.remark})" if case.remark else files
