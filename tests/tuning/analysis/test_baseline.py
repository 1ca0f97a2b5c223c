"""The baseline is the trial of the first known configuration."""

from __future__ import annotations

from pathlib import Path

from synthetic import SPACE, synthetic_space, write_study

from tuning.analysis.baseline import baseline, trained_shorter
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


def test_a_baseline_that_hyperband_stopped_is_shorter_than_what_went_on(tmp_path: Path) -> None:
    """Not than another of its own rung, and never without Hyperband."""
    write_study(Store.at(tmp_path), trials=3, failed=0.0, pruned=0.0)
    first, second, _ = load_record(Store.at(tmp_path), "made").trials.values()
    assert not trained_shorter(first, second)
    first.config["stop_after"] = 1
    assert trained_shorter(first, second)
    second.config["stop_after"] = 1
    assert not trained_shorter(first, second)
