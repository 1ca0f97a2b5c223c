"""Attempts over workers that come, go, are taken and fall silent: a scripted connection, everything else real."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future as Promise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import KilledWorker

from pneumo_core.errors import ConfigError, DivergedError, StoreError, WorkerError
from tuning.attempt import Job
from tuning.executors import Begun, Finished, Lost, Message, Raised
from tuning.workers.executor import Connection, DaskExecutor
from tuning.workers.roster import Member
from tuning.workers.workplace import AttemptRepeatedError, Session

A, B = "tcp://10.0.0.1:1", "tcp://10.0.0.2:1"


class FakeFuture(Promise[Any]):
    """Of Dask."""

    def release(self) -> None:
        """Forgets the result."""


class FakeConnection:
    """Tells the executor what a test lets happen, and keeps what it is asked."""

    def __init__(self, note: Callable[[dict[str, Any]], None]) -> None:
        self.note, self.alive, self.futures = note, True, dict[str, FakeFuture]()
        self.session = Session("c1", "me", local=False)
        self.client = SimpleNamespace(submit=self._submit)
        self.retaken: list[str] = []
        self.freed: list[str] = []

    def _submit(self, function: Any, content: bytes, *, workers: list[str], **how: Any) -> FakeFuture:
        self.futures[workers[0]] = FakeFuture()
        return self.futures[workers[0]]

    def join(self, *addresses: str) -> None:
        """Workers appear and are admitted."""
        for address in addresses:
            self.note({"kind": "arrived", "member": Member(address)})
            self.note({"kind": "ready", "worker": address})

    def say(self, kind: str, trial: str, attempt: int = 1, **more: Any) -> None:
        """A worker says something of an attempt."""
        self.note({"kind": kind, "trial": trial, "attempt": attempt, **more})

    def run(self, address: str, function: Any, *arguments: Any) -> bytes:
        """Has a checkpoint fetched."""
        return b"state"

    def holds(self) -> bool:
        """See `Connection`."""
        return self.alive

    def take_on(self, worker: Member) -> None:
        """See `Connection`."""
        self.retaken.append(worker.address)

    def let_go(self, addresses: Collection[str]) -> None:
        """See `Connection`."""
        self.freed += addresses

    def close(self) -> None:
        """See `Connection`."""


class FakeCluster:
    """A source of workers whose connections are scripted."""

    local, place, caution = False, "tcp://far:8786", ""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def end(self, client: object, worker: Member) -> None:
        """See `WorkerSource`."""
        self.ended.append(worker.address)

    def objection(self, worker: Member) -> str:
        """See `WorkerSource`."""
        return ""

    def close(self) -> None:
        """See `WorkerSource`."""


class Stage:
    """An executor, its connections, and what was heard and told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, timeout_s: float | None = None) -> None:
        self.connections: list[FakeConnection] = []
        self.now, self.folder = 0.0, folder
        self.heard: list[Message] = []
        self.told: list[str] = []
        self.source = FakeCluster()

        def make(source: object, setup: object, note: Any, given_up: object) -> FakeConnection:
            self.connections.append(FakeConnection(note))
            return self.connections[-1]

        monkeypatch.setattr(Connection, "make", make)
        self.executor = DaskExecutor(self.source, timeout_s, self.told.append, clock=lambda: self.now)  # type: ignore[arg-type]
        self.executor._connecting.result(30)

    @property
    def connection(self) -> FakeConnection:
        """The one of now."""
        return self.connections[-1]

    def job(self, trial: str = "t1", attempt: int = 1, **more: Any) -> Job:
        """An attempt."""
        return Job(trial, attempt, {}, self.folder, **more)

    def begin(self, trial: str = "t1", address: str = A, **more: Any) -> FakeFuture:
        """A worker joins and begins an attempt; returns Dask's future of it."""
        self.connection.join(address)
        self.wait()
        self.executor.submit(self.job(trial, **more))
        self.until(lambda: address in self.connection.futures)
        self.connection.say("begun", trial)
        self.wait()
        return self.connection.futures[address]

    def wait(self) -> None:
        """Lets the executor take in what is there."""
        self.executor.wait(self.heard.append, 0.01)

    def until(self, enough: Callable[[], bool]) -> None:
        """The same until something holds, that threads do."""
        deadline = time.monotonic() + 30
        while not enough():
            assert time.monotonic() < deadline
            self.wait()

    def ends(self) -> list[Message]:
        """What was heard but for beginnings, when there is something."""
        self.until(lambda: any(not isinstance(message, Begun) for message in self.heard))
        return [message for message in self.heard if not isinstance(message, Begun)]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    """A study's side of a cluster, with nobody on it."""
    return Stage(monkeypatch, tmp_path)


