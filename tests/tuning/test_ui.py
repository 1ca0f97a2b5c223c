"""`tune ui` finds or starts a server for what is asked for, and leads to the comparison."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_study
from typer.testing import CliRunner

from pneumo_core.errors import TrackingError
from tuning.cli import app
from tuning.journal import begun_at
from tuning.ranking import load_record
from tuning.store import Store
from tuning.tracking import embedded_uri
from tuning.ui import Links, Place, show
from tuning.ui_note import SERVER_APP, Process, ServerNote
from tuning.ui_server import free_port, running_server, started_server

Shown = Any  # of conftest.py


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if a server is started."""

    def refuse(*_: object) -> None:
        pytest.fail("a server was started")

    monkeypatch.setattr("tuning.ui.started_server", refuse)


def _asked(place: Place, port: int | None = None, tell: Callable[[str], None] = print) -> Links:
    found: list[Links] = []
    assert show(place, "127.0.0.1", port, found.append, tell) == 0
    return found[0]


def _place(shown: Shown, uri: str = "") -> Place:
    begun = begun_at(shown.store.study("first").journal)
    return Place(shown.store, uri or embedded_uri(shown.store), shown.record, begun)


def test_the_server_answers_and_has_the_study_and_its_view(shown: Shown) -> None:
    """Started for real, asked over HTTP: the page, the run, and the view that the link names."""
    with urllib.request.urlopen(shown.base, timeout=20) as page:  # noqa: S310
        assert b"MLflow" in page.read()
    query = f"{shown.base}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=tiny"
    with urllib.request.urlopen(query, timeout=20) as answer:  # noqa: S310
        experiment = json.load(answer)["experiment"]
    key = f"study-{shown.record.started.study_id}"
    assert f"/#/experiments/{experiment['experiment_id']}/runs?viewStateShareKey={key}&" in shown.comparison
    assert f"mlflow.sharedViewState.{key}" in {tag["key"] for tag in experiment["tags"]}
    assert shown.record.run_id in shown.page


def test_a_server_that_runs_is_used_and_stays(shown: Shown, no_start: None) -> None:
    """A second command only says where it is."""
    links = _asked(_place(shown))
    assert links == Links(shown.base, shown.comparison, shown.page, runs_on=True)


def test_the_link_leads_to_the_server_that_a_study_was_logged_to(shown: Shown, no_start: None) -> None:
    """None is started, and a login in the address is not shown."""
    links = _asked(_place(shown, shown.base.replace("//", "//somebody:secret@")))
    assert links == Links(shown.base, shown.comparison, shown.page, runs_on=True)


