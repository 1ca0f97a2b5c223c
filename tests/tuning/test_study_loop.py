"""The loop of a study over workers that answer in any order, die, or hang: scripted, with oracle and journal real."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from stub import stub_result

from pneumo_core.errors import DivergedError, WorkerError
from search_spaces import SearchSpace
from tuning.attempt import Job
from tuning.events import AttemptStarted, StudyResumed, StudyStarted, TrialCompleted
from tuning.executors import Begun, EpochReport, Finished, Lost, Message, Raised
from tuning.journal import read_journal
from tuning.record import StudyRecord
from tuning.spaces import open_space
from tuning.store import Store, StudyFolder
from tuning.study import Study, StudyLimits
from tuning.trial import TrialResult

result_of = stub_result


class ScriptedExecutor:
    """Room for some attempts; whichever was handed out last is answered first.

    Args:
        room: how many attempts at a time.
        script: may answer an attempt in another way than by its result; None for the result.
    """

    def __init__(self, room: int, script: Callable[[Job], Message | None] = lambda job: None) -> None:
        self._places, self._script = room, script
        self.jobs: list[Job] = []
        self.most = 0

    @property
    def room(self) -> int:
        """See `Executor`."""
        return self._places - len(self.jobs)

    @property
    def width(self) -> int:
        """See `Executor`."""
        return self._places

    def submit(self, job: Job) -> None:
        """See `Executor`."""
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))

    def wait(self, hear: Callable[[Message], None], timeout_s: float) -> None:
        """Answers one attempt."""
        job = self.jobs.pop()
        answer = self._script(job)
        if answer is not None:
            hear(answer)
            return
        hear(Begun(job.trial, job.attempt))
        try:
            result = result_of(job)
        except DivergedError as error:
            hear(Raised(job.trial, job.attempt, error))
            return
        hear(EpochReport(job.trial, job.attempt - 1, 0, {"val_loss": -1.0}))  # stale: of an attempt given up
        for epoch, metrics in enumerate(result.history[:-1]):  # the last words may be lost; the result has them
            hear(EpochReport(job.trial, job.attempt, epoch, metrics))
        hear(Finished(job.trial, job.attempt, result))
        hear(Finished(job.trial, job.attempt, result))  # twice: not believed

    def leave(self) -> None:
        """Never asked."""

    def close(self) -> None:
        """Nothing to end."""


def _space(algorithm: str, trials: int) -> SearchSpace:
    fixed = {"weights": "random", "image_size": 32, "epochs": 9}
    return open_space("vgg16", fixed).replace(trials=trials, algorithm=algorithm)


def _started(space: SearchSpace) -> StudyStarted:
    return StudyStarted(
        study="s", space=space.name, space_digest="", definition={}, objective=space.objective,
        direction=space.direction, algorithm=space.algorithm, trials=space.trials, seed=space.seed,
        parameters=[parameter.name for parameter in space.parameters], data="", data_root="", data_digest="",
        split_digest="", class_names=["A", "B"], images={}, commit="", versions={}, threads=1, tracking_uri="",
    )  # fmt: skip


def _study(
    folder: StudyFolder, space: SearchSpace, executor: ScriptedExecutor, record: StudyRecord | None = None
) -> Study:
    return Study(record or StudyRecord(_started(space)), space, folder, executor, limits=StudyLimits(attempts=2))


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """Of a study that has not begun."""
    return Store.at(tmp_path).create_study("s", space="vgg16")


@pytest.mark.parametrize("algorithm", ["tpe", "random", "hyperband"])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_trial_ends_once_whatever_the_order_of_answers(folder: StudyFolder, algorithm: str, workers: int) -> None:
    """Three at a time, the last first, stale and repeated words among them; Hyperband waits where it has to."""
    space, executor = _space(algorithm, 26), ScriptedExecutor(workers)
    record = _study(folder, space, executor).run(_started(space)).record
    assert executor.most == workers
    assert len(record.trials) == 26
    assert all(trial.over and trial.attempts == 1 for trial in record.trials.values())
    ended = [event.trial for event in read_journal(folder.journal) if isinstance(event, TrialCompleted)]
    assert len(ended) == len(set(ended)) == record.count("completed")
    for trial in record.trials.values():
        if trial.status == "completed":
            assert trial.epochs == (trial.config["stop_after"] or 9)
            assert -1.0 not in trial.epoch_losses.values()
        if trial.parent:
            assert record.trials[trial.parent].number < trial.number
            assert record.trials[trial.parent].over
            assert trial.first_epoch == record.trials[trial.parent].config["stop_after"]
    assert any(trial.parent for trial in record.trials.values()) == (algorithm == "hyperband")


def test_a_study_that_is_short_of_time_keeps_some_for_its_confirmation(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials of 10 s in 200 s, a leader to be trained twice in five folds: it stops searching, and confirms."""
    space, now = _space("random", 50), [0.0]

    def later(job: Job) -> TrialResult:
        now[0] += 10.0 * job.folds
        assert job.patience == job.folds  # times --trial-timeout, as it takes that much longer
        result = stub_result(job)
        epoch_s = 10.0 * job.folds / len(result.history)
        return dataclasses.replace(result, history=tuple({**row, "duration_s": epoch_s} for row in result.history))

    monkeypatch.setitem(globals(), "result_of", later)
    started = dataclasses.replace(_started(space), confirm={"top": 1, "seeds": 2, "folds": None, "image_size": None})
    executor, limits = ScriptedExecutor(1), StudyLimits(time_s=200)
    study = Study(StudyRecord(started), space, folder, executor, limits=limits, clock=lambda: now[0])
    record = study.run(started).record
    assert [run.folds for run in record.confirming] == [5, 5]
    assert len(record.searched) == 10
    assert now[0] == 200
    assert record.confirmed is not None
    assert record.ended is not None
    assert record.ended.reason == "time limit reached"


def test_trials_that_were_caught_in_the_middle_come_first(folder: StudyFolder) -> None:
    """With the next number of attempt; a worker error leaves them open."""
    space = _space("random", 6)

    def lost(job: Job) -> Message | None:
        return Lost(job.trial, job.attempt, "the machine is full") if job.trial in ("t0003", "t0004") else None

    with pytest.raises(WorkerError, match=r"4 workers in a row were lost .* because the machine is full"):
        _study(folder, space, ScriptedExecutor(3, lost)).run(_started(space))
    record = StudyRecord(_started(space))
    for event in list(read_journal(folder.journal))[1:]:
        record.apply(event)
    assert record.ended is not None
    assert record.ended.status == "failed"
    waiting = [trial.trial for trial in record.trials.values() if not trial.over]
    assert waiting
    executor = ScriptedExecutor(1)
    result = _study(folder, space, executor, record).run(StudyResumed(6, []))
    assert all(trial.over for trial in result.record.trials.values())
    events = list(read_journal(folder.journal))
    resumed = next(place for place, event in enumerate(events) if isinstance(event, StudyResumed))
    again = [event for event in events[resumed:] if isinstance(event, AttemptStarted)]
    assert [event.trial for event in again[: len(waiting)]] == waiting
    assert all(event.attempt > 1 for event in again[: len(waiting)])
