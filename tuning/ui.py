"""The MLflow UI over the store, as a lean server on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from pneumo_core.errors import TrackingError
from tuning.record import StudyRecord
from tuning.signals import stop_requests
from tuning.store import Store

_START_TIMEOUT_S = 120.0

_LEAN = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven background processes and 1.5 GB for nothing used here
}


def compare_url(base_url: str, record: StudyRecord) -> str:
    """Returns the address of MLflow's comparison of all completed trials of a study, best first."""
    from tuning.tracking import experiment_of

    runs = [trial.run_id for trial in record.ranked() if trial.status == "completed" and trial.run_id]
    experiment = experiment_of(record)
    query = urllib.parse.urlencode(
        {"runs": json.dumps(runs, separators=(",", ":")), "experiments": json.dumps([experiment])}
    )
    return f"{base_url}/#/compare-runs?{query}"


def serve_ui(store: Store, host: str, port: int, ready: Callable[[str], None]) -> int:
    """Runs MLflow's server over the store's database until it ends or is interrupted.

    Args:
        store: with the database; created if it is not there yet.
        host: address to listen on.
        port: to listen on.
        ready: called once with the server's address when it answers.

    Returns:
        The server's exit status.

    Raises:
        TrackingError: if it does not start.

    Side effects:
        Starts the server's processes, and ends them on the way out.
    """
    from tuning.tracking import embedded_uri, prepare_embedded

    _refuse_taken_port(host, port)
    store.check_writable()
    prepare_embedded(store)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", embedded_uri(store)]
    command += ["--default-artifact-root", store.artifacts.as_uri(), "--host", host, "--port", str(port)]
    command += ["--workers", "1"]
    with (store.root / "ui.log").open("wb") as log:
        server = subprocess.Popen(  # noqa: S603
            command, env=os.environ | _LEAN, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        with stop_requests() as stop:
            stop.at_once = True
            base_url = f"http://{host}:{port}"
            _wait_until_healthy(server, base_url, str(store.root / "ui.log"))
            ready(base_url)
            return server.wait()
    finally:
        _end(server)


def _refuse_taken_port(host: str, port: int) -> None:
    """Another server on the port would answer in place of ours."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise TrackingError(
            f"port {port} of {host}: cannot be listened on ({error.strerror}); choose another with --port."
        ) from error


def _wait_until_healthy(server: subprocess.Popen[bytes], base_url: str, log: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TrackingError(
                f"the MLflow server at {base_url} ended at once (exit {server.returncode}); its words are in {log}."
            )
        try:
            with urllib.request.urlopen(f"{base_url}/health", timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise TrackingError(f"the MLflow server did not answer within {_START_TIMEOUT_S:.0f} s; see {log}.")


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ends the server with its workers, which share its process group."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
