"""A worker that is killed, hangs or raises costs one attempt, no result, and never the study."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from studies import plain, run_statuses, worker_pids

from pneumo_core.errors import ConfigError
from tuning.attempt import Job
from tuning.events import AttemptFailed, EpochEnded, Event
from tuning.executors import Begun, EpochReport, Finished, Left, Lost, Message, Raised
from tuning.journal import read_journal
from tuning.launch import launch_study
from tuning.preparation import prepare
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import base_config, open_space
from tuning.store import Store
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

    work = WorkSettings(trial_timeout_s=20)
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
