"""The sections of a document (see `tuning.document`) on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text as Line

from tuning.document import Block, Columns, Drawing, Items, KeyFigures, Picture, Section, Table, Text

_STYLES = {"": "", "warning": "yellow", "bad": "red", "good": "green"}


def as_renderable(sections: Sequence[Section]) -> Group:
    """Returns sections for `rich` to print; pictures, which a terminal cannot show, by their captions."""
    return Group(*(part for section in sections for part in _section(section)))


def _section(section: Section) -> Iterator[RenderableType]:
    yield Line(f"\n{section.title}", style="bold")
    for block in section.blocks:
        yield from _rendered(block)


def _rendered(block: Block) -> Iterator[RenderableType]:
    match block:
        case Text():
            yield Line(block.text, style=_STYLES[block.tone])
        case Items():
            yield from (Line(f"• {item}") for item in block.items)
        case Picture():
            yield Line(f"{block.file.name}: {block.caption}", style="dim")
        case Drawing():
            yield Line(block.caption, style="dim")
        case KeyFigures():
            yield _grid(Table(("", "", ""), block.figures))
        case Columns():
            for one in block.blocks:
                yield from _rendered(one)
        case Table():
            yield _grid(block)


def _grid(table: Table) -> Grid:
    grid = Grid(show_header=any(table.header))
    for heading in table.header:
        grid.add_column(Line(heading), overflow="fold")
    tones = table.tones or [""] * len(table.rows)
    for row, tone in zip(table.rows, tones, strict=True):
        grid.add_row(*map(Line, row), style=_STYLES[tone])
    return grid
