"""Files that are on disk when a function returns, and survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Returns when a file's content, or the names in a folder, are on disk.

    Raises:
        OSError: if the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Returns when all files below a folder, and their names, are on disk.

    Raises:
        OSError: if the disk refuses.
    """
    for path in (*folder.rglob("*"), folder):
        flush(path)
