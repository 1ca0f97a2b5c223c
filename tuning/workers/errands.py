"""Work that waits for somebody else, each piece in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future as Promise
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def errand(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Promise[_T]:
    """Has a function called, and returns what it will return.

    A worker that hangs may keep its caller waiting for long. That holds up neither others, as in a pool of threads, nor
    the end of the process: threads of `concurrent.futures` are waited for then.
    """
    promise: Promise[_T] = Promise()

    def run() -> None:
        try:
            promise.set_result(function(*args, **kwargs))
        except BaseException as error:
            promise.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return promise
