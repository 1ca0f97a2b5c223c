"""A store that was moved or copied works where it lies, and where it was is left alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pneumo_core.errors import StudyError, TrackingError
from tuning.api import resume_study
from tuning.events import StudyResumed
from tuning.models.named_images import NamedImage
from tuning.models.prediction import predict_images
from tuning.models.registry import Registry
from tuning.moved_store import former_roots, read_only, refuse_moved, repair_moved
from tuning.ranking import load_record
from tuning.relocation import at_home, relocated
from tuning.store import Store
from tuning.sync import sync_study
from tuning.tracking import embedded_uri


@pytest.fixture
def moved(with_model: Store, tmp_path: Path) -> Iterator[Store]:
    """The store in another folder; what it is a copy of is taken away, so that nothing can be read from there."""
    shutil.copytree(with_model.root, tmp_path / "somewhere else" / "runs")
    away = with_model.root.rename(with_model.root.parent / "away")
    yield Store.at(tmp_path / "somewhere else" / "runs")
    written = with_model.root.exists()
    shutil.rmtree(with_model.root, ignore_errors=True)
    away.rename(with_model.root)
    assert not written, "something was written to where the store was"


def _digest_of_all(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root)} {path.stat().st_mtime_ns} ".encode() + path.read_bytes())
    return digest.hexdigest()


def _mentions(store: Store, old: Path) -> list[str]:
    """Columns of the database in which the old place still stands; parameters aside, which say what was given then."""
    found = []
    with read_only(store.database) as connection:
        named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'params'"
        tables = [row[0] for row in connection.execute(named)]
        for table in tables:
            for column in [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]:
                for place in (f"{old}/", f"{old.as_uri()}/"):
                    sought = f"SELECT count(*) FROM {table} WHERE instr({column}, ?)"  # noqa: S608  # names of its own
                    if connection.execute(sought, [place]).fetchone()[0]:
                        found.append(f"{table}.{column}")
    return found


def test_a_moved_store_is_repaired_and_works(moved: Store, with_model: Store) -> None:
    """One line names the repair; after it sync, predict and resume work, and the old folder does not come back."""
    assert former_roots(moved) == [str(with_model.root)]
    for use in (
        lambda: Registry(moved),
        lambda: sync_study(moved, "own", None, print),
        lambda: resume_study("own", store=moved.root, trials=2, progress=False),
    ):
        with pytest.raises(TrackingError, match=r"was moved or copied here from .*tune doctor --fix --store"):
            use()
    assert load_record(moved, "own").started.tracking_uri == embedded_uri(moved)
    journal = moved.study("own").journal.read_bytes()
    done = repair_moved(moved)
    assert done is not None
    assert done.roots == [str(with_model.root)]
    assert done.rows
    assert not _mentions(moved, with_model.root)
    assert moved.study("own").journal.read_bytes() == journal
    assert repair_moved(moved) is None

    assert sync_study(moved, "own", None, print)
    image = next((moved.data / "demo-0").rglob("test/PNEUMONIA/*"))
    assert predict_images(Registry(moved), "tiny@champion", [NamedImage(image)]).rows
    resume_study("own", store=moved.root, trials=2, workers=0, progress=False)  # its images moved too
    record = load_record(moved, "own")
    runs = [trial.run_id for trial in record.trials.values()]
    assert len(runs) == 2
    artifacts = [MlflowClient(embedded_uri(moved)).get_run(run or "").info.artifact_uri for run in runs]
    assert all(uri.startswith(moved.artifacts.as_uri()) for uri in artifacts)


def test_a_copy_never_writes_to_the_original(with_model: Store, tmp_path: Path) -> None:
    """With the original still there the copy points to itself, and no byte of the original changes."""
    before = _digest_of_all(with_model.root)
    shutil.copytree(with_model.root, tmp_path / "copy")
    copy = Store.at(tmp_path / "copy")
    with pytest.raises(TrackingError, match="tune doctor --fix"):
        refuse_moved(copy)
    assert repair_moved(copy)
    registry = Registry(copy)
    assert registry.folder(registry.find("tiny")).is_relative_to(copy.root)
    assert sync_study(copy, "own", None, print)
    assert _digest_of_all(with_model.root) == before
    assert former_roots(with_model) == []


def test_a_repair_that_is_killed_leaves_the_old_state_or_the_new(with_model: Store, tmp_path: Path) -> None:
    """Killed in the middle of the transaction, the database is as it was; the next repair does all of it."""
    shutil.copytree(with_model.root, tmp_path / "copy")
    copy = Store.at(tmp_path / "copy")
    code = (
        "import os, signal, tuning.moved_store as m\n"
        "from tuning.store import Store\n"
        "whole, count = m._spellings, [0]\n"
        "def fatal(*places):\n"
        "    count[0] += 1\n"
        "    if count[0] == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return whole(*places)\n"
        "m._spellings = fatal\n"
        f"m.repair_moved(Store.at({str(copy.root)!r}))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert killed.returncode == -9
    assert former_roots(copy) == [str(with_model.root)]
    assert repair_moved(copy)
    assert not _mentions(copy, with_model.root)


def test_a_store_whose_study_is_being_run_is_not_repaired(with_model: Store, tmp_path: Path) -> None:
    """Its process may just be writing to the database."""
    shutil.copytree(with_model.root, tmp_path / "copy")
    copy = Store.at(tmp_path / "copy")
    with copy.study("own").hold(), pytest.raises(StudyError, match="study own is being run"):
        repair_moved(copy)


def test_artifacts_of_another_store_are_left_where_they_are(with_model: Store, tmp_path: Path) -> None:
    """Somebody else may log to this database from a store of theirs: that is no move."""
    shutil.copytree(with_model.root, tmp_path / "copy")
    copy = Store.at(tmp_path / "copy")
    assert repair_moved(copy)
    elsewhere = "file:///theirs/artifacts/other"
    with sqlite3.connect(copy.database) as connection:
        columns, values = "(name, artifact_location, lifecycle_stage)", "('other', ?, 'active')"
        connection.execute(f"INSERT INTO experiments {columns} VALUES {values}", [elsewhere])  # noqa: S608
    assert former_roots(copy) == []
    refuse_moved(copy)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/old/data/x", "/new place/data/x"),
        ("/old", "/new place"),
        ("/older/data", "/older/data"),
        ("sqlite:////old/mlflow.db", "sqlite:////new place/mlflow.db"),
        ("http://host/old/x", "http://host/old/x"),
        ("demo", "demo"),
        ("", ""),
    ],
)
def test_only_what_lies_in_the_old_folder_is_told_anew(text: str, expected: str) -> None:
    """Names that merely begin alike, and addresses of servers, stay."""
    assert relocated(text, "/old", "/new place") == expected


def test_a_resumed_study_remembers_each_place(tmp_path: Path) -> None:
    """What a resume recorded is told of the store in which it was resumed, not of that in which the study began."""
    journal = tmp_path / "studies" / "mine" / "journal.jsonl"
    event = StudyResumed(3, [], {"store": "/second", "data_root": "/second/data/demo-0", "threads": 2})
    told = at_home(event, journal)
    assert isinstance(told, StudyResumed)
    assert told.identity == {"store": str(tmp_path), "data_root": f"{tmp_path}/data/demo-0", "threads": 2}
    assert at_home(event, Path("/second/studies/mine/journal.jsonl")) == event
