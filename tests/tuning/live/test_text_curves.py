"""Curves of characters say what the numbers say."""

from __future__ import annotations

import math

import pytest

from tuning.live.text_curves import plot, sparkline


def test_a_line_of_bars_goes_from_the_lowest_to_the_highest() -> None:
    """Eight levels; without Unicode fewer."""
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 1, 2, 3], 8, plain=True) == "_.-^"
    assert sparkline([2, 2], 8) == "▅▅"
    assert sparkline([], 8) == ""


def test_more_values_than_characters_share_one() -> None:
    """As their mean, none left out."""
    assert sparkline([0, 0, 0, 0, 8, 8], 3) == "▁▁█"


def test_what_is_not_a_number_leaves_a_gap() -> None:
    """A loss that became infinite spoils no axis."""
    assert sparkline([1.0, math.nan, math.inf, 2.0], 8) == "▁█"
    assert not any("nan" in line for line in plot({1: 1.0, 2: math.nan}, "loss", last=3, width=30, height=4))


@pytest.mark.parametrize("plain", [False, True])
def test_a_plot_is_as_large_as_asked_for(plain: bool) -> None:
    """Title, rows and axis; no line longer than its width; braille or ASCII."""
    curve = {epoch: 1 / epoch for epoch in range(1, 40)}
    for width in (12, 30, 80):
        lines = plot(curve, "val_loss", last=60, width=width, height=5, plain=plain)
        assert len(lines) == 7
        assert max(map(len, lines[1:])) <= width
        assert "\n".join(lines).isascii() is plain


def test_the_axes_are_labelled() -> None:
    """Lowest and highest value at their rows; the first and the last epoch; what both axes are."""
    lines = plot({1: 0.5, 2: 0.3, 3: 0.25}, "val_loss", last=6, width=40, height=4)
    assert lines[0].split() == ["val_loss"]
    assert lines[1].startswith("0.500│")
    assert lines[4].startswith("0.250│")
    assert lines[5].split() == ["1", "epoch", "6"]


def test_more_than_eight_levels_are_told_apart() -> None:
    """Each of sixteen falling values lies lower than the one before, in four rows of braille."""
    rows = plot({epoch: 100.0 - epoch for epoch in range(16)}, "x", last=15, width=12, height=4)[1:-1]
    dots = [(0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)]
    heights = set()
    for row, line in enumerate(rows):
        for character in line.partition("│")[2]:
            bits = ord(character) - 0x2800 if character != " " else 0
            heights |= {4 * row + at for at, pair in enumerate(dots) if bits & (pair[0] | pair[1])}
    assert heights == set(range(16))


def test_a_single_epoch_and_a_flat_curve_can_be_drawn() -> None:
    """Neither divides by the zero between its ends."""
    for curve in ({1: 0.5}, {1: 0.5, 2: 0.5}, {3: 0.0}):
        assert len(plot(curve, "val_loss", last=1, width=20, height=3)) == 5
    assert plot({}, "val_loss", last=1, width=20, height=3) == ["val_loss", "", "", "", ""]
