"""Records of studies that nobody trained, written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic import write_study

from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., StudyRecord]:
    """Returns the record of a study of so many trials, with the options of `write_study`; not to be changed."""
    root, known = tmp_path_factory.mktemp("charts"), dict[str, StudyRecord]()

    def record(trials: int, **options: object) -> StudyRecord:
        key = repr((trials, options))
        if key not in known:
            store = Store.at(Path(root) / str(len(known)))
            write_study(store, trials=trials, **options)  # type: ignore[arg-type]
            known[key] = load_record(store, "made")
        return known[key]

    return record
