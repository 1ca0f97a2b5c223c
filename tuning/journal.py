"""The study's append-only record: one line of JSON for each event, on disk before anything follows from it."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

from pneumo_core.errors import StoreError
from tuning.events import EVENTS, Event

FORMAT_VERSION = 1


class Journal:
    """Writes events to a file, each synced to disk before `append` returns.

    Args:
        path: of the file; created with the first event.
        clock: wall clock in seconds since 1970, for the time stamps.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock

    def append(self, event: Event) -> None:
        """Records an event.

        Raises:
            StoreError: if the disk refuses; what was recorded before stays readable.

        Side effects:
            Appends one line to the file.
        """
        head = {"v": FORMAT_VERSION, "at": round(self._clock(), 3), "event": event.kind}
        line = json.dumps(head | dataclasses.asdict(event), separators=(",", ":")) + "\n"
        try:
            with self._path.open("ab", buffering=0) as file:
                self._write_whole(file, line.encode())
        except OSError as error:
            raise StoreError(f"journal {self._path}: cannot be written ({error.strerror or error}).") from error

    @staticmethod
    def _write_whole(file: FileIO, line: bytes) -> None:
        """Writes all of the line or nothing, so that a later line never lands behind a torn one."""
        before = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise


def begun_at(path: Path) -> float:
    """Returns when a study began, in seconds since 1970; 0 if its journal does not say."""
    try:
        with path.open("rb") as file:
            return float(json.loads(file.readline())["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def read_journal(path: Path) -> Iterator[Event]:
    """Reads a study's events in order. A last line that was cut short, as by a crash in mid-write, is left out.

    Raises:
        StoreError: if the file cannot be read, or a line other than the last is damaged; names the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StoreError(f"journal {path}: cannot be read ({error.strerror or error}).") from error
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is a torn line, or empty
        yield _parse(line, f"journal {path}, line {number}")


def _parse(line: bytes, where: str) -> Event:
    try:
        fields = json.loads(line)
        version, kind = fields.pop("v"), fields.pop("event")
        fields.pop("at")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(f"{where}: damaged ({error}); restore the file from a copy.") from error
    if version != FORMAT_VERSION or kind not in EVENTS:
        raise StoreError(f"{where}: written by another version of this program (format {version}, event {kind}).")
    try:
        return EVENTS[kind](**fields)
    except TypeError as error:
        raise StoreError(f"{where}: damaged ({error}); restore the file from a copy.") from error
