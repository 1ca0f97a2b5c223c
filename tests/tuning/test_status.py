"""`tune status`: what another process can tell of a study from its journal, while that is written and afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from synthetic import write_study
from typer.testing import CliRunner, Result

from pneumo_core.errors import StoreError
from tuning.backlog import Cursor
from tuning.cli import app
from tuning.events import AttemptStarted, EpochEnded, StudyEnded, StudyResumed, TrialStarted
from tuning.journal import Journal
from tuning.live.standing import Standing
from tuning.ranking import load_record
from tuning.status import StudyTail, look, status_lines, studies_to_show
from tuning.store import Store, StudyFolder


def _tune(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], prog_name="tune")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store without studies."""
    return Store.at(tmp_path / "a store")


def _left_in_the_middle(store: Store, name: str = "s") -> StudyFolder:
    """A study of 30 trials whose process is gone; the 21st had two epochs."""
    folder = write_study(store, name, trials=20, ended=False, failed=0.1)
    journal, config = Journal(folder.journal), next(iter(load_record(store, name).trials.values())).config
    for event in (
        StudyEnded("interrupted", "", 1.0),
        StudyResumed(30, []),
        TrialStarted("t0021", 21, {"dropout": 0.1}, config | {"epochs": 8}),
        AttemptStarted("t0021", 1),
        EpochEnded("t0021", 0, {"val_loss": 0.5, "val_roc_auc": 0.8, "duration_s": 1.0}),
        EpochEnded("t0021", 1, {"val_loss": float("nan"), "val_roc_auc": 0.9, "duration_s": 1.0}),
    ):
        journal.append(event)
    return folder


def test_a_running_study_says_so(store: Store) -> None:
    """By which process, how far, what runs with its curves, when it ends; all of it as one JSON document."""
    folder = _left_in_the_middle(store)
    record = load_record(store, "s")
    with folder.hold():
        document = json.loads(_tune("status", "s", "--store", store.root, "--json").stdout)
        shown = _tune("status", "--store", store.root).stdout
    assert (document["status"], document["stage"], document["resume"]) == ("running", "search", None)
    assert document["process"].startswith(f"process {os.getpid()} on ")
    assert document["trials"] == {"wanted": 30, "running": 1, "pruned": 0, **record.counts()}
    assert document["running"][0]["val_loss"] == {"1": 0.5, "2": None}
    assert document["running"][0]["score"] == {"1": 0.8, "2": 0.9}
    assert document["best"]["trial"] == record.best().trial  # type: ignore[union-attr]
    assert document["baseline"]["trial"] == "t0001"
    assert document["left"]["all_s"]["low"] < document["left"]["all_s"]["likely"] < document["left"]["all_s"]["high"]
    assert document["failed"] == {"loss became nan in epoch 2": record.count("failed")}
    assert f"running: by process {os.getpid()}" in shown
    assert "2/8 epochs" in shown
    assert "end: about" in shown


def test_a_killed_study_says_so_and_how_to_go_on(store: Store) -> None:
    """Nothing is foretold of what nobody works on."""
    folder = _left_in_the_middle(store)
    status = look(store, StudyTail(folder))
    assert (status.status, status.left, status.holder) == ("killed", None, "")
    assert status.resume == f"tune resume s --store '{store.root}'"
    lines = list(status_lines(status))
    assert any(line.startswith("killed: its process died") for line in lines)
    assert lines[-1] == f"go on with: {status.resume}"


def test_a_finished_study_is_not_gone_on_with(store: Store) -> None:
    """And an interrupted one is."""
    done = write_study(store, "done", trials=5)
    assert look(store, StudyTail(done)).resume == ""
    left = _left_in_the_middle(store, "left")
    Journal(left.journal).append(StudyEnded("interrupted", "", 1.0))
    assert look(store, StudyTail(left)).resume.startswith("tune resume left")


def test_without_a_name_those_that_run_are_shown_else_the_latest(store: Store) -> None:
    """A glance needs no name."""
    assert studies_to_show(store) == []
    folders = [write_study(store, name, trials=1, seed=seed) for seed, name in enumerate(("a", "b", "c"))]
    assert studies_to_show(store) == ["c"]
    with folders[0].hold(), folders[1].hold():
        assert studies_to_show(store) == ["a", "b"]
        documents = json.loads(_tune("status", "--store", store.root, "--json").stdout)
        assert [document["study"] for document in documents] == ["a", "b"]
        assert "found a, b" in _tune("status", "--watch", "--store", store.root).stderr


def test_what_mlflow_lacks_is_counted(store: Store) -> None:
    """In entries of the journal after the cursor."""
    folder = write_study(store, "s", trials=3)
    entries = folder.journal.read_bytes().count(b"\n")
    status = look(store, StudyTail(folder))
    assert status.behind == entries
    sentence = f"lacks the last {entries} entries of the journal; write them with: tune sync s --store '{store.root}'"
    assert f"MLflow: {sentence}" in list(status_lines(status))
    Cursor(folder.journal.stat().st_size, closed=True).save(folder)
    assert "MLflow: has all of the journal" in list(status_lines(look(store, StudyTail(folder))))


