"""Files on their way to MLflow runs: without asking where they belong, and several at a time over a network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_SIDE_BY_SIDE = 4  # requests; a server has a few workers, and others use it too
_PROXIES = ("mlflow-artifacts:", "http:", "https:")  # a request for each file; the rest MLflow copies by itself


class Uploads:
    """Sends folders of files to runs.

    MLflow asks its server about a run before the first file of it; the answer is kept here from when the run was made.
    """

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def expect(self, run: Run) -> None:
        """Takes note of where a new run's files go."""
        self._places[run.info.run_id] = str(run.info.artifact_uri)

    def send(self, client: MlflowClient, run_id: str, folder: Path) -> None:
        """Copies all files below a folder to a run, over those it has.

        Raises:
            Exception: whatever MLflow raises for one of them; the others may be there.

        Side effects:
            Writes the run's artifacts.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        place = self._places.get(run_id) or str(client.get_run(run_id).info.artifact_uri)
        repository: Any = get_artifact_repository(place, tracking_uri=client.tracking_uri)
        if not place.startswith(_PROXIES):
            repository.log_artifacts(str(folder))
        else:

            def send_one(file: Path) -> None:
                inner = file.parent.relative_to(folder).as_posix()
                repository.log_artifact(str(file), None if inner == "." else inner)

            _side_by_side(send_one, [file for file in sorted(folder.rglob("*")) if file.is_file()])
        self._places.pop(run_id, None)


def _side_by_side(send: Callable[[Path], None], files: Iterable[Path]) -> None:
    """In threads that keep no process from its end, as those of a pool would while a server hangs."""
    waiting, errors = iter(files), list[Exception]()
    taking = threading.Lock()

    def work() -> None:
        while not errors:
            with taking:
                file = next(waiting, None)
            if file is None:
                return
            try:
                send(file)
            except Exception as error:  # raised again below, in the thread that asked
                errors.append(error)

    threads = [threading.Thread(target=work, name="upload", daemon=True) for _ in range(_SIDE_BY_SIDE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
