"""Real trainings on a cluster come to what they come to on one machine, whoever makes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, attempt_process, beginning_with
from deployment import deployed
from running_study import RunningStudy
from studies import SPACE, ends, plain

from tuning.events import AttemptFailed, TrialCompleted
from tuning.journal import read_journal
from tuning.launch import launch_study
from tuning.ranking import load_record
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space
from tuning.store import Store

EAGER = """
import tuning.attempt
tuning.attempt.CHECKPOINT_INTERVAL_S = 0.0
"""


@pytest.fixture(scope="module")
def independent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space whose trials do not depend on each other."""
    path = tmp_path_factory.mktemp("space") / "independent.yaml"
    path.write_text(SPACE + "algorithm: random\n")
    return path


@pytest.fixture
def cluster(images: Path, tmp_path: Path) -> Iterator[Cluster]:
    """Two workers that write a checkpoint after each epoch, and see neither the study's folder nor each other's."""
    with deployed() as deployment:
        cluster = Cluster(deployment, images)
        for _ in range(2):
            cluster.add(settings=beginning_with(tmp_path / "eager", EAGER))
        yield cluster


@pytest.mark.slow
def test_a_training_that_changes_its_machine_ends_with_the_same_digits(
    cluster: Cluster, independent: Path, images: Path, tmp_path: Path
) -> None:
    """A worker is killed in mid-trial: another goes on from the checkpoint that travelled; every loss is the same."""
    study = RunningStudy(
        Store.at(tmp_path / "far"), "run", "--space", str(independent), "--data", str(images),
        "--cluster", cluster.address, "--threads", "1", "--no-plots",
    )  # fmt: skip
    study.launch()
    try:
        study.wait_for(epochs=6)
        for worker in cluster.workers:
            os.kill(attempt_process(worker.pid), signal.SIGKILL)
        study.finish()
    finally:
        study.kill()
    far = load_record(study.store, "s")

    work = WorkSettings(workers=1, plots=False)
    settings = StudySettings(
        open_space(str(independent)), str(images), Store.at(tmp_path / "near"), "s", threads=1, work=work
    )
    near = launch_study(settings).record
    assert plain(far) == plain(near)
    losses = [{trial.trial: trial.epoch_losses for trial in record.trials.values()} for record in (far, near)]
    assert losses[0] == losses[1]
    assert set(ends(study.store, "s").values()) == {1}
    events = list(read_journal(study.store.study("s").journal))
    assert any(isinstance(event, AttemptFailed) for event in events)
    assert all(event.worker for event in events if isinstance(event, TrialCompleted))
