"""A study's connection to a scheduler: workers that come and go, and those that are taken on for the study."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future as Promise
from typing import Any

from distributed import Client

from pneumo_core.errors import PneumoError
from tuning.attempt import DataSetup
from tuning.workers.admission import program_here, refusals_of_program
from tuning.workers.roster import Member
from tuning.workers.source import WorkerSource
from tuning.workers.workplace import Introduction, Session, greet, leave, let_go, take_on

_AGAIN_S = 2.0  # between two looks at a worker that serves another study
_FAREWELL_S = 2.0

Note = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Connection:
    """One connection, until it is lost or closed.

    Every worker that appears is taken on: it begins with TensorFlow, is examined, and made ready. Notes that are passed
    on: `arrived`, with a `member` of the roster; `gone`, `ready` and `refused`, with the address of a `worker`, the
    last with `reasons` (and the `error`, if one was raised there); and whatever workers say themselves.

    Attributes:
        client: Dask's.
        session: how workers know it.
    """

    client: Client
    session: Session
    _comm: object
    _setup: Promise[DataSetup]
    _note: Callable[[Note], None]
    _closed: threading.Event = dataclasses.field(default_factory=threading.Event)
    _present: set[str] = dataclasses.field(default_factory=set)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @classmethod
    def make(
        cls,
        source: WorkerSource,
        setup: Promise[DataSetup],
        note: Callable[[Note], None],
        given_up: Callable[[], bool],
    ) -> Connection:
        """Connects to a scheduler, and tells of the workers that it has.

        Args:
            source: of workers.
            setup: what workers need to know of the study, when that is known.
            note: takes notes, from other threads.
            given_up: see `WorkerSource.connect`.

        Raises:
            WorkerError: if there is no scheduler.
        """
        client = source.connect(given_up)
        session = Session(client.id, f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}", source.local)
        connection = cls(client, session, client.scheduler_comm, setup, note)
        client.subscribe_topic(session.topic, lambda event: note(event[1]))
        client.subscribe_topic("all", connection._hear_of_workers)
        for address in client.scheduler_info()["workers"]:
            connection._welcome(address)
        return connection

    def holds(self) -> bool:
        """Returns whether the scheduler is still there; Dask's own reconnection forgets what was subscribed to."""
        return self.client.status == "running" and self.client.scheduler_comm is self._comm

    def run(self, address: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function in one worker, beside what it is doing.

        Raises:
            OSError: if the worker is gone.
            Exception: what the function raises.
        """
        answers = self.client.run(function, *arguments, workers=[address])
        if address not in answers:
            raise OSError(f"worker {address} is gone")
        return answers[address]

    def take_on(self, worker: Member) -> None:
        """Takes a worker on, in a thread; a note tells how that ended."""
        threading.Thread(target=self._take_on, args=(worker,), daemon=True).start()

    def ask_to_leave(self) -> None:
        """Asks all workers to leave their attempts. In a thread, because a worker that hangs does not answer."""
        self._everywhere(leave)

    def let_go(self) -> None:
        """Frees the workers for other studies."""
        self._everywhere(let_go).join(_FAREWELL_S)

    def close(self) -> None:
        """Ends the connection."""
        self._closed.set()
        with contextlib.suppress(Exception):
            self.client.close(timeout=2)

    def _everywhere(self, function: Callable[..., Any]) -> threading.Thread:
        def call() -> None:
            with contextlib.suppress(Exception):  # the connection ends before a worker that hangs has answered
                self.client.run(function, self.session, on_error="ignore")

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        return thread

    def _hear_of_workers(self, event: tuple[float, Any]) -> None:
        match event[1].get("action"):
            case "add-worker":
                self._welcome(event[1]["worker"])
            case "remove-worker":
                with self._lock:
                    self._present.discard(event[1]["worker"])
                    self._note({"kind": "gone", "worker": event[1]["worker"]})

    def _welcome(self, address: str) -> None:
        with self._lock:
            if address in self._present:
                return
            self._present.add(address)
            worker = Member(address)
            self._note({"kind": "arrived", "member": worker})
        self.take_on(worker)

    def _take_on(self, worker: Member) -> None:
        note: Note = {"worker": worker.address, "reasons": [], "error": None}
        try:
            note["reasons"] = self._reasons_against(worker)
        except OSError as error:
            if not isinstance(error, PneumoError):
                return  # it is gone, and a note tells so
            note["reasons"], note["error"] = [str(error)], error
        except PneumoError as error:
            note["reasons"], note["error"] = [str(error)], error
        except (ImportError, AttributeError, TypeError) as error:
            note["reasons"] = [f"its program does not understand this one's ({error}); install the same version"]
        except Exception as error:
            note["reasons"] = [f"{type(error).__name__}: {error}"]
        self._note({"kind": "refused" if note["reasons"] else "ready", **note})

    def _reasons_against(self, worker: Member) -> list[str]:
        introduction = self._introduction(worker)
        worker.name, worker.pid = "" if self.session.local else introduction.name, introduction.pid
        if not self.session.local and (reasons := refusals_of_program(program_here(), introduction.program)):
            return reasons
        reasons = self.run(worker.address, take_on, self.session, self._setup.result())
        return list(reasons)

    def _introduction(self, worker: Member) -> Introduction:
        """After waiting until the worker is free, or whom it serves is gone."""
        gone: Session | None = None
        while True:
            introduction: Introduction = self.run(worker.address, greet, self.session, gone)
            if introduction.serves is None:
                return introduction
            gone = introduction.serves if self._is_gone(introduction.serves) else None
            if gone is None and self._closed.wait(_AGAIN_S):
                raise OSError("the connection is closed")

    def _is_gone(self, session: Session) -> bool:
        """Whether the scheduler knows a study's process no more; what it was told long ago it has forgotten."""
        actions = [event[1].get("action") for event in self.client.get_events(session.id) or ()]
        return "remove-client" in actions or "add-client" not in actions
