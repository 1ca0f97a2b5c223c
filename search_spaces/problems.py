"""A problem and the place in the file that it is about; shared by every check, so that all can be told at once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable

KeyPath = tuple[str | int, ...]
"""Keys and positions from the top of a space file, such as `("parameters", "dropout", "max")`."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with a space.

    Attributes:
        path: what it is about.
        message: what was expected, what came, and what to do.
        line: where that stands, if known without looking `path` up.
    """

    path: KeyPath
    message: str
    line: int | None = None


def problem_at(path: KeyPath, message: str, line: int | None = None) -> Problem:
    """Returns a problem whose message begins with its place, written as `parameters.dropout.max: …`."""
    place = label(path)
    return Problem(path, f"{place}: {message}" if place else message, line)


def label(path: KeyPath) -> str:
    """Returns a path as people write it: `start_with[0].dropout`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns `did you mean …?` for a name close to a known one, else what is known."""
    names = list(known)
    close = difflib.get_close_matches(name.lower(), names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are {', '.join(names)}" if names else "none is known here"
