"""Calls that only a worker opens: a scheduler unpickles what it is given to hand on, and may lack this program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.protocol.pickle import dumps


def parcel(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[[bytes], Any], bytes]:
    """Returns a function that Dask can send to a scheduler without this program, and what to give it.

    Called with that, in a process that has this program, it calls the other function with its arguments.
    """

    def open_and_call(content: bytes) -> Any:  # has no name that could be imported: so it is pickled by its code
        import pickle

        call, given = pickle.loads(content)  # noqa: S301  # of the study's process: a worker runs whatever it says
        return call(*given)

    return open_and_call, dumps((function, arguments))
