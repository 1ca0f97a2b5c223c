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

    A listener that raises hears nothing more; the others go on, and so does the study. `finish` raises what it raised.

    Args:
        listeners: must bear that the record is ahead of the event they are told of.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)
        self._events: queue.SimpleQueue[tuple[Event, StudyRecord] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="bookkeeping", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many events are still to be passed on."""
        return self._events.qsize()

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Takes one event in and returns at once."""
        self._events.put((event, record))

    def finish(self) -> None:
        """Waits until everything is done, and raises the first error that a listener met."""
        self._events.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (item := self._events.get()) is not None:
            for listener in list(self._listeners):
                try:
                    listener(*item)
                except BaseException as error:  # raised again in the thread that runs the study
                    self._error = self._error or error
                    self._listeners.remove(listener)
