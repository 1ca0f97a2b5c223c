"""Small real studies that are disturbed, and the same left in peace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import made_once
import pytest
from studies import SPACE

from pneumo_core.phantom_set import write_phantoms
from tuning.api import run_study
from tuning.record import StudyRecord


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space whose trials take some seconds."""
    path = tmp_path_factory.mktemp("space") / "fragile.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """About eighty small synthetic radiographs in the Kaggle layout."""
    with made_once.audits():
        yield write_phantoms(tmp_path_factory.mktemp("data"), patients=40, size_px=(48, 96))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, space: Path, images: Path) -> StudyRecord:
    """The study as it ends if nothing happens to it."""
    store = tmp_path_factory.mktemp("undisturbed")
    return run_study(str(space), images, study="s", store=store, workers=0, plots=False, progress=False).record
