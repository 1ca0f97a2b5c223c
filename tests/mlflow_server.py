"""A real MLflow server over a store, to be killed and started again."""

from __future__ import annotations

import sys
from pathlib import Path

from service import Service, answers, free_port

from tuning.store import Store
from tuning.tracking import embedded_uri
from tuning.ui_note import SERVER_APP


class Server(Service):
    """An MLflow server on loopback, over a store's database and with artifacts through the server.

    It is run as `tune ui` runs one, in a third of the time that MLflow's own command takes; that one is started in
    `tests/deploy/`.

    Args:
        store: whose database and artifacts are served.
        log: file for what it says.

    Attributes:
        uri: its address, also before it is started.
    """

    def __init__(self, store: Store, log: Path) -> None:
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "uvicorn", SERVER_APP, "--host", "127.0.0.1", "--port", str(port)]
        settings = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "_MLFLOW_SERVER_FILE_STORE": embedded_uri(store),
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": store.artifacts.as_uri(),
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        }
        super().__init__(command, log, lambda: answers(f"{self.uri}/health"), settings)
