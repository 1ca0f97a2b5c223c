"""The sections of a document on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from tuning.document import Items, Picture, Section, Table, Text
from tuning.terminal_document import as_renderable


def test_every_block_is_shown_and_nothing_is_taken_for_markup() -> None:
    """Brackets in a name are no colour; a table keeps its cells at 60 columns."""
    blocks = [
        Text("be careful [red]", "warning"),
        Items(["first", "[bold]second"]),
        Table(["", "a/t0001"], [["head units", "[512]"]], ["bad"]),
        Table(["", ""], [["name", "value"]]),
        Picture(Path("roc.png"), "Curves."),
    ]
    out = io.StringIO()
    Console(file=out, width=60).print(as_renderable([Section("What differs", blocks)], 60))
    shown = out.getvalue()
    for words in (
        "What differs",
        "be careful [red]",
        "• [bold]second",
        "[512]",
        "a/t0001",
        "value",
        "roc.png: Curves.",
    ):
        assert words in shown


def test_a_table_that_is_too_wide_goes_on_below_with_its_first_column() -> None:
    """Eight trials at 80 columns: no word is broken, and every row still has its name."""
    header = ["less the first", *(f"study-{number}/t0001" for number in range(7))]
    table = Table(header, [["ROC AUC", *["+0.0122 (+0.0090 to +0.0153)"] * 7]])
    out = io.StringIO()
    Console(file=out, width=80).print(as_renderable([Section("Paired", [table])], 80))
    shown = out.getvalue()
    assert shown.count("+0.0122 (+0.0090 to +0.0153)") == 7
    assert shown.count("ROC AUC") == 4
    assert [name for name in header if name not in shown] == []
    assert max(map(len, shown.splitlines())) <= 80
