"""A study's connection to a scheduler: workers that come and go, and those that are taken on for the study."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import os
import re
import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future as Promise
from typing import Any

from distributed import Client

from pneumo_core.errors import PneumoError
from tuning.attempt import DataSetup
from tuning.workers.admission import program_here, refusals_of_program
from tuning.workers.errands import errand
from tuning.workers.roster import Member
from tuning.workers.source import WorkerSource
from tuning.workers.workplace import Introduction, Session, greet, leave, let_go, take_on

_AGAIN_S = 2.0  # between two looks at a worker that serves another study
_LOOK_S = 5.0  # between two looks at which workers there are: events may be missed
_FAREWELL_S = 2.0

Note = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Connection:
    """One connection, until it is lost or closed.

    Every worker that appears is taken on: it begins with TensorFlow, is examined, and made ready. Notes that are passed
    on, until the connection is closed: `arrived`, with a `member` of the roster; the others with the address of a
    `worker`: `gone` (`expected` if it did not break down), `taken` (by another study, whose `owner` is named), `ready`,
    and `refused`, with `reasons` (and the `error`, if one was raised there); and whatever workers say themselves.

    Attributes:
        client: Dask's.
        session: how workers know it.
    """

    client: Client
    session: Session
    _comm: object
    _setup: Promise[DataSetup]
    _deliver: Callable[[Note], None]
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
        session = Session(client.id, _whose(), source.local)
        connection = cls(client, session, client.scheduler_comm, setup, note)
        with contextlib.suppress(Exception):  # the scheduler is away already, which `holds` says
            client.subscribe_topic(session.topic, connection._hear)
            client.subscribe_topic("all", connection._hear_of_workers)
            connection._look()
        errand(connection._keep_looking)
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
        errand(self._take_on, worker)

    def ask_to_leave(self, addresses: Collection[str]) -> None:
        """Asks workers to leave their attempts. In a thread, because a worker that hangs does not answer."""
        self._ask(leave, addresses)

    def let_go(self, addresses: Collection[str]) -> None:
        """Frees workers for other studies."""
        with contextlib.suppress(Exception):  # who is gone need not be freed
            self._ask(let_go, addresses).result(_FAREWELL_S)

    def close(self) -> None:
        """Ends the connection."""
        self._closed.set()
        with contextlib.suppress(Exception):
            for topic in (self.session.topic, "all"):
                self.client.unsubscribe_topic(topic)
        with contextlib.suppress(Exception):
            self.client.close(timeout=_FAREWELL_S)

    def _ask(self, function: Callable[..., Any], addresses: Collection[str]) -> Promise[Any]:
        return errand(self.client.run, function, self.session, workers=list(addresses), on_error="ignore")

    def _note(self, note: Note) -> None:
        if not self._closed.is_set():
            self._deliver(note)

    def _hear(self, event: tuple[float, Any]) -> None:
        if "kind" in event[1]:  # else it is Dask's own
            self._note(event[1])

    def _keep_looking(self) -> None:
        while not self._closed.wait(_LOOK_S):
            with contextlib.suppress(Exception):  # the scheduler is away, which `holds` says
                self._look()

    def _look(self) -> None:
        for address in self.client.scheduler_info(n_workers=-1)["workers"]:  # some releases show five if not asked
            self._welcome(address)

    def _hear_of_workers(self, event: tuple[float, Any]) -> None:
        match event[1].get("action"):
            case "add-worker":
                self._welcome(event[1]["worker"])
            case "remove-worker":
                self._miss(event[1]["worker"], expected=bool(event[1].get("expected")))

    def _miss(self, address: str, *, expected: bool = True) -> None:
        with self._lock:
            self._present.discard(address)
            self._note({"kind": "gone", "worker": address, "expected": expected})

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
        except PneumoError as error:
            note["reasons"], note["error"] = [str(error)], error
        except OSError:
            self._miss(worker.address)  # if it is not, the next look finds it again
            return
        except Exception as error:
            note["reasons"] = [_in_words(error)]
        if note["reasons"]:
            self._ask(let_go, [worker.address])
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
            gone = None if self._is_there(introduction.serves) else introduction.serves
            if gone is None:
                self._note({"kind": "taken", "worker": worker.address, "owner": introduction.serves.owner})
                if self._closed.wait(_AGAIN_S):
                    raise OSError("the connection is closed")

    def _is_there(self, session: Session) -> bool:
        """Whether the scheduler still knows a study's process."""
        # Dask sends a lambda by value, so the scheduler needs nothing of this program.
        return bool(
            self.client.run_on_scheduler(lambda client, dask_scheduler: client in dask_scheduler.clients, session.id)
        )


def _in_words(error: Exception) -> str:
    """What a worker without this program, or with another version of it, answers."""
    if lacking := re.search(r"No module named '([^']+)'", str(error)):
        return f"it lacks the module {lacking[1]}; install this program there, the same version"
    if isinstance(error, ImportError | AttributeError | TypeError):
        return f"its program does not understand this one's ({error}); install the same version, and start it again"
    return f"{type(error).__name__}: {error}"


def _whose() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in containers users may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"