def test_each_worker_gets_one_attempt_at_a_time(stage: Stage) -> None:
    """Workers are named as they join; there is room for one attempt on each that is admitted."""
    stage.connection.join(A, B)
    stage.connection.note({"kind": "arrived", "member": Member("tcp://10.0.0.3:1")})
    stage.wait()
    assert (stage.executor.room, stage.executor.width) == (2, 2)
    stage.executor.submit(stage.job("t1"))
    stage.executor.submit(stage.job("t2"))
    assert (stage.executor.room, stage.executor.width) == (0, 2)
    stage.until(lambda: set(stage.connection.futures) == {A, B})
    stage.connection.futures[B].set_result("scores")
    [end] = stage.ends()
    assert isinstance(end, Finished)
    assert (end.trial, end.result) == ("t2", "scores")
    assert stage.executor.room == 1
    assert stage.told == [f"worker {A} joins", f"worker {B} joins"]


@pytest.mark.parametrize(
    ("note", "blameless"),
    [
        ({"kind": "gone", "expected": False}, False),
        ({"kind": "gone", "expected": True}, True),
        ({"kind": "closing"}, True),
    ],
)
def test_a_worker_that_goes_takes_its_attempt_along(stage: Stage, note: dict[str, Any], blameless: bool) -> None:
    """It is named; one that was shut down is no sign that the trial is to blame."""
    stage.begin()
    stage.connection.note({**note, "worker": A})
    [lost] = stage.ends()
    assert isinstance(lost, Lost)
    assert lost.blameless == blameless
    assert A in lost.reason
    assert stage.executor.width == 0


def test_a_result_that_is_here_survives_its_worker(stage: Stage) -> None:
    """A worker may end between its result's arrival and the next look."""
    stage.begin().set_result("scores")
    stage.executor._attempts["t1"].over = True
    stage.executor._collect(stage.executor._attempts["t1"])
    stage.until(lambda: True)
    stage.connection.note({"kind": "gone", "worker": A, "expected": False})
    [end] = stage.ends()
    assert isinstance(end, Finished)


def test_words_of_an_attempt_that_was_given_up_are_not_believed(stage: Stage) -> None:
    """A worker that hung goes on and speaks of attempt 1 while attempt 2 is made elsewhere."""
    stage.begin()
    stage.connection.note({"kind": "gone", "worker": A, "expected": False})
    stage.ends()
    stage.connection.join(B)
    stage.wait()
    stage.executor.submit(stage.job("t1", attempt=2))
    heard = len(stage.heard)
    stage.connection.say("begun", "t1", attempt=1)
    stage.connection.say("epoch", "t1", attempt=1, epoch=0, metrics={}, usage={})
    stage.wait()
    assert stage.heard[heard:] == []


def test_a_lost_connection_costs_no_attempt_its_count(stage: Stage) -> None:
    """A scheduler is started again: attempts are lost without blame, and old notes do not reach the new connection."""
    old, future = stage.connection, stage.begin()
    old.alive = False
    future.set_exception(KilledWorker("t1", None, 0))  # so Dask says as well, when it reconnects
    [lost] = stage.ends()
    assert lost == Lost("t1", 1, "the connection to the scheduler was lost", blameless=True)
    stage.until(lambda: len(stage.connections) == 2)
    old.join(B)
    stage.wait()
    assert stage.executor.room == 0
    stage.connection.join(A)
    stage.wait()
    assert stage.executor.room == 1


