"""The MLflow server over a store or a database: started lean, known again while it runs, ended with its command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

from pneumo_core.errors import TrackingError
from tuning.store import Store
from tuning.ui_note import SERVER_APP, Process, ServerNote, answers, note_file

_START_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 10.0
FIRST_PORT = 5000
"""Where MLflow is looked for first."""

_PORTS_TRIED = 50

_LEAN = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven background processes and 1.5 GB for nothing used here
}


def running_server(store: Store, backend: str) -> ServerNote | None:
    """Returns the server that shows a database for a store, if one runs; one whose command was killed is ended.

    Args:
        store: that has the note.
        backend: redacted address of the database.

    Side effects:
        Ends a server that nobody would end.
    """
    note = ServerNote.read(store)
    if note is None or note.store != str(store.root):
        return None
    if note.server.serves and not note.owner.is_alive:
        _end_group(note.server.pid)
        return None
    return note if note.shows(store, backend) else None


@contextlib.contextmanager
def started_server(store: Store, uri: str, backend: str, host: str, port: int) -> Iterator[MlflowServer]:
    """Starts MLflow's server, and ends it at the end of the block.

    Args:
        store: for its log and its note.
        uri: of the database, with its password.
        backend: the same without it.
        host: to listen on.
        port: to listen on.

    Side effects:
        Starts a process; writes `ui.log`, `ui.json` in the store, and removes the latter in the end.
    """
    server = MlflowServer(store, uri, backend, host, port)
    try:
        yield server
    finally:
        server.end()


class MlflowServer:
    """A server that is starting or running. See `started_server`.

    It is run without MLflow's own command, which imports all of MLflow twice: 3 s and 250 MB instead of 9 s and 500 MB.

    Attributes:
        url: its address.
    """

    def __init__(self, store: Store, uri: str, backend: str, host: str, port: int) -> None:
        self.url = f"http://{_in_url(host)}:{port}"
        self._store, self._backend, self._log, self._port = store, backend, store.root / "ui.log", port
        command = [sys.executable, "-m", "uvicorn", SERVER_APP, "--host", host]
        command += ["--port", str(port), "--log-level", "warning", "--timeout-graceful-shutdown", "2"]
        settings = {  # what `mlflow server` hands to uvicorn
            "_MLFLOW_SERVER_FILE_STORE": uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": store.artifacts.as_uri(),
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": store.artifacts.as_uri(),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                env=os.environ | _LEAN | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=store.root,
                start_new_session=True,
            )

    def wait_until_healthy(self) -> None:
        """Returns when the server answers, and leaves a note for others.

        Raises:
            TrackingError: if it ends or does not answer in time.

        Side effects:
            Writes `ui.json` in the store.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise TrackingError(
                    f"the MLflow server at {self.url} ended at once (exit {self._process.returncode}); its words are "
                    f"in {self._log}."
                )
            if self._listens() and answers(self.url):
                self._leave_note()
                return
            time.sleep(0.1)
        raise TrackingError(
            f"the MLflow server did not answer within {_START_TIMEOUT_S:.0f} s; its words are in {self._log}."
        )

    def wait(self) -> int:
        """Returns the server's exit status when it ends."""
        return self._process.wait()

    def end(self) -> None:
        """Ends the server, if it still runs, and takes its note back.

        Side effects:
            Ends the process; removes `ui.json` if it is about this server.
        """
        if self._process.poll() is None:
            _end_group(self._process.pid, self._process)
        note = ServerNote.read(self._store)
        if note is not None and note.server.pid == self._process.pid:
            note_file(self._store).unlink(missing_ok=True)

    def _listens(self) -> bool:
        """Whether this server has the port: another, started at the same moment, would answer in its place."""
        try:
            sockets = psutil.Process(self._process.pid).net_connections("inet")
        except psutil.Error:
            return False
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == self._port for one in sockets)

    def _leave_note(self) -> None:
        try:
            server, owner = Process.of(self._process.pid), Process.of(os.getpid())
            ServerNote(self.url, self._backend, str(self._store.root), server, owner).write(self._store)
        except (OSError, psutil.Error) as error:
            raise TrackingError(f"the MLflow server at {self.url} cannot be noted ({error}); try again.") from error


def free_port(host: str) -> int:
    """Returns the first port from 5000 on that can be listened on.

    Raises:
        TrackingError: if there is none among the first fifty.
    """
    reason = ""
    for port in range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED):
        reason = why_taken(host, port)
        if not reason:
            return port
    last = FIRST_PORT + _PORTS_TRIED - 1
    raise TrackingError(f"none of the ports {FIRST_PORT} to {last} of {host} can be listened on ({reason}).")


def why_taken(host: str, port: int) -> str:
    """Returns why a port cannot be listened on; empty if it can. Whoever has it would answer in place of ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _in_url(host: str) -> str:
    """An address as links have it; who listens everywhere is reached here."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104
    return everywhere.get(host, f"[{host}]" if ":" in host else host)


def _end_group(pid: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Ends a server with its workers, which share its process group: first asked, then forced."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
        try:
            process.wait(_END_TIMEOUT_S) if process else psutil.Process(pid).wait(_END_TIMEOUT_S)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            os.killpg(pid, signal.SIGKILL)
        except psutil.NoSuchProcess:
            pass
