"""Who is let in: workers that are not what the study needs, schedulers without certificates, addresses of nobody."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, beginning_with
from deployment import Deployment, deployed, write_certificates
from running_study import TUNE
from service import free_port

from tuning.store import Store

REPOSITORY = Path(__file__).parents[2]
OTHER_KERAS = """
from importlib import metadata
version = metadata.version
metadata.version = lambda name: "2.0.0" if name == "keras" else version(name)
"""
NO_PROGRAM = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name == "tuning":
            raise ModuleNotFoundError("No module named 'tuning'", name="tuning")
sys.meta_path.insert(0, Lacking())
"""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A place to start services in."""
    with deployed() as deployment:
        yield deployment


def _run(space: Path, images: Path, folder: Path, address: str, expected: int) -> str:
    """`tune run` on a cluster; returns what it said."""
    words = ("--study", "s", "--space", str(space), "--data", str(images), "--store", str(folder), "--no-plots")
    return _tune("run", *words, "--cluster", address, expected=expected)


def _tune(*words: str, expected: int) -> str:
    """Runs a command to its end, and returns all that it said, what was said to stderr last."""
    done = subprocess.run([*TUNE, *words], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_workers_that_would_compute_something_else_are_refused_by_name(
    deployment: Deployment, space: Path, images: Path, tmp_path: Path
) -> None:
    """Each with its difference; a study that has no other ends with one line, and can be resumed."""
    cluster = Cluster(deployment, images)
    program = tmp_path / "program"
    for package in ("pneumo_core", "search_spaces", "tuning"):
        shutil.copytree(REPOSITORY / package, program / package)
    with (program / "tuning" / "trial.py").open("a") as file:
        file.write("# changed\n")
    cluster.add(tmp_path / "nowhere")
    cluster.add(settings=beginning_with(tmp_path / "keras", OTHER_KERAS))
    cluster.add(settings=beginning_with(tmp_path / "lacking", NO_PROGRAM))
    cluster.add(settings={"PYTHONPATH": str(program)})
    cluster.wait_for_workers()
    said = _run(space, images, tmp_path / "store", cluster.address, 1)
    for difference in (
        f"it has no folder {tmp_path / 'nowhere'}",
        "it has keras 2.0.0, the study 3.",
        "it lacks the module tuning",
        "its program differs from the study's in tuning/trial.py",
    ):
        assert f"is refused: {difference}" in said, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith(f"tune: {cluster.address}: no worker there can serve this study")
    cluster.add()
    cluster.wait_for_workers()
    _tune("resume", "s", "--store", str(tmp_path / "store"), "--trials", "1", expected=0)


@pytest.mark.slow
def test_a_cluster_with_certificates_lets_nobody_else_in(
    deployment: Deployment, space: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them a study runs; with none, with others, or without TLS it says what is wrong in one line."""
    folders = [tmp_path / name for name in ("ours", "theirs")]
    for folder in folders:
        folder.mkdir()
    ours, theirs = map(write_certificates, folders)
    scheduler = deployment.scheduler(settings=ours, protocol="tls")
    deployment.worker(scheduler, images, ours)
    addresses = (scheduler.address, scheduler.address.replace("tls", "tcp"))
    for settings, address in (({}, addresses[0]), (theirs, addresses[0]), ({}, addresses[1]), (ours, addresses[1])):
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            said = _run(space, images, tmp_path / "store", address, 1)
        assert "Traceback" not in said
        assert address in said.strip().splitlines()[-1]
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    said = _run(space, images, tmp_path / "store", scheduler.address, 0)
    assert "not encrypted" not in said


@pytest.mark.slow
def test_no_study_is_left_where_there_is_no_scheduler(space: Path, images: Path, tmp_path: Path) -> None:
    """One line says so."""
    address = f"tcp://127.0.0.1:{free_port()}"
    said = _run(space, images, tmp_path / "store", address, 1)
    assert f"no Dask scheduler answers at {address}" in said
    assert "Traceback" not in said
    assert list(Store.at(tmp_path / "store").studies.iterdir()) == []
