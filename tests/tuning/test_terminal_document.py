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
    Console(file=out, width=60).print(as_renderable([Section("What differs", blocks)]))
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
