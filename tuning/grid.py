"""Tables of thousands of rows for a terminal, sized once.

rich measures and wraps every cell for itself, which takes seconds for the trials of a long study. Here cells are plain
text of one line, a column is as wide as its widest cell, and only what goes below a row is folded.
"""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal

from rich.box import HEAVY_HEAD, SIMPLE, Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

RowLevel = Literal["head", "row"]


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: what stands above it and its cells, from the first row to the last."""

    heading: str
    cells: Sequence[str]
    right: bool = True

    @functools.cached_property
    def width(self) -> int:
        """Characters that heading and cells need."""
        return max(map(cell_len, (self.heading, *self.cells)))

    def padded(self, text: str, width: int) -> str:
        """Returns a text as wide as the column."""
        space = " " * (width - cell_len(text))
        return space + text if self.right else text + space


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table that rich can print.

    Attributes:
        title: above it.
        columns: from left to right, of equally many cells.
        below: a text for each row, folded below it; empty for none. Such a table has no vertical lines.
        separate_before: rows before which a line is drawn.
    """

    title: str
    columns: Sequence[Column]
    below: Sequence[str] = ()
    separate_before: frozenset[int] = frozenset()

    @property
    def width(self) -> int:
        """Characters in which nothing but the texts below the rows is folded."""
        return sum(column.width + 3 for column in self.columns) + 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the lines, as rich asks for them."""
        box = (SIMPLE if self.below else HEAVY_HEAD).substitute(options)
        widths = [column.width for column in self.columns]
        bold, dim = Style(bold=True), Style(dim=True)
        if self.title:
            yield from _line(self.title.center(min(self.width, options.max_width)), Style(italic=True))
        if not self.below:
            yield from _line(box.get_top([width + 2 for width in widths]))
        headings = [column.padded(column.heading, width) for column, width in zip(self.columns, widths, strict=True)]
        yield from _line(
            box.head_left + box.head_vertical.join(f" {text} " for text in headings) + box.head_right, bold
        )
        yield from _line(_rule(box, widths, "head"))
        for number, (cells, text) in enumerate(zip_longest(self._rows(widths), self.below, fillvalue="")):
            if number in self.separate_before:
                yield from _line(_rule(SIMPLE if self.below else box, widths, "head" if self.below else "row"))
            yield from _line(box.mid_left + box.mid_vertical.join(cells) + box.mid_right)
            for line in self._folded(text, options.max_width):
                yield from _line(line, dim)
        if not self.below:
            yield from _line(box.get_bottom([width + 2 for width in widths]))

    def _rows(self, widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
        columns = [
            [f" {column.padded(cell, width)} " for cell in column.cells]
            for column, width in zip(self.columns, widths, strict=True)
        ]
        return zip(*columns, strict=True)

    def _folded(self, text: str, width: int) -> list[str]:
        """Lines that begin where the second column does."""
        indent = " " * (self.columns[0].width + 5)
        return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _rule(box: Box, widths: Sequence[int], level: RowLevel) -> str:
    return box.get_row([width + 2 for width in widths], level)


def _line(text: str, style: Style | None = None) -> Iterator[Segment]:
    yield Segment(text.rstrip(), style)
    yield Segment.line()
