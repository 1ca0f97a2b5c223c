"""The baseline is the trial of the first known configuration."""

from __future__ import annotations

from pathlib import Path

from synthetic import SPACE, synthetic_space, write_study

from tuning.analysis.baseline import baseline
from tuning.ranking import load_record
from tuning.store import Store


def test_the_first_known_configuration_is_the_baseline(tmp_path: Path) -> None:
    """In shipped spaces it is the notebook's recipe."""
    write_study(Store.at(tmp_path), trials=20)
    found = baseline(load_record(Store.at(tmp_path), "made"))
    assert found is not None
    assert (found.trial, found.params["head_units"], found.params["dropout"]) == ("t0001", 512, 0.5)


def test_a_space_without_known_configurations_has_none(tmp_path: Path) -> None:
    """Nothing is invented."""
    space = synthetic_space(SPACE.partition("start_with")[0])
    write_study(Store.at(tmp_path), trials=5, space=space)
    assert baseline(load_record(Store.at(tmp_path), "made")) is None