def test_without_a_kept_view_the_link_compares_runs(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only reading is allowed; the reason is said."""

    def refuse(*_: object) -> None:
        raise TrackingError("reading only")

    monkeypatch.setattr("tuning.tracking.experiment_tag", refuse)
    said: list[str] = []
    links = _asked(_place(shown), tell=said.append)
    assert "#/compare-runs?runs=" in links.comparison
    assert "reading only" in said[0]


def test_a_view_that_was_changed_in_mlflow_stays(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever moves charts around and saves that finds it again."""
    written: list[object] = []
    monkeypatch.setattr("tuning.tracking.set_experiment_tag", lambda *words: written.append(words))
    monkeypatch.setattr("tuning.tracking.experiment_tag", lambda *_: '{"createdAt": 1, "updatedAt": 2}')
    assert "viewStateShareKey" in _asked(_place(shown)).comparison
    assert written == []


def test_a_note_is_believed_by_its_own_store_and_for_its_own_database(shown: Shown, tmp_path: Path) -> None:
    """A copied store has a copy of the note; another database needs another server."""
    backend = embedded_uri(shown.store)
    copy = Store.at(tmp_path)
    (tmp_path / "ui.json").write_bytes((shown.store.root / "ui.json").read_bytes())
    assert running_server(shown.store, backend) is not None
    assert running_server(copy, backend) is None
    assert running_server(shown.store, "postgresql://elsewhere/mlflow") is None


def test_a_note_of_a_dead_server_or_no_note_at_all_is_nothing(tmp_path: Path) -> None:
    """A process number may be somebody else's by now; the time of its start tells."""
    store, me = Store.at(tmp_path), Process.of(os.getpid())
    assert me.is_alive
    another = dataclasses.replace(me, created=me.created - 60)
    assert not another.is_alive
    ServerNote("http://127.0.0.1:1", "b", str(store.root), another, me).write(store)
    assert running_server(store, "b") is None
    (tmp_path / "ui.json").write_text("{]")
    assert running_server(store, "b") is None


def test_a_server_whose_command_was_killed_is_ended(tmp_path: Path) -> None:
    """Nobody else would end it."""
    store, me = Store.at(tmp_path), Process.of(os.getpid())
    gone = dataclasses.replace(me, created=me.created - 60)
    with _sleeper(SERVER_APP) as server:
        ServerNote("http://127.0.0.1:1", "b", str(store.root), server, gone).write(store)
        assert running_server(store, "b") is None
        assert not server.is_alive


def test_no_other_process_is_ended_for_a_note(tmp_path: Path) -> None:
    """Whoever can write to a shared store could name any process of whoever looks at it."""
    store, me = Store.at(tmp_path), Process.of(os.getpid())
    gone = dataclasses.replace(me, created=me.created - 60)
    with _sleeper("something else") as victim:
        ServerNote("http://127.0.0.1:1", "b", str(store.root), victim, gone).write(store)
        assert running_server(store, "b") is None
        assert victim.is_alive


@pytest.mark.parametrize(
    "change",
    [
        {"server": {"pid": -1, "created": 0.0}},
        {"server": {"pid": "1", "created": 0.0}},
        {"owner": {"pid": 2**70, "created": 0.0}},
        {"owner": {"pid": 7, "created": "long ago"}},
        {"url": "http://127.0.0.1:no port"},
        {"url": "javascript:alert(1)"},
        {"url": 5},
    ],
)
def test_a_note_of_the_wrong_kind_is_no_note(tmp_path: Path, change: dict[str, Any]) -> None:
    """Instead of a traceback, or of an address that a browser would run."""
    store, me = Store.at(tmp_path), Process.of(os.getpid())
    note = dataclasses.asdict(ServerNote("http://127.0.0.1:1", "b", str(store.root), me, me))
    (tmp_path / "ui.json").write_text(json.dumps(note | change))
    assert running_server(store, "b") is None


@contextlib.contextmanager
def _sleeper(word: str) -> Iterator[Process]:
    """A process with a word in its command line."""
    command = [sys.executable, "-c", "import time; time.sleep(60)", word]
    with subprocess.Popen(command, start_new_session=True) as sleeper:
        yield Process.of(sleeper.pid)
        sleeper.kill()


def test_a_server_that_cannot_start_leaves_its_words_and_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the log."""
    monkeypatch.setattr("tuning.ui_server.sys.executable", "/bin/false")
    store = Store.at(tmp_path)
    with (
        pytest.raises(TrackingError, match=r"ended at once.*ui\.log"),
        started_server(store, embedded_uri(store), "b", "127.0.0.1", free_port("127.0.0.1")) as server,
    ):
        server.wait_until_healthy()
    assert not (tmp_path / "ui.json").exists()


def test_another_server_that_answers_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands at once find the same port free; the one whose server does not get it says so."""
    monkeypatch.setattr("tuning.ui_server.sys.executable", "/bin/false")
    monkeypatch.setattr("tuning.ui_server.answers", lambda url: True)
    store = Store.at(tmp_path)
    with (
        pytest.raises(TrackingError, match="ended at once"),
        started_server(store, embedded_uri(store), "b", "127.0.0.1", free_port("127.0.0.1")) as server,
    ):
        server.wait_until_healthy()
    assert not (tmp_path / "ui.json").exists()


def test_a_taken_port_is_said_in_one_line(tmp_path: Path, no_start: None) -> None:
    """Also if whoever has it answers, and so could be taken for our own server."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        result = CliRunner().invoke(app, ["ui", "--store", str(tmp_path), "--port", str(other.server_port)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "--port" in result.stderr


def test_without_a_port_the_next_free_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another MLflow has the usual one."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        monkeypatch.setattr("tuning.ui_server.FIRST_PORT", other.server_port)
        assert free_port("127.0.0.1") > other.server_port


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://somebody:***@there", "no address"),
        ("sqlite:////nowhere/mlflow.db", "no such database"),
        ("./mlruns", "expected an address"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path: Path, uri: str, words: str, no_start: None) -> None:
    """Before a server makes an empty database there."""
    given = uri.replace("***", "secret")
    result = CliRunner().invoke(app, ["ui", "--store", str(tmp_path), "--tracking-uri", given])
    assert result.exit_code == 2
    assert words in result.stderr
    assert uri in result.stderr


def test_a_server_that_is_away_is_said_in_one_line(tmp_path: Path, no_start: None) -> None:
    """Instead of a link to nothing."""
    result = CliRunner().invoke(app, ["ui", "--store", str(tmp_path), "--tracking-uri", "http://127.0.0.1:9"])
    assert result.exit_code == 2
    assert "does not answer" in result.stderr


def test_a_study_that_mlflow_lacks_is_said_with_what_to_do(tmp_path: Path) -> None:
    """As when MLflow was away during all of it."""
    store = Store.at(tmp_path)
    folder = write_study(store, trials=3)
    lines = [line for line in folder.journal.read_text().splitlines() if "run_linked" not in line]
    folder.journal.write_text("\n".join(lines) + "\n")
    place = Place(store, "http://127.0.0.1:9", load_record(store, "made"))
    with pytest.raises(TrackingError, match="tune sync made"):
        show(place, "127.0.0.1", None, print, print)
