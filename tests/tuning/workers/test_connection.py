"""A scheduler may go while a study connects to it."""

from __future__ import annotations

from concurrent.futures import Future as Promise
from types import SimpleNamespace
from typing import Any

from tuning.workers.connection import Connection


def test_a_scheduler_that_goes_again_at_once_is_a_lost_connection() -> None:
    """For which the study waits; it does not end over it."""

    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError("closed")

    client = SimpleNamespace(
        id="c1", scheduler_comm=None, status="connecting", subscribe_topic=fail, scheduler_info=fail, close=fail
    )
    source: Any = SimpleNamespace(connect=lambda given_up: client, local=False)
    connection = Connection.make(source, Promise(), lambda note: None, lambda: False)
    assert not connection.holds()
    connection.close()
