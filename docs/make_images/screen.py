"""A terminal's screen in memory: what a command that redraws itself shows at one moment."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>()][A-Z0-9]?")
_CUT_OFF = re.compile(r"\x1b(?:\[\??[\d;]*)?$")

Cell = tuple[str, str]
"""A character, and the sequences that set its colours."""


class Screen:
    """Follows what is written to a terminal; knows the sequences that rich uses, and passes over others.

    Args:
        columns: of the terminal.
        rows: of the terminal; what scrolls out of it is kept.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._lines: list[list[Cell]] = [[]]
        self._row, self._column, self._style, self._left = 0, 0, "", ""

    def write(self, text: str) -> None:
        """Takes what a program writes, in pieces of any length."""
        text, self._left = self._left + text, ""
        if cut_off := _CUT_OFF.search(text):
            text, self._left = text[: cut_off.start()], cut_off[0]
        position = 0
        for found in _SEQUENCE.finditer(text):
            self._print(text[position : found.start()])
            if found[3] and not found[1]:
                self._obey(found[3], [int(number or 0) for number in found[2].split(";")])
            position = found.end()
        self._print(text[position:])

    def ansi(self) -> list[str]:
        """Returns the lines with their colours, empty ones at the end left out."""
        lines = [_joined(line) for line in self._lines]
        while lines and not re.sub(r"\x1b\[[\d;]*m", "", lines[-1]).strip():
            lines.pop()
        return lines

    def text(self) -> str:
        """Returns the lines without their colours."""
        return "\n".join("".join(character for character, _ in line).rstrip() for line in self._lines)

    def _print(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self._go(self._row + 1, self._column)
            elif character == "\r":
                self._column = 0
            elif character == "\b":
                self._column = max(self._column - 1, 0)
            elif character >= " ":
                self._put(character)

    def _put(self, character: str) -> None:
        if self._column >= self.columns:
            self._go(self._row + 1, 0)
        line = self._lines[self._row]
        line.extend([(" ", "")] * (self._column + 1 - len(line)))
        line[self._column] = character, self._style
        self._column += 1

    def _go(self, row: int, column: int) -> None:
        self._row, self._column = max(row, 0), max(column, 0)
        while len(self._lines) <= self._row:
            self._lines.append([])

    def _obey(self, letter: str, numbers: list[int]) -> None:
        steps, top = max(numbers[0], 1), max(len(self._lines) - self.rows, 0)
        match letter:
            case "m":
                sequence = f"\x1b[{';'.join(map(str, numbers))}m"
                self._style = "" if numbers == [0] else self._style + sequence
            case "A":
                self._go(self._row - steps, self._column)
            case "B":
                self._go(self._row + steps, self._column)
            case "C":
                self._column += steps
            case "D":
                self._column = max(self._column - steps, 0)
            case "G":
                self._column = steps - 1
            case "H":
                self._go(top + steps - 1, (numbers[1] if len(numbers) > 1 else 1) - 1)
            case "K":
                self._erase(self._row, numbers[0])
            case "J":
                self._erase(self._row if numbers[0] == 0 else top, 0 if numbers[0] == 0 else 2)
                del self._lines[(self._row if numbers[0] == 0 else top) + 1 :]
                self._go(self._row, self._column)

    def _erase(self, row: int, what: int) -> None:
        """Empties a line: behind the cursor (0), in front of it (1), or all of it (2)."""
        line = self._lines[row]
        if what == 0:
            del line[self._column :]
        else:
            end = len(line) if what == 2 else min(self._column + 1, len(line))
            line[:end] = [(" ", "")] * end


def _joined(line: list[Cell]) -> str:
    text, style = "", ""
    for character, own in line:
        if own != style:
            text, style = f"{text}\x1b[0m{own}", own
        text += character
    return f"{text}\x1b[0m".rstrip()
