"""What a worker must be: differences are named, nothing else is asked."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import dask
import pandas as pd
import pytest

from tuning.attempt import DataSetup
from tuning.workers.admission import Program, at_this_worker, program_here, refusals_of_images, refusals_of_program

HERE = Program("3.11.7", {"keras": "3.15.0", "numpy": "2.3.0"}, {"tuning/trial.py": "aa", "pneumo_core/model.py": "bb"})


def test_the_same_program_is_accepted() -> None:
    """Another patch release of Python is the same; the program of this process is."""
    assert refusals_of_program(HERE, dataclasses.replace(HERE, python="3.11.2")) == []
    assert refusals_of_program(program_here(), program_here()) == []


def test_every_difference_is_named() -> None:
    """Python, packages that are other or missing, and files of the program."""
    there = Program("3.12.1", {"keras": "3.14.0"}, {"tuning/trial.py": "ab", "pneumo_core/model.py": "bb"})
    assert refusals_of_program(HERE, there) == [
        "it runs Python 3.12.1, the study 3.11.7",
        "it has keras 3.14.0, the study 3.15.0",
        "it has numpy (not installed), the study 2.3.0",
        "its program differs from the study's in tuning/trial.py; install the same version, and start it again",
    ]


def test_a_program_that_was_installed_anew_is_not_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was started before says what it has loaded, not what lies on its disk now."""
    before = program_here()
    monkeypatch.setattr("tuning.workers.admission.code_digests", lambda: {"tuning/trial.py": "new"})
    assert program_here() == before


@pytest.fixture
def setup(tmp_path: Path) -> DataSetup:
    """A study of five images, which are all there."""
    names = [f"train/NORMAL/{number}.jpeg" for number in range(5)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    hashes = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    pool = pd.DataFrame({"path": names, "content_hash": hashes})
    return DataSetup(tmp_path, pool, ("NORMAL", "PNEUMONIA"), tmp_path / "cache", None, 1)


def test_the_same_images_are_accepted(setup: DataSetup) -> None:
    """Whatever else lies beside them."""
    (setup.root / "train/NORMAL/more.jpeg").write_bytes(b"")
    assert refusals_of_images(setup) == []


def test_images_that_are_missing_or_different_are_named(setup: DataSetup) -> None:
    """One byte is enough."""
    (setup.root / "train/NORMAL/1.jpeg").unlink()
    (setup.root / "train/NORMAL/3.jpeg").write_bytes(b"train/NORMAL/3.jpeG")
    [reason] = refusals_of_images(setup)
    assert reason.endswith("of 5, 1 missing (train/NORMAL/1.jpeg) and 1 different (train/NORMAL/3.jpeg)")


def test_a_worker_without_the_folder_is_told_how_to_name_its_own(setup: DataSetup) -> None:
    """By Dask's configuration."""
    [reason] = refusals_of_images(dataclasses.replace(setup, root=Path("/nowhere")))
    assert "no folder /nowhere" in reason
    assert "DASK_TUNE__DATA" in reason


def test_a_worker_has_places_of_its_own(setup: DataSetup, tmp_path: Path) -> None:
    """Its folder of images may be named as for `--data`, with the data set somewhere below; the rest is the study's."""
    assert at_this_worker(setup) == setup
    (tmp_path / "copy/chest_xray/train/NORMAL").mkdir(parents=True)
    with dask.config.set({"tune.data": str(tmp_path / "copy")}):
        assert at_this_worker(setup).root == tmp_path / "copy/chest_xray"
        assert at_this_worker(setup).cache == setup.cache
    with dask.config.set({"tune.cache": str(tmp_path / "other"), "tune.data": str(tmp_path / "gone")}):
        here = at_this_worker(setup)
        assert (here.cache, here.root) == (tmp_path / "other", tmp_path / "gone")
