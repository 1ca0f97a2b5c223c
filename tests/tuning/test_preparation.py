"""Where trials are made in other processes, this one may compute with another number of threads."""

from __future__ import annotations

import pytest

from pneumo_core.errors import ConfigError
from tuning import preparation


def _computing_already(threads: int = 0) -> None:
    """TensorFlow in a notebook that had a study with another number of workers."""
    if threads:
        raise ConfigError(f"threads {threads}: TensorFlow already computes with another number")


def test_a_process_that_trains_needs_the_threads_of_its_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the last digits would be others than the record says; workers have them, whatever this process has."""
    monkeypatch.setattr(preparation, "start_tensorflow", _computing_already)
    with pytest.raises(ConfigError, match=r"threads 3"):
        preparation._start_tensorflow(3, trains_here=True)
    preparation._start_tensorflow(3, trains_here=False)
