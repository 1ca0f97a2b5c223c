"""Tables of many rows: aligned, framed, and folded below a row only."""

from __future__ import annotations

import io

from rich.cells import cell_len
from rich.console import Console

from tuning.grid import Column, Grid


def _printed(grid: Grid, width: int = 60) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(grid)
    return file.getvalue().splitlines()


def test_all_lines_of_a_frame_are_as_wide_as_it_says() -> None:
    """Also with characters that take two places on a terminal, and words that look like markup."""
    names = Column("name", ["肺炎", "[bold]", "x"], right=False)
    grid = Grid("", [names, Column("score", ["1", "22", "-333.5"])], separate_before=frozenset({2}))
    lines = _printed(grid)
    assert {cell_len(line) for line in lines} == {grid.width}
    assert lines[-4:-1] == ["│ [bold] │     22 │", "├────────┼────────┤", "│ x      │ -333.5 │"]


def test_what_stands_below_a_row_is_folded_between_words() -> None:
    """Indented to the second column, and never torn apart."""
    words = " ".join(f"learning_rate_{number}=0.00{number}" for number in range(8))
    lines = _printed(Grid("t", [Column("#", ["1", "2"]), Column("trial", ["a", "b"])], [words, "short"]), 50)
    assert max(map(len, lines)) <= 50
    assert [word for line in lines for word in line.split() if word.startswith("learning")] == words.split()
    assert lines[-1] == "      short"
