"""Studies on a Dask cluster that is started as docs/deploy says, and disturbed."""

from __future__ import annotations

import shutil
from pathlib import Path

import distributed
import psutil
import pytest
from deployment import Deployment, Namespace, write_certificates
from running_study import RunningStudy
from studies import ends, metrics_differ, plain, run_statuses

from tuning.api import run_study
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_ONE_THREAD = ("--threads", "1", "--no-plots")


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory, space: Path, images: Path) -> StudyRecord:
    """The study as one worker of this machine makes it, in peace."""
    store = tmp_path_factory.mktemp("calm")
    return run_study(
        str(space), images, study="s", store=store, workers=1, threads=1, plots=False, progress=False
    ).record


def _check(store: Store, calm: StudyRecord) -> None:
    """Complete and correct: the same scores as in peace, each trial ended once and has one run, with all its losses."""
    record = load_record(store, "s")
    assert plain(record) == plain(calm)
    assert set(ends(store, "s").values()) == {1}
    assert run_statuses(store, "s") == {trial: ["FINISHED"] for trial in ["", *record.trials]}
    assert metrics_differ(store, "s") == 0


def _processes_in(folder: Path) -> list[str]:
    """Command lines that name a folder."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]


def test_a_study_is_complete_and_correct_while_workers_are_killed_and_added(
    deployment: Deployment, space: Path, images: Path, tmp_path: Path, calm: StudyRecord
) -> None:
    """Four workers, two of them on networks of their own with copies of the images; PostgreSQL behind MLflow."""
    mlflow = deployment.mlflow(deployment.postgres().uri)
    network = deployment.network()
    scheduler = deployment.scheduler(network.host)

    def remote(machine: Namespace) -> tuple[Path, Namespace]:
        return shutil.copytree(images, tmp_path / machine.name), machine

    near = [deployment.worker(scheduler, images) for _ in range(2)]
    machines = [network.machine() for _ in range(2)]
    far = [deployment.worker(scheduler, data, namespace=machine) for data, machine in map(remote, machines)]
    store = Store.at(tmp_path / "store")
    words = ("--space", str(space), "--data", str(images), "--tracking-uri", mlflow.uri, *_ONE_THREAD)
    study = RunningStudy(store, "run", *words, "--cluster", scheduler.address)
    study.launch()
    try:
        study.wait_until_said("joins", times=4)
        study.wait_for(epochs=6)
        near[0].kill()  # the machine is gone
        study.wait_for(epochs=12)
        for process in psutil.Process(far[0].pid).children(recursive=True):
            process.kill()  # its nanny starts another
        added = deployment.worker(scheduler, images)
        study.wait_for(completed=4)
        machines[1].cut()  # for some seconds; nobody is told
        study.wait_for(completed=6)
        machines[1].mend()
        near[1].ask()
        study.finish()
        said = study.log.read_text()
        assert said.count("joins") >= 5, said
        assert "Traceback" not in said
        assert added.runs
        with distributed.Client(scheduler.address, set_as_default=False) as client:
            assert not any(client.processing().values())
    finally:
        study.kill()
    _check(store, calm)
    deployment.end()
    assert _processes_in(deployment.folder) == []


def test_a_study_outlives_its_scheduler_and_is_resumed_on_living_workers(
    deployment: Deployment, space: Path, images: Path, tmp_path: Path, calm: StudyRecord
) -> None:
    """A scheduler that is restarted costs no attempt; a study's process that is killed finds its workers again."""
    scheduler = deployment.scheduler()
    workers = [deployment.worker(scheduler, images) for _ in range(2)]
    store = Store.at(tmp_path / "store")
    words = ("--space", str(space), "--data", str(images), *_ONE_THREAD)
    study = RunningStudy(store, "run", *words, "--cluster", scheduler.address)
    study.launch()
    try:
        study.wait_for(epochs=6)
        scheduler.kill()
        for worker in workers:
            worker.wait(60)  # it ends without a scheduler
        scheduler.start()
        for worker in workers:
            worker.start()  # as systemd would
        study.wait_until_said("joins", times=4)
        study.wait_for(completed=4)
        assert not any(trial.lost_attempts for trial in load_record(store, "s").trials.values())
        study.kill()
        assert all(worker.runs for worker in workers)
        study = RunningStudy(store, "resume", "s", "--cluster", scheduler.address)
        study.launch()
        study.finish()
    finally:
        study.kill()
    _check(store, calm)


def test_a_study_over_tls_refuses_the_worker_with_another_image(
    deployment: Deployment,
    space: Path,
    images: Path,
    tmp_path: Path,
    calm: StudyRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One worker is started by the batch script; the other has one damaged image, and is told so by name."""
    tls = write_certificates(deployment.folder)
    scheduler = deployment.scheduler(settings=tls, protocol="tls")
    damaged = shutil.copytree(images, tmp_path / "damaged")
    image = sorted((damaged / "train" / "PNEUMONIA").iterdir())[3]
    image.write_bytes(image.read_bytes() + b"\0")
    deployment.worker(scheduler, damaged, settings=tls)
    deployment.batch_job(scheduler, settings=tls | {"DASK_TUNE__DATA": str(images)})
    store = Store.at(tmp_path / "store")
    words = ("--space", str(space), "--data", str(images), *_ONE_THREAD)
    study = RunningStudy(store, "run", *words, "--cluster", scheduler.address, settings=tls)
    study.launch()
    try:
        study.finish()
    finally:
        study.kill()
    [refusal] = [line for line in study.log.read_text().splitlines() if "refused" in line]
    assert "tls://127.0.0.1:" in refusal
    assert image.name in refusal
    assert "1 different" in refusal
    _check(store, calm)
