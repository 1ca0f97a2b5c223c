"""What listeners do in the background keeps nobody waiting, keeps its order, and fails where it is seen."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from tuning.background import Background
from tuning.events import EpochEnded, Event
from tuning.record import StudyRecord

RECORD = cast(StudyRecord, None)  # these listeners do not look at it


def _event(number: int) -> EpochEnded:
    return EpochEnded("t0001", number, {})


def test_events_are_passed_on_in_order_to_each_listener_in_turn() -> None:
    """The second listener may rely on what the first did for the same event."""
    heard: list[tuple[str, Event]] = []
    background = Background(lambda event, _: heard.append(("a", event)), lambda event, _: heard.append(("b", event)))
    for number in range(3):
        background(_event(number), RECORD)
    background.finish()
    assert heard == [(name, _event(number)) for number in range(3) for name in ("a", "b")]


def test_a_slow_listener_keeps_nobody_waiting() -> None:
    """The call returns while the listener is still at the event before."""
    gate, heard = threading.Event(), []

    def slow(event: Event, record: StudyRecord) -> None:
        gate.wait(30)
        heard.append(event)

    background = Background(slow)
    for number in range(5):
        background(_event(number), RECORD)
    assert heard == []
    gate.set()
    background.finish()
    assert len(heard) == 5


def test_an_error_is_raised_at_the_end_and_silences_its_listener_alone() -> None:
    """A failing listener neither goes unnoticed nor is it called again; the others hear everything."""
    heard: list[Event] = []
    others: list[Event] = []

    def fails(event: Event, record: StudyRecord) -> None:
        heard.append(event)
        raise OSError("no")

    background = Background(fails, lambda event, _: others.append(event))
    for number in range(3):
        background(_event(number), RECORD)
    with pytest.raises(OSError, match="no"):
        background.finish()
    assert heard == [_event(0)]
    assert others == [_event(number) for number in range(3)]
