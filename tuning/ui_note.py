"""Which server shows a store: a note that it leaves there, by which later commands know it again."""

from __future__ import annotations

import dataclasses
import json
import os
import urllib.parse
import urllib.request
from pathlib import Path

import psutil

from tuning.store import Store

_ANSWER_TIMEOUT_S = 5.0

SERVER_APP = "mlflow.server.fastapi_app:app"
"""What uvicorn runs, as its command line has it."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of this machine, told from a later one with its number.

    Attributes:
        pid: its number.
        created: when it began, in seconds since 1970.
    """

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Process:
        """Returns a process that is there."""
        return cls(pid, psutil.Process(pid).create_time())

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._found() is not None

    @property
    def serves(self) -> bool:
        """Whether it still runs and is an MLflow server of this user's: a note can be anybody's, and name anything."""
        process = self._found()
        try:
            return process is not None and process.uids().real == os.getuid() and SERVER_APP in process.cmdline()
        except psutil.Error:
            return False

    def _found(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.created) < 0.1  # seconds
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


@dataclasses.dataclass(frozen=True)
class ServerNote:
    """What a store remembers of the server that shows it, in `ui.json`.

    Attributes:
        url: where it listens.
        backend: redacted address of the database behind it.
        store: folder that it was started for: copies of a store have copies of this file.
        server: its process.
        owner: the command that started it, and will end it.
    """

    url: str
    backend: str
    store: str
    server: Process
    owner: Process

    @classmethod
    def read(cls, store: Store) -> ServerNote | None:
        """Returns the note in a store; None if there is none that can be read."""
        try:
            fields = json.loads(note_file(store).read_text())
            server, owner = Process(**fields.pop("server")), Process(**fields.pop("owner"))
            note = cls(**fields, server=server, owner=owner)
            return note if note.is_sound else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    @property
    def is_sound(self) -> bool:
        """Whether all of it is of the kind it should be."""
        numbers = [(one.pid, one.created) for one in (self.server, self.owner)]
        told = all(type(pid) is int and pid > 1 and isinstance(at, int | float) for pid, at in numbers)
        address = urllib.parse.urlsplit(self.url)
        return told and address.scheme == "http" and bool(address.port)

    def write(self, store: Store) -> None:
        """Leaves the note.

        Side effects:
            Replaces the file in the store.
        """
        unfinished = note_file(store).with_suffix(".new")
        unfinished.write_text(json.dumps(dataclasses.asdict(self)) + "\n")
        unfinished.replace(note_file(store))

    def shows(self, store: Store, backend: str) -> bool:
        """Returns whether the server is there, answers, and shows this database for this store."""
        right = (self.store, self.backend) == (str(store.root), backend)
        return right and self.server.serves and answers(self.url)


def note_file(store: Store) -> Path:
    """Returns where a store keeps the note."""
    return store.root / "ui.json"


def answers(url: str) -> bool:
    """Returns whether an MLflow server answers at an address."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=_ANSWER_TIMEOUT_S):  # noqa: S310
            return True
    except (OSError, ValueError):
        return False
