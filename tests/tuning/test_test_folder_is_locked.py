"""Trials never see the test folder: indexing reads it to know it, and then nobody does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pneumo_core.dataset import Dataset, index_dataset
from tuning import preparation
from tuning.api import run_study
from tuning.preparation import prepare
from tuning.ranking import load_record
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space
from tuning.store import Store

_watched: list[tuple[Path, list[str]]] = []


def _note_open(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: it cannot be taken off again, so it does nothing unless a folder is watched."""
    if _watched and event in ("open", "os.listdir", "os.scandir"):
        folder, opened = _watched[0]
        path = arguments[0]
        if isinstance(path, (str, bytes, Path)) and folder in Path(str(path)).parents:
            opened.append(str(path))


sys.addaudithook(_note_open)


@pytest.fixture
def data(tmp_path: Path, phantoms: Path) -> Path:
    """A copy of the phantoms, whose test folder may be taken away."""
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


@pytest.fixture
def opened(data: Path) -> Iterator[list[str]]:
    """Every path below test/ that is opened or listed in this process."""
    paths: list[str] = []
    _watched.append((data / "test", paths))
    yield paths
    _watched.clear()


def test_indexing_is_the_only_reader_of_the_test_folder(
    data: Path, opened: list[str], tmp_path: Path, tiny_space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study of four trials opens no file of it afterwards, and ends the same with a test folder that is gone."""
    at_indexing: list[str] = []

    def index_and_remove(*arguments: object, **options: object) -> Dataset:
        dataset = index_dataset(*arguments, **options)  # type: ignore[arg-type]
        at_indexing.extend(opened)
        opened.clear()
        shutil.rmtree(data / "test")
        opened.clear()  # of the removal itself
        return dataset

    images = {str(path) for path in (data / "test").rglob("*.jpeg")}
    with_test = run_study(str(tiny_space), data, study="with", store=tmp_path / "a", workers=0, progress=False)
    assert images <= set(opened)  # the watch sees what is opened
    assert len([path for path in opened if path in images]) == len(images)  # once each, by indexing
    opened.clear()

    monkeypatch.setattr(preparation, "index_dataset", index_and_remove)
    without = run_study(str(tiny_space), data, study="without", store=tmp_path / "b", workers=0, progress=False)
    assert images <= set(at_indexing)
    assert not opened
    scores = {trial.trial: trial.score for trial in with_test.record.trials.values()}
    assert {trial.trial: trial.score for trial in without.record.trials.values()} == scores
    assert None not in scores.values()


def test_nothing_that_workers_are_given_has_a_row_of_the_test_folder(
    data: Path, tmp_path: Path, tiny_space: Path
) -> None:
    """Neither what is sent to them nor what they make of it; and all other images are there."""
    settings = StudySettings(
        space=open_space(str(tiny_space), None), data=str(data), store=Store.at(tmp_path / "store"), work=WorkSettings()
    )
    prepared = prepare(settings)
    manifest = prepared.dataset.manifest
    kept_out = set(manifest["path"][manifest["split"] == "test"])
    assert kept_out
    for holder in (prepared.setup, prepared.data):
        tables = [value for value in vars(holder).values() if isinstance(value, pd.DataFrame)]
        assert tables
        assert not any((table["split"] == "test").any() for table in tables)
        assert set().union(*(table["path"] for table in tables)) == set(manifest["path"]) - kept_out
        lists = [value for value in vars(holder).values() if isinstance(value, list)]
        assert not any(kept_out & {item for item in value if isinstance(item, str)} for value in lists)


def test_the_scores_of_a_study_are_of_other_images(finished: tuple[Store, object, object], phantoms: Path) -> None:
    """What trials are ranked by has no test image in it."""
    store, _, _ = finished
    record = load_record(store, "first")
    tables = [pd.read_csv(path) for path in store.artifacts.rglob("scores.csv")]
    assert len(tables) >= len(record.ranked())
    assert not any(table["path"].str.startswith("test/").any() for table in tables)
