"""The sections of a document (see `tuning.document`) on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text as Line

from tuning.document import Block, Columns, Drawing, Items, KeyFigures, Picture, Section, Table, Text

_FRAME, _WIDEST = 3, 43  # characters: around a cell; of a column that may be folded
_STYLES = {"": "", "warning": "yellow", "bad": "red", "good": "green"}


def as_renderable(sections: Sequence[Section], width: int) -> Group:
    """Returns sections for `rich` to print; pictures, which a terminal cannot show, by their captions.

    Args:
        sections: of the document.
        width: of the terminal, in characters. The columns of a table that is wider go into several, each with the first
            column.
    """
    return Group(*(part for section in sections for part in _section(section, width)))


def _section(section: Section, width: int) -> Iterator[RenderableType]:
    yield Line(f"\n{section.title}", style="bold")
    for block in section.blocks:
        yield from _rendered(block, width)


def _rendered(block: Block, width: int) -> Iterator[RenderableType]:
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
                yield from _rendered(one, width)
        case Table():
            yield from (_grid(part) for part in _parts(block, width))


def _parts(table: Table, width: int) -> Iterator[Table]:
    """The table as several that are as wide as the terminal allows."""
    lines = [table.header, *table.rows]
    first, *others = [max(len(line[column]) for line in lines) + _FRAME for column in range(len(table.header))]
    taken, used = list[int](), first
    for column, needed in enumerate(others, start=1):
        needed = min(needed, _WIDEST)
        if taken and used + needed >= width:
            yield _columns(table, taken)
            taken, used = [], first
        taken.append(column)
        used += needed
    yield _columns(table, taken)


def _columns(table: Table, chosen: Sequence[int]) -> Table:
    header, *rows = ([line[0], *(line[column] for column in chosen)] for line in (table.header, *table.rows))
    return Table(header, rows, table.tones)


def _grid(table: Table) -> Grid:
    grid = Grid(show_header=any(table.header))
    for heading in table.header:
        grid.add_column(Line(heading), overflow="fold")
    tones = table.tones or [""] * len(table.rows)
    for row, tone in zip(table.rows, tones, strict=True):
        grid.add_row(*map(Line, row), style=_STYLES[tone])
    return grid
