"""Reading ahead changes when rows are read, never which, and errors come where they belong."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pneumo_core.read_ahead import ReadAhead

ROWS = np.arange(10)


def test_every_row_is_read_once_and_the_next_ones_before_they_are_asked_for() -> None:
    """The second block is there without anybody having asked; nothing is read beyond the end."""
    asked, second = [], threading.Event()

    def read(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        if start == 4:
            second.set()
        return ROWS[start:stop]

    ahead = ReadAhead(read, len(ROWS))
    np.testing.assert_array_equal(ahead.read(0, 4), ROWS[:4])
    assert second.wait(5)
    np.testing.assert_array_equal(ahead.read(4, 8), ROWS[4:8])
    np.testing.assert_array_equal(ahead.read(8, 10), ROWS[8:])
    assert asked == [(0, 4), (4, 8), (8, 10)]


def test_rows_that_nobody_foresaw_are_read_all_the_same() -> None:
    """After a pass that began anew, as when float16 turned out too narrow."""
    ahead = ReadAhead(lambda start, stop: ROWS[start:stop], len(ROWS))
    ahead.read(0, 4)
    np.testing.assert_array_equal(ahead.read(0, 3), ROWS[:3])
    np.testing.assert_array_equal(ahead.read(3, 6), ROWS[3:6])


def test_a_file_that_cannot_be_read_is_an_error_of_its_own_part() -> None:
    """What lies before it is computed and kept."""

    def read(start: int, stop: int) -> np.ndarray:
        if stop > 4:
            raise ValueError(f"row {start}")
        return ROWS[start:stop]

    ahead = ReadAhead(read, len(ROWS))
    ahead.read(0, 4)
    with pytest.raises(ValueError, match="row 4"):
        ahead.read(4, 8)
