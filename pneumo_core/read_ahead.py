"""The next images are read while these are computed on: neither a GPU nor a processor waits for the disk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

Read = Callable[[int, int], np.ndarray]
"""From the first row and the row after the last to what is there."""


class ReadAhead:
    """Reads rows, and meanwhile those that will be asked for next: as many, right behind. No more than that is held.

    Args:
        read: reads; called in a thread of its own, one call at a time. What it raises is raised when those rows are
            asked for.
        rows: how many there are.
    """

    def __init__(self, read: Read, rows: int) -> None:
        self._read, self._rows = read, rows
        self._thread = ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int], Future[np.ndarray]] = {}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Returns the rows from `start` to before `stop`."""
        asked = self._ahead.pop((start, stop), None) or self._thread.submit(self._read, start, stop)
        self._ahead.clear()
        rows = asked.result()
        after = (stop, min(2 * stop - start, self._rows))
        if stop < self._rows:
            self._ahead[after] = self._thread.submit(self._read, *after)
        return rows
