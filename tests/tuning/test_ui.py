"""`tune ui` serves the store on loopback and leads to the comparison."""

from __future__ import annotations

import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tuning.record import StudyRecord
from tuning.store import Store

Finished = tuple[Store, StudyRecord, dict[str, object]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(store: Path, port: int, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from tuning.cli import main; main()", "ui", *words, "--port", str(port)]
    environment = os.environ | {"TUNE_STORE": str(store)}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A test run in the background ignores Ctrl-C, and would hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_server_answers_shows_the_study_and_ends_with_its_command(finished: Finished, stop: int) -> None:
    """Started for real, asked over HTTP, interrupted by Ctrl-C or SIGTERM; no process stays behind."""
    store, record, _ = finished
    port = _free_port()
    tune = _start(store.root, port, "first")
    try:
        assert tune.stdout is not None
        assert f"http://127.0.0.1:{port}" in tune.stdout.readline()
        link = tune.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as page:
            assert b"MLflow" in page.read()
    finally:
        tune.send_signal(stop)
        code = tune.wait(timeout=30)
    assert code == 0
    runs = re.findall(r"[0-9a-f]{32}", urllib.parse.unquote(link))
    assert runs == [trial.run_id for trial in record.ranked()]
    with socket.socket() as probe:
        assert _is_closed(probe, port)


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    """Also if whoever has it answers, and so could be taken for our own server."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        tune = _start(tmp_path, other.server_port)
        out, errors = tune.communicate(timeout=120)
    assert tune.returncode == 2
    assert out == ""
    assert "--port" in errors
    assert "Traceback" not in errors


def _is_closed(probe: socket.socket, port: int) -> bool:
    for _ in range(50):
        if probe.connect_ex(("127.0.0.1", port)):
            return True
        time.sleep(0.1)
        probe.close()
        probe = socket.socket()
    return False