def test_whoever_waits_for_workers_of_others_is_told_of_whom(stage: Stage) -> None:
    """At once, and once; the worker counts when it is free."""
    stage.connection.note({"kind": "arrived", "member": Member(A)})
    stage.connection.note({"kind": "taken", "worker": A, "owner": "ann@lab, process 7"})
    stage.wait()
    stage.wait()
    assert stage.told == ["tcp://far:8786: its workers serve another study (ann@lab, process 7); waiting for one"]
    stage.connection.note({"kind": "ready", "worker": A})
    stage.wait()
    assert stage.executor.room == 1


def test_a_study_that_no_worker_can_serve_ends_and_says_why(stage: Stage) -> None:
    """As long as one may still be admitted it does not."""
    stage.connection.note({"kind": "arrived", "member": Member(A)})
    stage.connection.note({"kind": "arrived", "member": Member(B)})
    stage.connection.note({"kind": "refused", "worker": A, "reasons": ["it has keras 2, the study 3"]})
    stage.wait()
    stage.connection.note({"kind": "refused", "worker": B, "reasons": ["x", "y"]})
    with pytest.raises(WorkerError, match=r"no worker there can serve this study: tcp://10.0.0.2:1: x; y"):
        stage.wait()
    assert stage.told[0] == f"worker {A} is refused: it has keras 2, the study 3"


@pytest.mark.parametrize("error", [ConfigError("x"), DivergedError("nan"), ValueError("bug")])
def test_errors_of_a_trial_are_passed_on(stage: Stage, error: Exception) -> None:
    """What every worker would meet is the study's affair."""
    stage.begin().set_exception(error)
    [raised] = stage.ends()
    assert raised == Raised("t1", 1, error)
    assert stage.executor.room == 1


def test_a_worker_whose_machine_fails_is_refused_and_the_trial_made_elsewhere(stage: Stage) -> None:
    """A full disk there does not end the study; only the last worker's does."""
    stage.connection.join(B)
    stage.wait()
    stage.executor._roster.find(B).standing = "new"  # type: ignore[union-attr]
    stage.begin().set_exception(StoreError("checkpoint: no space\nleft"))
    [lost] = stage.ends()
    assert lost == Lost("t1", 1, f"worker {A} could not make it: checkpoint: no space left", blameless=True)
    assert stage.told[-1] == f"worker {A} is refused: checkpoint: no space left"
    assert stage.connection.freed == [A]
    assert stage.executor.room == 0


def test_a_worker_that_another_study_took_meanwhile_is_asked_again(stage: Stage) -> None:
    """No attempt of one study is ever made for another."""
    stage.begin().set_exception(AttemptRepeatedError())
    [lost] = stage.ends()
    assert isinstance(lost, Lost)
    assert lost.blameless
    assert stage.connection.retaken == [A]
    assert stage.executor.room == 0


def test_a_long_attempt_is_not_given_up_at_its_end(stage: Stage) -> None:
    """The time to hand over counts from the end, not from the beginning."""
    future = stage.begin()
    stage.now = 10_000.0
    future.set_result("scores")
    [end] = stage.ends()
    assert isinstance(end, Finished)
    assert stage.source.ended == []


