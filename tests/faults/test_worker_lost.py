"""A worker that is killed, hangs or raises costs one attempt, no result, and never the study."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from studies import plain, run_statuses, worker_pids

from pneumo_core.errors import ConfigError, DivergedError
from tuning.attempt import Job, Report
from tuning.events import AttemptFailed, EpochEnded, Event
from tuning.executors import Begun, EpochReport, Finished, Left, Lost, Message, Raised
from tuning.journal import read_journal
from tuning.launch import launch_study
from tuning.preparation import prepare
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import base_config, open_space
from tuning.store import Store
from tuning.trial import TrialResult
from tuning.workers.executor import DaskExecutor
from tuning.workers.local import LocalWorkers


def _settings(space: Path, images: Path, store: Path, work: WorkSettings, trials: int = 5) -> StudySettings:
    return StudySettings(open_space(str(space)).replace(trials=trials), str(images), Store.at(store), "s", work=work)


def test_killed_and_hanging_workers_change_no_score(
    space: Path, images: Path, tmp_path: Path, undisturbed: StudyRecord
) -> None:
    """One worker is killed in mid-trial, another stopped so that it hangs; both trials are tried again."""
    disturbed = []

    def disturb(event: Event, record: StudyRecord) -> None:
        if isinstance(event, EpochEnded) and record.trials[event.trial].attempts == 1:
            sign = {("t0001", 2): signal.SIGKILL, ("t0003", 1): signal.SIGSTOP}.get((event.trial, event.epoch))
            if sign:
                [pid] = worker_pids()
                os.kill(pid, sign)
                disturbed.append(pid)

    work = WorkSettings(trial_timeout_s=20, plots=False)
    result = launch_study(_settings(space, images, tmp_path, work), disturb)
    assert len(set(disturbed)) == 2
    assert plain(result.record) == plain(undisturbed)
    lost = [event for event in read_journal(tmp_path / "studies/s/journal.jsonl") if isinstance(event, AttemptFailed)]
    assert [(event.trial, event.attempt) for event in lost] == [("t0001", 1), ("t0003", 1)]
    assert "ended unexpectedly" in lost[0].reason
    assert "took longer than 20 s" in lost[1].reason
    assert run_statuses(Store.at(tmp_path), "s") == {trial: ["FINISHED"] for trial in ["", *result.record.trials]}
    assert worker_pids() == []


@pytest.mark.slow
def test_a_trial_that_always_kills_its_worker_fails_and_the_study_goes_on(
    space: Path, images: Path, tmp_path: Path, undisturbed: StudyRecord
) -> None:
    """Two attempts, a reason, and then the next trial."""

    def kill(event: Event, record: StudyRecord) -> None:
        if isinstance(event, EpochEnded) and event.trial == "t0001":
            os.kill(worker_pids()[0], signal.SIGKILL)

    result = launch_study(_settings(space, images, tmp_path, WorkSettings(), trials=2), kill)
    first, second = result.record.searched
    assert (first.status, first.attempts) == ("failed", 2)
    assert "lost 2 times" in (first.reason or "")
    assert second.score == undisturbed.trials["t0002"].score


def _hungry_attempt(job: Job, data: object, report: Report, stopping: Callable[[], bool]) -> TrialResult:
    """Runs in the worker; takes as much memory as the trial asks for, a little at a time."""
    report(0, {"loss": 1.0})
    taken = []
    while len(taken) * 50e6 < job.config["bytes"]:
        taken.append(bytearray(b"x") * 50_000_000)
        time.sleep(0.1)
    raise DivergedError(f"took {len(taken)} pieces")


@pytest.mark.slow
def test_a_worker_that_takes_too_much_memory_costs_the_attempt(space: Path, images: Path, tmp_path: Path) -> None:
    """Its process ends, the reason names the limit, and the process that takes its place has all of it again."""
    setup = prepare(_settings(space, images, tmp_path, WorkSettings())).setup
    workers = DaskExecutor(LocalWorkers(1, 2_000_000_000), attempt=_hungry_attempt)
    heard, ends, pids = list[Message](), list[Message](), list[int]()
    try:
        workers.open(setup)
        for trial, size in (("greedy", 10e9), ("modest", 200e6)):
            _hear(workers, heard, lambda: workers.room == 1)
            pids.extend(worker_pids())
            workers.submit(Job(trial, 1, {"bytes": size}, tmp_path))
            _hear(workers, heard, lambda: isinstance(heard[-1], Lost | Raised) if heard else False)
            ends.append(heard.pop())
    finally:
        workers.close()
    assert ends[0] == Lost("greedy", 1, "it needed more than 2 GB (--worker-memory)")
    assert isinstance(ends[1], Raised)
    assert "took 4 pieces" in str(ends[1].error)
    assert len(set(pids)) == 2


@pytest.fixture
def executor(space: Path, images: Path, tmp_path: Path) -> Iterator[DaskExecutor]:
    """Two workers that know the images."""
    workers = DaskExecutor(LocalWorkers(2))
    workers.open(prepare(_settings(space, images, tmp_path, WorkSettings())).setup)
    yield workers
    workers.close()


def test_workers_report_every_way_an_attempt_can_end(executor: DaskExecutor, space: Path, tmp_path: Path) -> None:
    """Side by side: an error comes back as raised, a request to leave saves the state, signals are not heard."""
    heard: list[Message] = []
    config = base_config(open_space(str(space))).to_mapping()
    _hear(executor, heard, lambda: executor.room == 2)
    for pid in worker_pids():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    processes = [psutil.Process(), *(psutil.Process(pid) for pid in worker_pids())]
    sockets = [socket for process in processes for socket in process.net_connections() if socket.status == "LISTEN"]
    assert {socket.laddr.ip for socket in sockets} == {"127.0.0.1"}
    executor.submit(Job("broken", 1, {"nonsense": 1}, tmp_path))
    executor.submit(Job("long", 1, {**config, "epochs": 1000}, tmp_path))
    assert executor.room == 0
    _hear(executor, heard, lambda: sum(isinstance(message, EpochReport) for message in heard) >= 3)
    assert heard.count(Begun("long", 1)) == 1
    executor.leave()
    _hear(executor, heard, lambda: executor.room == 2)
    [raised] = [message for message in heard if isinstance(message, Raised)]
    assert isinstance(raised.error, ConfigError)
    assert "nonsense" in str(raised.error)
    epochs = [message.epoch for message in heard if isinstance(message, EpochReport)]
    assert epochs == list(range(len(epochs)))
    assert heard[-1] == Left("long", 1)
    assert (tmp_path / "long.1.npz").is_file()
    assert not any(isinstance(message, Finished | Lost) for message in heard)


def _hear(executor: DaskExecutor, heard: list[Message], enough: object) -> None:
    deadline = time.monotonic() + 120
    while not enough():  # type: ignore[operator]
        assert time.monotonic() < deadline
        executor.wait(heard.append, 0.1)
