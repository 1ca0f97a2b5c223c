"""Studies on a real Dask cluster, scheduler and workers in processes of their own, and all that can happen to them."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cluster import STUB_SPACE, Cluster, StubStudy, attempt_process
from deployment import deployed
from stub import StubExecutor, stub_attempt
from studies import ends, plain

from tuning import executors
from tuning.events import AttemptFailed, EpochEnded, Event, TrialCompleted, TrialFailed, TrialStarted
from tuning.journal import read_journal
from tuning.launch import launch_study
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space
from tuning.store import Store
from tuning.workers.cluster import ClusterWorkers
from tuning.workers.executor import DaskExecutor


@pytest.fixture(scope="module")
def cluster(images: Path) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    with deployed() as deployment:
        cluster = Cluster(deployment, images)
        for _ in range(2):
            cluster.add()
        yield cluster


@pytest.fixture
def both(cluster: Cluster) -> Cluster:
    """The cluster with its two workers running, whatever earlier tests did to them."""
    for worker in cluster.workers:
        if not worker.runs:
            worker.launch()
    return cluster


@pytest.fixture
def study(both: Cluster, tmp_path: Path) -> Iterator[Callable[..., StubStudy]]:
    """Starts a study; all of them end with the test."""
    studies: list[StubStudy] = []

    def start(*words: str, name: str = "a", **how: object) -> StubStudy:
        studies.append(StubStudy(both, tmp_path / name, *words, **how))  # type: ignore[arg-type]
        studies[-1].launch()
        return studies[-1]

    yield start
    for one in studies:
        one.kill()


def _stub_settings(images: Path, folder: Path, algorithm: str = "random", trials: int = 20) -> StudySettings:
    space = folder / "stubs.yaml"
    space.write_text(STUB_SPACE.format(algorithm=algorithm, trials=trials))
    return StudySettings(
        open_space(str(space)), str(images), Store.at(folder / "store"), "s", work=WorkSettings(workers=0, plots=False)
    )


@pytest.fixture(scope="module")
def calm(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., StudyRecord]:
    """The same studies as they end without a cluster."""
    records: dict[tuple[str, int], StudyRecord] = {}

    def record(algorithm: str = "random", trials: int = 20) -> StudyRecord:
        if (algorithm, trials) not in records:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(executors, "InlineExecutor", StubExecutor)
                patch.setattr("stub.EPOCH_S", 0.0)
                settings = _stub_settings(images, tmp_path_factory.mktemp("calm"), algorithm, trials)
                records[algorithm, trials] = launch_study(settings).record
        return records[algorithm, trials]

    return record


def _epochs(count: int) -> Callable[[list[Event]], bool]:
    return lambda events: sum(isinstance(event, EpochEnded) for event in events) >= count


def _over(count: int) -> Callable[[list[Event]], bool]:
    return lambda events: sum(isinstance(event, TrialCompleted | TrialFailed) for event in events) >= count


def _losses(events: list[Event]) -> list[AttemptFailed]:
    return [event for event in events if isinstance(event, AttemptFailed)]


def _taken_up(events: list[Event]) -> int:
    """How many epochs were made by attempts that went on from a checkpoint."""
    return sum(isinstance(event, EpochEnded) and event.metrics["made_after"] > 0 for event in events)


def _check(study: StubStudy, calm: StudyRecord) -> None:
    """Nothing is missing, nothing there twice, every digit the same; users saw no traceback."""
    assert plain(study.record) == plain(calm)
    assert set(ends(study.store, "s").values()) == {1}
    assert "Traceback" not in study.said


def test_a_cluster_loses_a_worker_and_refuses_another(
    images: Path, tmp_path: Path, calm: Callable[..., StudyRecord]
) -> None:
    """One worker is killed in mid-trial, and its successor goes on there; one with other images gets no trial."""
    copy = tmp_path / "copy"
    shutil.copytree(images, copy)
    changed = next(iter(sorted((copy / "train").rglob("*.jpeg"))))
    changed.write_bytes(changed.read_bytes() + b"\0")
    told: list[str] = []
    killed: list[str] = []
    with deployed() as deployment:
        cluster = Cluster(deployment, images, epoch_s=0.05)
        good, _ = cluster.add(), cluster.add(copy)

        def kill(event: Event, record: StudyRecord) -> None:
            if isinstance(event, EpochEnded) and event.epoch == 4 and not killed:
                killed.append(event.trial)
                os.kill(attempt_process(good.pid), signal.SIGKILL)

        workers = DaskExecutor(ClusterWorkers(cluster.address), tell=told.append, attempt=stub_attempt)
        result = launch_study(_stub_settings(images, tmp_path, trials=5), kill, workers=workers)
    assert plain(result.record) == plain(calm(trials=5))
    events = list(read_journal(tmp_path / "store/studies/s/journal.jsonl"))
    assert [(loss.trial, loss.blameless) for loss in _losses(events)] == [(killed[0], False)]
    assert _taken_up(events) > 0
    assert all(event.worker for event in events if isinstance(event, TrialCompleted))
    [refusal] = [sentence for sentence in told if "is refused" in sentence]
    assert f"1 different ({changed.relative_to(copy)})" in refusal
    assert sum("joins" in sentence for sentence in told) == 2


@pytest.mark.slow
def test_rungs_go_on_from_states_that_travelled(
    study: Callable[..., StubStudy], calm: Callable[..., StudyRecord]
) -> None:
    """Hyperband over two workers that do not see each other's files: no rung begins anew."""
    running = study(algorithm="hyperband")
    running.finish()
    events = running.events
    parents = {event.trial: event.first_epoch for event in events if isinstance(event, TrialStarted) and event.parent}
    assert parents
    made_after = {event.trial: event.metrics["made_after"] for event in events if isinstance(event, EpochEnded)}
    assert all(made_after[trial] == first for trial, first in parents.items() if trial in made_after)
    assert set(ends(running.store, "s").values()) == {1}


