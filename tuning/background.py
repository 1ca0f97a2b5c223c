"""Listeners that are told of a study's events in a thread of their own, so that what they do keeps no trial waiting."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from tuning.events import Event
from tuning.record import StudyRecord

Listener = Callable[[Event, StudyRecord], None]
"""Is told every event, with the record that the event is already part of."""


class Background:
    """Passes events on, one after another, each to all listeners in turn.

    What a listener raises is raised again by the next call, or by `finish`; no further event is passed on then.

    Args:
        listeners: must bear that the record is ahead of the event they are told of.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._events: queue.SimpleQueue[tuple[Event, StudyRecord] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="bookkeeping", daemon=True)
        self._thread.start()

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Takes one event in and returns at once."""
        self._raise()
        self._events.put((event, record))

    def finish(self) -> None:
        """Waits until everything is done."""
        self._events.put(None)
        self._thread.join()
        self._raise()

    def _work(self) -> None:
        while (item := self._events.get()) is not None:
            try:
                for listener in self._listeners:
                    listener(*item)
            except BaseException as error:  # raised again in the thread that runs the study
                self._error = error
                return

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
