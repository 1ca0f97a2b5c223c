"""Processors and GPUs are shared out among workers; all of them compute with one number of threads."""

from __future__ import annotations

import pytest

from tuning.settings import WorkSettings
from tuning.workers import resources
from tuning.workers.resources import environments, gpus_here, shared_threads, threads_for

CLUSTER = "tcp://node1:8786"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is given the time of 6 processors, and may run on any of 16."""
    monkeypatch.setattr(resources, "processors_here", lambda: 6)
    monkeypatch.setattr(resources, "affinity", lambda: 16)


@pytest.mark.parametrize(
    ("work", "threads"),
    [
        (WorkSettings(workers=0), 0),
        (WorkSettings(workers=1), 16),
        (WorkSettings(workers=2), 3),
        (WorkSettings(workers=4), 1),
        (WorkSettings(workers=9), 1),
        (WorkSettings(cluster=CLUSTER), 6),
    ],
)
def test_threads_are_shared_out_unless_they_were_asked_for(work: WorkSettings, threads: int) -> None:
    """Several workers share; one takes what TensorFlow would; machines of a cluster compute as the study's does."""
    assert threads_for(work) == threads
    assert threads_for(work, 5) == 5


def test_what_does_not_divide_evenly_is_left_over() -> None:
    """Every worker has the same number, or a trial's last digits would depend on who makes it."""
    assert [shared_threads(workers, 8) for workers in (1, 2, 3, 5, 8, 9)] == [8, 4, 2, 1, 1, 1]


def test_each_worker_sees_one_gpu() -> None:
    """In turn, where there are more workers than GPUs; without a GPU nothing is said about any."""
    shared = environments(3, ["4", "GPU-8f2a"])
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in shared] == ["4", "GPU-8f2a", "4"]
    assert environments(2, []) == [{}, {}]


def test_gpus_that_the_user_hid_stay_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are told of the user's choice, by the names that the user gave."""
    monkeypatch.setattr(resources, "visible_gpus", lambda: [object(), object()])
    assert gpus_here({"CUDA_VISIBLE_DEVICES": "3,5"}) == ["3", "5"]
    assert gpus_here({}) == ["0", "1"]
    monkeypatch.setattr(resources, "visible_gpus", list)
    assert gpus_here({"CUDA_VISIBLE_DEVICES": "3"}) == []
