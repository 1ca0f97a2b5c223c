"""Files reach the runs they belong to, in few requests."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.store.artifact import artifact_repository_registry

from tuning.tracking.uploads import Uploads

LIMIT_S = 10.0


class Repository:
    """In the place of MLflow's: remembers what it was given; may refuse a file, or wait for a second one."""

    def __init__(self, refused: str = "", *, waits: bool = False) -> None:
        self.files: dict[str, str | None] = {}
        self.folders: list[str] = []
        self._refused, self._pair = refused, threading.Barrier(2 if waits else 1)

    def log_artifact(self, path: str, folder: str | None = None) -> None:
        """One file."""
        self._pair.wait(LIMIT_S)
        if Path(path).name == self._refused:
            raise OSError("the server is away")
        self.files[Path(path).name] = folder

    def log_artifacts(self, folder: str) -> None:
        """A whole folder."""
        self.folders.append(folder)


class Client:
    """In the place of MLflow's: counts how often it is asked where a run's files go."""

    tracking_uri = "http://127.0.0.1:9"

    def __init__(self, place: str) -> None:
        self.run: Any = SimpleNamespace(info=SimpleNamespace(run_id="r", artifact_uri=place))
        self.asked = 0

    def get_run(self, run_id: str) -> Any:
        """The run."""
        self.asked += 1
        return self.run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, and two in a folder."""
    (tmp_path / "plots").mkdir()
    for name in ("a.txt", "b.txt", "plots/c.png", "plots/d.png"):
        (tmp_path / name).write_text(name)
    return tmp_path


def _send(folder: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, place: str, *, is_new: bool) -> Client:
    monkeypatch.setattr(artifact_repository_registry, "get_artifact_repository", lambda *_, **__: repository)
    uploads, client = Uploads(), Client(place)
    if is_new:
        uploads.expect(client.run)
    uploads.send(client, "r", folder)  # type: ignore[arg-type]
    return client


@pytest.mark.parametrize("is_new", [True, False])
def test_files_go_side_by_side_to_where_the_run_was_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    """A server is asked about a run only by a process that did not make it; two files are on their way at once."""
    repository = Repository(waits=True)
    client = _send(folder, repository, monkeypatch, "mlflow-artifacts:/1/r/artifacts", is_new=is_new)
    assert repository.files == {"a.txt": None, "b.txt": None, "c.png": "plots", "d.png": "plots"}
    assert client.asked == (0 if is_new else 1)


def test_a_file_that_does_not_arrive_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends them must know, or would remove them from the study's folder."""
    with pytest.raises(OSError, match="away"):
        _send(folder, Repository("c.png"), monkeypatch, "mlflow-artifacts:/1/r/artifacts", is_new=True)


def test_a_local_folder_is_copied_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads would only get in each other's way there."""
    repository = Repository()
    _send(folder, repository, monkeypatch, "file:///store/artifacts/r", is_new=True)
    assert (repository.folders, repository.files) == ([str(folder)], {})
