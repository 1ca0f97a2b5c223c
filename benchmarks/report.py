"""Sections of docs/performance.md: each benchmark replaces its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

REPORT = Path(__file__).parents[1] / "docs" / "performance.md"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write_section(title: str, body: str, report: Path = REPORT) -> None:
    """Replaces the section of that title, or appends it.

    Side effects:
        Writes the report.
    """
    text = report.read_text()
    section = f"## {title}\n\n{body.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", flags=re.DOTALL | re.MULTILINE)
    found = pattern.search(text)
    if found:
        text = text[: found.start()] + section + ("\n" if found.end() < len(text) else "") + text[found.end() :]
    else:
        text = text.rstrip() + "\n\n" + section
    report.write_text(text)
    print(section)