@pytest.mark.parametrize("words", [["statu", "--store", "STORE"], ["s", "--store", "STORE/nowhere"]])
def test_a_wrong_name_is_one_line(store: Store, words: list[str]) -> None:
    """Exit code 2, and what there is instead."""
    write_study(store, "s", trials=1)
    result = _tune("status", *[word.replace("STORE", str(store.root)) for word in words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1


def test_an_undefined_end_of_an_interval_is_none(store: Store) -> None:
    """Whatever wrote the journal, and said NaN: `--json` stays one document, of a status and of a leaderboard."""
    folder = write_study(store, "s", trials=6)
    text, found = re.subn(r'("val_roc_auc":)\[[^,\]]*,', r"\1[NaN,", folder.journal.read_text())
    assert found
    folder.journal.write_text(text)
    status = json.loads(_tune("status", "s", "--store", store.root, "--json").stdout)
    assert status["best"]["interval"][0] is None
    assert status["best"]["interval"][1] is not None
    rows = json.loads(_tune("leaderboard", "s", "--store", store.root, "--json").stdout)
    assert {row["interval"][0] for row in rows if row["interval"]} == {None}


def test_a_line_in_the_making_waits(store: Store) -> None:
    """A torn last line is not read until it is whole; a journal that became shorter is read anew."""
    folder = write_study(store, "s", trials=4, ended=False)
    whole = folder.journal.read_bytes()
    cut = whole.rstrip(b"\n").rfind(b"\n") + 9
    folder.journal.write_bytes(whole[:cut])
    tail = StudyTail(folder)
    assert tail.standing.done == 3
    assert not tail.read_on()
    folder.journal.write_bytes(whole)
    assert tail.read_on()
    assert tail.standing.done == 4
    folder.journal.write_bytes(whole[: whole.find(b"\n") + 1])
    assert tail.read_on()
    assert tail.standing.done == 0
    folder.journal.write_bytes(whole.replace(b"somewhere", b"somewhere else", 1))  # no line begins where one did
    assert tail.read_on()
    assert tail.standing.done == 4
    folder.journal.write_bytes(b"{}\n")
    with pytest.raises(StoreError, match="damaged"):
        StudyTail(folder)


_WRITER = """
import sys, time
from pathlib import Path
source, target = Path(sys.argv[1]), Path(sys.argv[2])
lines = source.read_bytes().splitlines(keepends=True)
with target.open("ab", buffering=0) as file:
    for at, line in enumerate(lines):
        if at % 7 == 0:  # as on a full disk or a slow one: half a line can be seen
            file.write(line[:40])
            time.sleep(0.001)
            line = line[40:]
        file.write(line)
"""


def test_a_journal_can_be_read_while_another_process_writes_it(store: Store) -> None:
    """Whatever moment is caught, what was read is the journal's beginning; at the end it is all of it."""
    source, target = write_study(store, "source", trials=150), StudyFolder(store.studies / "target")
    target.root.mkdir()
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(source.journal), str(target.journal)])
    try:
        deadline = time.monotonic() + 30
        while not target.has_begun():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        tail, seen = StudyTail(target), set[int]()
        while writer.poll() is None or tail.read_on():
            tail.read_on()
            seen.add(tail.standing.done)
            assert StudyTail(target).standing.done >= tail.standing.done
    finally:
        writer.wait()
    whole = load_record(store, "source")
    assert len(seen) > 2
    assert tail.standing.record == whole
    assert tail.standing.leaders(5) == Standing(whole, 0.0).leaders(5)


@pytest.mark.parametrize(("ending", "code"), [("finished", 0), ("failed", 1)])
def test_watching_ends_with_the_study(store: Store, ending: str, code: int) -> None:
    """A line for what is new, then what became of it; the exit code says whether it finished."""
    folder = _left_in_the_middle(store)

    begun = threading.Event()

    def work() -> None:
        with folder.hold():
            begun.set()
            time.sleep(0.5)
            journal = Journal(folder.journal)
            journal.append(EpochEnded("t0021", 2, {"val_loss": 0.4}))
            journal.append(StudyEnded(ending, "", 1.0))  # type: ignore[arg-type]

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    result = _tune("status", "s", "--watch", "--every", "0.2", "--store", store.root)
    thread.join()
    assert result.exit_code == code
    assert "s: search, 20 of 30 trials, best" in result.stdout.splitlines()[0]
    assert f"{ending}: after" in result.stdout


def test_watching_as_json_gives_one_document_at_the_end(store: Store) -> None:
    """A script that waits for a study can read what became of it."""
    write_study(store, "s", trials=3)
    result = _tune("status", "s", "--watch", "--json", "--store", store.root)
    assert (result.exit_code, json.loads(result.stdout)["status"]) == (0, "finished")


def test_only_what_is_new_is_read(store: Store) -> None:
    """However long the study: damage in what was read already is not even seen."""
    folder = write_study(store, "big", trials=20)
    tail = StudyTail(folder)
    journal = folder.journal.read_bytes()
    folder.journal.write_bytes(b"?" * 100 + journal[100:])
    append = Journal(folder.journal).append
    append(StudyEnded("interrupted", "told to stop", 1.0))
    assert tail.read_on()
    assert tail.standing.record.ended == StudyEnded("interrupted", "told to stop", 1.0)


def test_it_can_be_read_without_unicode(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user says so."""
    _left_in_the_middle(store)
    monkeypatch.setenv("NO_UNICODE", "1")
    result = _tune("status", "s", "--store", store.root)
    assert " x loss became nan in epoch 2" in result.stdout
    assert result.stdout.isascii()


def test_looking_changes_nothing(store: Store) -> None:
    """Neither the journal nor any other file; whoever wants to run the study can."""
    folder = _left_in_the_middle(store)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    look(store, StudyTail(folder))
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
    with folder.hold():
        assert look(store, StudyTail(folder)).status == "running"
