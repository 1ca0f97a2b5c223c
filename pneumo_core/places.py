"""Paths as people write them, made absolute. Unlike pathlib's, these ways never raise: for a user whom nobody knows,
or links that lead round in circles, the path stays as far as it can be followed, and whoever opens it says so.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def absolute(path: Path | str) -> Path:
    """Returns a path with `~` expanded, from the root on; links stay."""
    path = Path(path)
    with contextlib.suppress(RuntimeError):  # `~name` of nobody
        path = path.expanduser()
    return path.absolute()


def resolved(path: Path | str) -> Path:
    """Returns a path with `~` expanded and all links followed."""
    return Path(os.path.realpath(absolute(path)))
