"""Ctrl-C, SIGTERM and SIGHUP: the first asks a study to stop when it can go on from there, the second stops it."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@dataclasses.dataclass
class StopRequest:
    """Whether somebody asked for an end.

    Attributes:
        requested: by a signal.
        at_once: whether the next signal shall raise KeyboardInterrupt even if it is the first.
    """

    requested: bool = False
    at_once: bool = False


@contextlib.contextmanager
def stop_requests(tell: Callable[[str], None] = lambda text: None) -> Iterator[StopRequest]:
    """Takes signals in the block: the first is noted in the request, a second raises KeyboardInterrupt.

    Only in the main thread, where alone Python allows it. A SIGHUP that is ignored (`nohup`) stays ignored.

    Args:
        tell: takes the sentence that says what happens now.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def take(signum: int, frame: FrameType | None) -> None:
        if request.requested or request.at_once:
            raise KeyboardInterrupt
        request.requested = True
        # In a thread: the signal may have come in the middle of a write to the same stream.
        words = "stopping when the epoch is over and saved; again to stop at once"
        threading.Thread(target=tell, args=(words,), daemon=True).start()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, take)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
