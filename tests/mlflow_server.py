"""A real MLflow server, to be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tuning.store import Store
from tuning.tracking import embedded_uri

_LEAN = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class Server:
    """An MLflow server on loopback, over a store's database and with artifacts through the server.

    Args:
        store: whose database and artifacts are served.
        log: file for what it says.

    Attributes:
        uri: its address, also before it is started.
    """

    def __init__(self, store: Store, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self._store, self._log = store, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", embedded_uri(self._store)]
        command += ["--artifacts-destination", self._store.artifacts.as_uri(), "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | _LEAN, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.uri}/health", timeout=2),  # noqa: S310
            ):
                return
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.2)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """SIGKILL to the server and its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