def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An attempt beyond its timeout loses its worker; one that is not taken up, too, but without blame."""
    stage = Stage(monkeypatch, tmp_path, timeout_s=60.0)
    stage.begin("t1", A)
    stage.connection.join(B)
    stage.wait()
    stage.executor.submit(stage.job("t2"))
    stage.now = 61.0
    stage.wait()
    assert [message.trial for message in stage.ends()] == ["t1"]
    assert "took longer than 60 s" in stage.ends()[0].reason  # type: ignore[union-attr]
    stage.now = 301.0
    stage.wait()
    assert stage.source.ended == [A, B]
    assert stage.ends()[-1] == Lost("t2", 1, "its worker did not take it up in 300 s", blameless=True)
    assert stage.executor.room == 0


def test_the_last_checkpoint_is_here_before_the_result_counts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later rung may go on from it; if that cannot be fetched, the attempt is made again, else it is over."""
    future = stage.begin(keep_state=True)
    stage.connection.say("saved", "t1", path="/scratch/t1.1.npz")
    future.set_result("scores")
    [end] = stage.ends()
    assert isinstance(end, Finished)
    assert (stage.folder / "t1.1.npz").read_bytes() == b"state"

    def refuse(address: str, function: Any, *arguments: Any) -> bytes:
        raise OSError("gone")

    monkeypatch.setattr(stage.connection, "run", refuse)
    for trial, keep_state in (("t2", False), ("t3", True)):
        stage.heard.clear()
        stage.executor.submit(stage.job(trial, keep_state=keep_state))
        stage.until(lambda trial=trial: stage.executor._attempts[trial].future is not None)  # type: ignore[misc]
        stage.connection.say("begun", trial)
        stage.connection.say("saved", trial, path=f"/scratch/{trial}.1.npz")
        stage.connection.futures[A].set_result("scores")
        assert isinstance(stage.ends()[0], Lost if keep_state else Finished)


def test_a_study_whose_own_disk_is_full_ends(stage: Stage) -> None:
    """As without a cluster; it can be resumed."""
    future = stage.begin()
    stage.folder.joinpath("t1.1.npz").mkdir()
    stage.connection.say("saved", "t1", path="/scratch/t1.1.npz")
    stage.wait()
    future.set_result("scores")
    with pytest.raises(StoreError, match=r"checkpoint .*t1\.1\.npz: cannot be written"):
        stage.ends()


@pytest.mark.parametrize(("error", "standing"), [(StoreError("no space"), "refused"), (OSError("gone"), "new")])
def test_a_checkpoint_that_does_not_reach_its_worker_is_not_sent_there_at_once_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception, standing: str
) -> None:
    """Without blame; a worker whose disk is full is refused, another is examined anew, and else may be gone."""

    def fail(*arguments: Any) -> bytes:
        raise error

    (stage.folder / "t1.1.npz").write_bytes(b"state")
    stage.connection.join(A, B)
    stage.wait()
    monkeypatch.setattr(stage.connection, "run", fail)
    stage.executor.submit(stage.job("t1", attempt=2))
    [lost] = stage.ends()
    assert isinstance(lost, Lost)
    assert lost.blameless
    assert str(error) in lost.reason
    assert stage.executor._roster.find(A).standing == standing  # type: ignore[union-attr]
    assert stage.executor.room == 1


def test_only_a_worker_that_waits_for_it_becomes_ready(stage: Stage) -> None:
    """One that was examined twice gets no second attempt beside its first."""
    stage.begin()
    stage.connection.note({"kind": "ready", "worker": A})
    stage.wait()
    assert stage.executor.room == 0


def test_a_worker_lost_before_it_began_is_no_sign_against_the_trial(stage: Stage) -> None:
    """Machines may be taken away faster than two attempts are handed out."""
    stage.connection.join(A)
    stage.wait()
    stage.executor.submit(stage.job())
    stage.connection.note({"kind": "gone", "worker": A, "expected": False})
    [lost] = stage.ends()
    assert isinstance(lost, Lost)
    assert lost.blameless


def test_who_waits_long_for_workers_is_told_what_they_do(stage: Stage) -> None:
    """Reading all images over a network takes minutes; a worker may also end over it, again and again."""
    stage.connection.note({"kind": "arrived", "member": Member(A)})
    stage.wait()
    assert stage.told == []
    stage.now = 11.0
    stage.wait()
    stage.wait()
    stage.connection.note({"kind": "gone", "worker": A, "expected": False})
    stage.wait()
    examined = "tcp://far:8786: its workers are being examined; waiting for one"
    assert stage.told == [examined, f"worker {A} is gone before it could join"]


def test_a_connection_that_comes_after_the_end_is_closed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would take on workers for nobody, as long as the process lives."""
    closed: list[str] = []
    monkeypatch.setattr(stage.connection, "close", lambda: closed.append("now"))
    late: Promise[Any] = Promise()
    stage.executor._connecting = late
    stage.executor.close()
    late.set_result(stage.connection)
    assert closed == ["now"]
