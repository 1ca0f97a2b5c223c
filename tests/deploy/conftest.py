"""Services as docs/deploy describes them, and a small real study to be run with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "faults"))  # where `studies` is
from deployment import Deployment, deployed

from pneumo_core.phantom_set import write_phantoms

SPACE = """\
name: deployed
algorithm: random
trials: 10
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


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A place to start services in; they end with the test."""
    with deployed() as deployment:
        yield deployment


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space whose trials do not depend on each other, and take some seconds."""
    path = tmp_path_factory.mktemp("space") / "deployed.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About eighty small synthetic radiographs in the Kaggle layout."""
    return write_phantoms(tmp_path_factory.mktemp("data"), patients=40, size_px=(48, 96))
