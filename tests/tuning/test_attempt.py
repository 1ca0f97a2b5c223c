"""An attempt goes on from the last checkpoint of its trial or its parent, and can be left, pruned and lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pneumo_core.config import TrialConfig
from pneumo_core.dataset import index_dataset
from pneumo_core.splits import pool_of
from tuning.attempt import AttemptLeftError, DataSetup, Job, run_attempt
from tuning.checkpoints import Checkpoints
from tuning.trial import TrialResult
from tuning.trial_data import TrialData

CONFIG = TrialConfig(
    weights="random", image_size=32, pixel_scaling="unit", pooling="average", head_units=4, epochs=5, batch_size=8,
    unfrozen_layers=1, learning_rate=3e-3, patience=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> TrialData:
    """The images of a study."""
    dataset = index_dataset(phantoms)
    cache = tmp_path_factory.mktemp("cache")
    return DataSetup(dataset.root, pool_of(dataset.manifest), dataset.class_names, cache, None, 0).open()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """The first attempt at a trial."""
    return Job("t0001", 1, CONFIG.to_mapping(), tmp_path / "checkpoints")


class _LostError(Exception):
    """The process is gone."""


def _hurried() -> Callable[[], float]:
    """A clock by which a minute passes between any two looks, so that every epoch leaves a checkpoint."""
    minutes = iter(range(10_000))
    return lambda: 60.0 * next(minutes)


def _lost_after(epochs: int, seen: list[int]) -> Callable[[int, dict[str, float]], None]:
    def report(epoch: int, metrics: dict[str, float]) -> None:
        if epoch == epochs:
            raise _LostError
        seen.append(epoch)

    return report


def _same(first: TrialResult, second: TrialResult) -> bool:
    timeless = [[{**row, "duration_s": 0.0} for row in result.history] + [result.metrics] for result in (first, second)]
    return repr(timeless[0]) == repr(timeless[1]) and first.scores.equals(second.scores)


def test_a_lost_attempt_costs_what_came_after_its_checkpoint_and_changes_nothing(data: TrialData, job: Job) -> None:
    """The second attempt begins with the epoch after the last one saved; the result is that of one go."""
    whole = run_attempt(dataclasses.replace(job, checkpoints=job.checkpoints / "other"), data, lambda *_: None)
    seen: list[int] = []
    with pytest.raises(_LostError):
        run_attempt(job, data, _lost_after(3, seen), clock=_hurried())
    assert seen == [0, 1, 2]
    again: list[int] = []
    result = run_attempt(dataclasses.replace(job, attempt=2), data, lambda epoch, _: again.append(epoch))
    assert again == [3, 4]
    assert _same(result, whole)


def test_short_epochs_leave_no_checkpoints(data: TrialData, job: Job) -> None:
    """A trial of seconds is cheaper to repeat than to save after every epoch."""
    run_attempt(job, data, lambda *_: None, clock=lambda: 0.0)
    assert not job.checkpoints.exists()


def test_an_attempt_that_is_asked_to_leave_saves_its_state(data: TrialData, job: Job) -> None:
    """At the end of the epoch, whatever the clock says."""
    seen: list[int] = []
    with pytest.raises(AttemptLeftError):
        run_attempt(job, data, lambda epoch, _: seen.append(epoch), lambda: len(seen) == 2, clock=lambda: 0.0)
    state = Checkpoints(job.checkpoints).latest("t0001", 1, CONFIG)
    assert state is not None
    assert state.control.epoch == 2


def test_an_attempt_leaves_a_pass_through_frozen_layers_too(phantoms: Path, tmp_path: Path, job: Job) -> None:
    """Nobody waits for hours of images after Ctrl-C; the finished parts stay in the cache."""
    dataset = index_dataset(phantoms)
    fresh = DataSetup(dataset.root, pool_of(dataset.manifest), dataset.class_names, tmp_path, None, 0).open()
    with pytest.raises(AttemptLeftError):
        run_attempt(job, fresh, lambda *_: None, lambda: True)


def test_a_checkpoint_of_a_later_attempt_is_none_of_an_earlier_ones_business(data: TrialData, job: Job) -> None:
    """What was given up and still runs goes on from its own state."""
    with pytest.raises(_LostError):
        run_attempt(dataclasses.replace(job, attempt=2), data, _lost_after(3, []), clock=_hurried())
    assert Checkpoints(job.checkpoints).latest("t0001", 1, CONFIG) is None
    assert Checkpoints(job.checkpoints).latest("t0001", 2, CONFIG) is not None


def test_a_rung_goes_on_from_its_parent_to_the_result_of_one_long_training(data: TrialData, job: Job) -> None:
    """Weights, optimizer and schedule come along; the epochs of the parent are not run again."""
    first = dataclasses.replace(job, config=dataclasses.replace(CONFIG, stop_after=2).to_mapping(), keep_state=True)
    run_attempt(first, data, lambda *_: None)
    longer = dataclasses.replace(CONFIG, stop_after=4)
    seen: list[int] = []
    rung = Job("t0002", 1, longer.to_mapping(), job.checkpoints, parent="t0001", keep_state=True)
    result = run_attempt(rung, data, lambda epoch, _: seen.append(epoch))
    assert seen == [2, 3]
    whole = run_attempt(Job("t0003", 1, longer.to_mapping(), job.checkpoints), data, lambda *_: None)
    assert _same(result, whole)
    assert Checkpoints(job.checkpoints).latest("t0002", None, longer) is not None


def test_a_hopeless_trial_ends_early_and_is_scored_where_it_stood(data: TrialData, job: Job) -> None:
    """Its loss after two epochs is above what was set; it is marked, and counts with its best epoch so far."""
    result = run_attempt(dataclasses.replace(job, prune_above={"2": 0.0}), data, lambda *_: None)
    assert result.pruned
    assert len(result.history) == 2
    kept = run_attempt(dataclasses.replace(job, prune_above={"2": 100.0}), data, lambda *_: None)
    assert not kept.pruned
    assert len(kept.history) == 5


def test_only_checkpoints_of_the_given_trials_stay(tmp_path: Path) -> None:
    """Those half written by a killed process go too; other files are left alone."""
    names = ["t0001.1.npz", "t0001.2.unfinished.npz", "t0002.1.npz", "t0002.3.unfinished.npz", "notes.txt"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    Checkpoints(tmp_path).discard_all_but({"t0002"})
    assert sorted(_names(tmp_path)) == ["notes.txt", "t0002.1.npz", "t0002.3.unfinished.npz"]
    Checkpoints(tmp_path / "absent").discard_all_but(set())


def _names(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir())
