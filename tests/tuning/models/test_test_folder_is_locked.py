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
from tuning.record import StudyRecord
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
    data: Path,
    opened: list[str],
    tmp_path: Path,
    tiny_space: Path,
    finished: tuple[Store, StudyRecord, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A study whose test folder goes away right after indexing looks for none of it, nor does what confirms it."""
    images = {str(path) for path in (data / "test").rglob("*.jpeg")}
    at_indexing: list[str] = []

    def index_and_remove(*arguments: object, **options: object) -> Dataset:
        dataset = index_dataset(*arguments, **options)  # type: ignore[arg-type]
        at_indexing.extend(opened)
        shutil.rmtree(data / "test")
        opened.clear()
        return dataset

    monkeypatch.setattr(preparation, "index_dataset", index_and_remove)
    space = tmp_path / "tiny.yaml"
    space.write_text(tiny_space.read_text().replace("confirm: {top: 0}", "confirm: {top: 1, seeds: 1, folds: 2}"))
    result = run_study(
        str(space), data, study="s", trials=2, store=tmp_path / "store", workers=0, plots=False, progress=False
    )
    assert sorted(path for path in at_indexing if path in images) == sorted(images)  # each once: the watch sees it
    assert not opened
    assert result.record.confirmed is not None
    scores = {trial.trial: trial.score for trial in result.record.searched}
    assert scores == {name: trial.score for name, trial in finished[1].trials.items() if name in scores}
    assert len(scores) == 2
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


def test_the_scores_of_a_study_are_of_other_images(finished: tuple[Store, StudyRecord, object]) -> None:
    """What trials are ranked by has no test image in it."""
    store, record, _ = finished
    runs = [trial.run_id or "" for trial in record.trials.values()]
    tables = [pd.read_csv(next(store.artifacts.rglob(f"{run}/artifacts/scores.csv"))) for run in runs]
    assert len(tables) == len(record.trials)
    assert not any(table["path"].str.startswith("test/").any() for table in tables)
