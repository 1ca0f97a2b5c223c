"""Curves drawn with characters: one line of them, or a small plot with axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

_BLOCKS, _PLAIN_LEVELS = "▁▂▃▄▅▆▇█", "_.-^"
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bits of a braille character, by row and column
_PLAIN_DOTS = "'-."  # from the top of a character to its bottom

Dot = tuple[int, int]


def sparkline(values: Sequence[float], width: int, *, plain: bool = False) -> str:
    """Returns values as a line of bars between their lowest and highest.

    Args:
        values: finite or not; what is not is left out.
        width: characters at most; of more values neighbours share one, as their mean.
        plain: use ASCII characters.
    """
    shown = [value for value in values if math.isfinite(value)]
    if not shown or width < 1:
        return ""
    if len(shown) > width:
        ends = [round(index * len(shown) / width) for index in range(width + 1)]
        shown = [sum(shown[a:b]) / (b - a) for a, b in itertools.pairwise(ends)]
    levels = _PLAIN_LEVELS if plain else _BLOCKS
    low, high = min(shown), max(shown)
    if high == low:
        return levels[len(levels) // 2] * len(shown)
    return "".join(levels[min(int((value - low) / (high - low) * len(levels)), len(levels) - 1)] for value in shown)


def plot(
    curve: Mapping[int, float], title: str, *, last: int, width: int, height: int, plain: bool = False
) -> list[str]:
    """Returns a curve as lines of text: a title, as many rows as asked for, and the horizontal axis.

    A row of braille has four levels and a column two, so six rows tell 24 values apart; plain rows have three.

    Args:
        curve: values by epoch, counted from 1; those that are not finite are left out.
        title: what the vertical axis shows.
        last: epoch at the right end.
        width: characters in all.
        height: rows of the plot itself.
        plain: use ASCII characters.
    """
    points = {epoch: value for epoch, value in curve.items() if math.isfinite(value)}
    if not points:
        return [title, *[""] * height, ""]
    low, high = _range(list(points.values()))
    labels = _labels(low, high)
    margin = max(map(len, labels))
    columns = max(width - margin - 1, 2)
    first, last = min(points), max(last, *points)
    rows = _rows(points, (first, last), (low, high), columns, height, plain=plain)
    ticks = [labels[1], *[""] * (height - 2), labels[0]] if height > 1 else [labels[1]]
    bar = "|" if plain else "│"
    lines = [f"{tick:>{margin}}{bar}{row}" for tick, row in zip(ticks, rows, strict=True)]
    return [f"{'':{margin}} {title}", *lines, f"{'':{margin}} {_epoch_axis(first, last, columns)}"]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest, apart even for a single value."""
    low, high = min(values), max(values)
    margin = 0.0 if high > low else (abs(low) * 0.05 or 0.5)
    return low - margin, high + margin


def _labels(low: float, high: float) -> tuple[str, str]:
    """Both ends with as many decimals as tell them apart to three digits."""
    decimals = min(max(2 - math.floor(math.log10(high - low)), 0), 6)
    return f"{low:.{decimals}f}", f"{high:.{decimals}f}"


def _epoch_axis(first: int, last: int, columns: int) -> str:
    ends = f"{first}{last:>{max(columns - len(str(first)), 0)}}"
    middle = "epoch"
    start = (columns - len(middle)) // 2
    has_room = start > len(str(first)) and columns - start - len(middle) > len(str(last))
    return ends[:start] + middle + ends[start + len(middle) :] if has_room else ends


def _rows(
    points: Mapping[int, float],
    epochs: tuple[int, int],
    values: tuple[float, float],
    columns: int,
    height: int,
    *,
    plain: bool,
) -> list[str]:
    across, down = (1, 3) if plain else (2, 4)
    right, bottom = columns * across - 1, height * down - 1
    span = max(epochs[1] - epochs[0], 1)
    dots = [
        (
            round((epoch - epochs[0]) / span * right),
            round((values[1] - value) / (values[1] - values[0]) * bottom),
        )
        for epoch, value in sorted(points.items())
    ]
    cells: dict[Dot, list[Dot]] = {}
    for x, y in _joined(dots):
        cells.setdefault((y // down, x // across), []).append((y % down, x % across))
    draw = _plain_character if plain else _braille_character
    return ["".join(draw(cells.get((row, column), [])) for column in range(columns)).rstrip() for row in range(height)]


def _joined(dots: Sequence[Dot]) -> Iterator[Dot]:
    """The dots and those on straight lines between neighbours."""
    yield from dots[:1]
    for (x0, y0), (x1, y1) in itertools.pairwise(dots):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(1, steps + 1):
            yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)


def _braille_character(dots: Sequence[Dot]) -> str:
    bits = 0
    for row, column in dots:
        bits |= _DOTS[row][column]
    return chr(_BRAILLE + bits) if bits else " "


def _plain_character(dots: Sequence[Dot]) -> str:
    rows = {row for row, _ in dots}
    if not rows:
        return " "
    return _PLAIN_DOTS[rows.pop()] if len(rows) == 1 else "|"
