"""Services as docs/deploy describes them, and a small real study to be run with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "faults"))  # where `studies` is
from deployment import Deployment, deployed
from studies import SPACE

from pneumo_core.phantom_set import write_phantoms


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A place to start services in; they end with the test."""
    with deployed() as deployment:
        yield deployment


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space whose trials do not depend on each other, and take some seconds."""
    path = tmp_path_factory.mktemp("space") / "deployed.yaml"
    path.write_text(SPACE.replace("name: fragile\ntrials: 5\n", "name: deployed\nalgorithm: random\ntrials: 10\n"))
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About eighty small synthetic radiographs in the Kaggle layout."""
    return write_phantoms(tmp_path_factory.mktemp("data"), patients=40, size_px=(48, 96))