@pytest.mark.slow
def test_a_worker_that_is_shut_down_costs_no_attempt(
    study: Callable[..., StubStudy], both: Cluster, calm: Callable[..., StudyRecord]
) -> None:
    """SIGTERM, as Slurm, systemd and Kubernetes send it; one attempt is all that trials have."""
    running = study("--attempts", "1")
    running.wait_until(_epochs(12))
    both.workers[0].ask(signal.SIGTERM)
    running.finish()
    _check(running, calm())
    assert all(loss.blameless and "was shut down" in loss.reason for loss in _losses(running.events))


@pytest.mark.slow
def test_a_study_whose_process_is_killed_takes_its_workers_over(
    study: Callable[..., StubStudy], calm: Callable[..., StudyRecord]
) -> None:
    """They live on, and leave what they were making; its trials go on from their checkpoints."""
    running = study()
    running.wait_until(_epochs(20))
    running.kill()
    before = len(running.events)
    running.launch()
    running.finish()
    _check(running, calm())
    assert _losses(running.events) == []
    assert _taken_up(running.events[before:]) > 0


@pytest.mark.slow
def test_two_studies_on_one_cluster_take_turns(
    study: Callable[..., StubStudy], calm: Callable[..., StudyRecord]
) -> None:
    """The second says whom it waits for, and goes on when the first is over."""
    first = study(name="a", trials=80)
    first.wait_until(_epochs(5))
    second = study(name="b")
    second.wait_for_words("its workers serve another study .*process [0-9]+.*; waiting for one")
    first.finish()
    second.finish()
    for running, trials in ((first, 80), (second, 20)):
        _check(running, calm(trials=trials))
        assert _losses(running.events) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "asked"])
def test_a_scheduler_that_is_started_again_costs_no_attempt(
    study: Callable[..., StubStudy], both: Cluster, calm: Callable[..., StudyRecord], how: str
) -> None:
    """The study waits and says so; workers end with their scheduler, and are started again by whoever keeps them."""
    running = study("--attempts", "1")
    running.wait_until(_epochs(12))
    if how == "killed":
        both.scheduler.kill()
    else:
        both.scheduler.ask(signal.SIGTERM)
    running.wait_for_words("connection to the scheduler was lost")
    time.sleep(5)
    both.scheduler.start()
    for worker in both.workers:
        worker.wait(90)
        worker.launch()
    running.finish()
    _check(running, calm())
    assert all(loss.blameless for loss in _losses(running.events))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_a_worker_that_hangs_is_given_up_and_comes_back(
    study: Callable[..., StubStudy], both: Cluster, calm: Callable[..., StudyRecord], whole: bool
) -> None:
    """With or without its nanny; its attempt is made elsewhere, and what it says when it goes on is not believed."""
    running = study("--timeout", "8")
    running.wait_until(_epochs(12))
    worker = both.workers[0]
    stopped = None if whole else psutil.Process(attempt_process(worker.pid))
    if stopped is None:
        worker.stop()
    else:
        stopped.suspend()
    running.wait_until(lambda events: bool(_losses(events)))
    running.wait_until(_over(14))
    if stopped is None:
        worker.go_on()
    running.finish()
    _check(running, calm())
    assert ["took longer than 8 s" in loss.reason for loss in _losses(running.events)] == [True]
    if whole:
        worker.kill()


@pytest.mark.slow
def test_workers_may_all_go_and_others_come(
    study: Callable[..., StubStudy], both: Cluster, calm: Callable[..., StudyRecord]
) -> None:
    """The study says that it waits, and hands out work as soon as there is somebody."""
    running = study()
    running.wait_until(_epochs(12))
    for worker in both.workers:
        worker.kill()
    running.wait_for_words("no worker is free; waiting for one")
    for worker in both.workers:
        worker.launch()
    running.finish()
    _check(running, calm())


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["no worker", "worker hangs", "scheduler hangs", "scheduler gone"])
def test_ctrl_c_ends_a_study_whatever_does_not_answer(
    study: Callable[..., StubStudy], both: Cluster, calm: Callable[..., StudyRecord], trouble: str
) -> None:
    """Once where nothing runs, twice where something does not answer; then it can be resumed."""
    running = study()
    running.wait_until(_epochs(12))
    if trouble == "no worker":
        for worker in both.workers:
            worker.kill()
        running.wait_for_words("no worker is free")
    elif trouble == "worker hangs":
        both.workers[0].stop()
    elif trouble == "scheduler hangs":
        both.scheduler.stop()
    else:
        both.scheduler.kill()
        running.wait_for_words("connection to the scheduler was lost")
    begun = time.monotonic()
    os.kill(running.pid, signal.SIGINT)
    if "hangs" in trouble:
        time.sleep(3)
        assert running.runs
        os.kill(running.pid, signal.SIGINT)
    assert running.wait(60) != 0
    assert time.monotonic() - begun < 40
    assert "go on with: tune resume s" in running.said
    if trouble == "scheduler hangs":
        both.scheduler.go_on()
    elif trouble == "worker hangs":
        both.workers[0].kill()
    elif trouble == "scheduler gone":
        both.scheduler.start()
        for worker in both.workers:
            worker.kill()
    for worker in both.workers:
        if not worker.runs:
            worker.launch()
    running.log.unlink()
    running.launch()
    running.finish()
    _check(running, calm())
