"""What tests of several modules share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import made_once
import pytest

from tuning.store import Store

# Nothing may fall back to MLflow's own default, a database in the working directory.
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{tempfile.mkdtemp()}/stray.db"

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it for its workers; a pipe has no width


_LONGEST = ("tests/faults/", "tests/test_readme.py", "tests/tuning/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: `make test` hands files to two processes, and none shall be left alone with one at the end."""
    items.sort(key=lambda item: [not item.nodeid.startswith(place) for place in _LONGEST])


@pytest.fixture(scope="session", autouse=True)
def _empty_databases_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with made_once.migrations(Store.at(tmp_path_factory.mktemp("mlflow"))):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real radiographs (`chest_xray/`, `originals/`); tests that need it are skipped where it is not."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PNEUMO_REAL_DATA", default))
    if not (folder / "chest_xray" / "train").is_dir():
        pytest.skip("no real radiographs here: set PNEUMO_REAL_DATA to the folder that holds chest_xray/")
    return folder
