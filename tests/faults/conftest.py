"""Small real studies that are disturbed, and the same left in peace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import made_once
import pytest

from pneumo_core.phantom_set import write_phantoms
from tuning.api import run_study
from tuning.record import StudyRecord

SPACE = """\
name: fragile
trials: 5
epochs: 8
confirm: {top: 1, seeds: 1, folds: 2}
fixed: {weights: random, image_size: 32, pixel_scaling: unit, pooling: average, batch_size: 4, patience: 0}
parameters:
  head_units: {type: choice, values: [16, 32, 64], ordered: true}
  dropout: {type: float, min: 0.0, max: 0.5, step: 0.25}
  unfrozen_layers: {type: choice, values: [0, 1], ordered: true}
  learning_rate: {type: float, min: 1.0e-3, max: 1.0e-2, log: true}
start_with:
  - {head_units: 64, dropout: 0.25, unfrozen_layers: 1, learning_rate: 2.0e-3}
"""


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
