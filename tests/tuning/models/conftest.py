"""What tests of registered models share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_registered import Shelf, register_tiny

from pneumo_core.dataset import index_dataset


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, phantoms: Path) -> Shelf:
    """A registry with one small model of several branches, said to be of the phantoms."""
    return register_tiny(tmp_path_factory.mktemp("shelf"), index_dataset(phantoms))
