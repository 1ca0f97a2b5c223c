"""A terminal's screen, as far as a live view needs one."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[(?P<numbers>[?0-9;]*)(?P<what>[A-Za-z])|(?P<text>.)", re.DOTALL)


class Terminal:
    """Takes what a program writes, and holds what people would see, what scrolled away included.

    Args:
        columns: longer lines go on in the next row.

    Attributes:
        has_cursor: whether the cursor is shown.
    """

    def __init__(self, columns: int) -> None:
        self.has_cursor = True
        self._columns, self._rows, self._row, self._column = columns, [""], 0, 0

    @property
    def lines(self) -> list[str]:
        """The rows, without those at the end that are empty."""
        return "\n".join(row.rstrip() for row in self._rows).rstrip("\n").split("\n")

    def feed(self, written: str) -> None:
        """Takes in text with control sequences; one that is not known is an error."""
        for token in _TOKEN.finditer(written):
            if token["text"] is not None:
                self._put(token["text"])
            else:
                self._control(token["what"], token["numbers"])

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row, self._column = self._row + 1, 0
            self._rows += [""] * (self._row + 1 - len(self._rows))
        else:
            if self._column == self._columns:
                self._put("\n")
            row = self._rows[self._row].ljust(self._column)
            self._rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1

    def _control(self, what: str, numbers: str) -> None:
        match what, numbers:
            case "A", _:
                self._row = max(self._row - int(numbers or 1), 0)
            case "K", "2":
                self._rows[self._row] = ""
            case "h" | "l", "?25":
                self.has_cursor = what == "h"
            case "m", _:
                pass
            case _:
                raise AssertionError(f"unknown control sequence {numbers}{what}")
