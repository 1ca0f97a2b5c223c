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

from pneumo_core.durability import flush
from pneumo_core.errors import StoreError
from tuning.events import EVENTS, Event
from tuning.relocation import at_home

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
            append_line(self._path, line.encode())
        except OSError as error:
            raise StoreError(f"journal {self._path}: cannot be written ({error.strerror or error}).") from error


def append_line(path: Path, line: bytes) -> None:
    """Appends a line to a file, all of it or nothing, and returns when it is on disk.

    Raises:
        OSError: if the disk refuses; the file is as it was.

    Side effects:
        Writes the file, which is created if need be.
    """
    begins = not path.exists()
    with path.open("ab", buffering=0) as file:
        _write_whole(file, line)
    if begins:
        flush(path.parent)


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


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of a journal.

    Attributes:
        event: what happened.
        at: when, in seconds since 1970.
        end: bytes of the file up to the end of the line.
    """

    event: Event
    at: float
    end: int


def read_journal(path: Path) -> Iterator[Event]:
    """Reads a study's events in order. A last line that was cut short, as by a crash in mid-write, is left out.

    Raises:
        StoreError: if the file cannot be read, or a line other than the last is damaged; names the line.
    """
    return (entry.event for entry in read_entries(path))


def read_entries(path: Path, start: int = 0) -> Iterator[Entry]:
    """Reads the lines of a journal that begin at a place, as `read_journal` does.

    What they say of places in the store is told as these are now, should the store have been moved.

    Args:
        path: of the file.
        start: `end` of the last line that is known already.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError as error:
        raise StoreError(f"journal {path}: cannot be read ({error.strerror or error}).") from error
    counted = start == 0
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is a torn line, or empty
        start += len(line) + 1
        where = f"line {number}" if counted else f"line ending at byte {start}"
        event, at = _parse(line, f"journal {path}, {where}")
        yield Entry(at_home(event, path), at, start)


def drop_torn_line(path: Path) -> None:
    """Cuts off a last line that a crash left unfinished, so that the next one does not land behind it.

    Raises:
        StoreError: if the disk refuses.

    Side effects:
        May shorten the file.
    """
    try:
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    except OSError as error:
        raise StoreError(f"journal {path}: cannot be written ({error.strerror or error}).") from error


def _parse(line: bytes, where: str) -> tuple[Event, float]:
    try:
        fields = json.loads(line)
        version, kind = fields.pop("v"), fields.pop("event")
        at = float(fields.pop("at"))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(f"{where}: damaged ({error}); restore the file from a copy.") from error
    if version != FORMAT_VERSION or kind not in EVENTS:
        raise StoreError(f"{where}: written by another version of this program (format {version}, event {kind}).")
    try:
        return EVENTS[kind](**fields), at
    except TypeError as error:
        raise StoreError(f"{where}: damaged ({error}); restore the file from a copy.") from error
