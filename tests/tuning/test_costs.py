"""`--dry-run` says what a study costs, from timed batches, and leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning import run_study
from tuning.costs import _rounds
from tuning.launch import plan_study
from tuning.output import _cost_lines, duration
from tuning.settings import StudySettings
from tuning.spaces import open_space
from tuning.store import Store


def _cost(space: Path, data: Path, store: Path, **overrides: Any) -> dict[str, Any]:
    settings = StudySettings(open_space(str(space), overrides or None), str(data), Store.at(store))
    cost: dict[str, Any] = plan_study(settings)["cost"]
    return cost


def test_passes_are_told_before_and_after_they_were_made(tiny_space: Path, phantoms: Path, tmp_path: Path) -> None:
    """One pass for two cuts, its size as it then is on disk; afterwards both are cached and cost nothing."""
    before = _cost(tiny_space, phantoms, tmp_path / "store", head_units=8)
    (wanted,) = before["passes"]
    assert wanted["cuts"] == ["block4", "block5 average"]
    assert not wanted["cached"]
    assert wanted["duration_s"] > 0
    assert before["disk"]["activations"] == wanted["bytes"]
    assert not (tmp_path / "store").exists()
    run_study(
        str(tiny_space), phantoms, overrides={"head_units": 8, "epochs": 1}, store=tmp_path / "store", workers=0,
        plots=False, progress=False,
    )  # fmt: skip
    kept = sum(path.stat().st_size for path in (tmp_path / "store" / "cache").glob("*/data.bin"))
    assert kept == wanted["bytes"]
    after = _cost(tiny_space, phantoms, tmp_path / "store", head_units=8)
    assert [(item["cached"], item["duration_s"]) for item in after["passes"]] == [(True, 0.0)]
    assert after["disk"]["activations"] == 0
    assert 0 < after["trial_s"]["min"] <= after["trial_s"]["median"] <= after["trial_s"]["max"]
    assert after["study_s"] > 3 * after["trial_s"]["min"]
    assert after["disk"]["trial"] > 600_000


@pytest.mark.slow
def test_live_and_kept_augmentation_are_told_apart(tiny_space: Path, phantoms: Path, tmp_path: Path) -> None:
    """Live augmentation costs each trial, a bank costs a pass for each variant, once."""
    live = _cost(tiny_space, phantoms, tmp_path, augmentation="mild")
    assert live["live_augmentation"]["trial_s"] > 0
    assert len(live["passes"]) == 1
    bank = _cost(tiny_space, phantoms, tmp_path, augmentation="mild", augmentation_variants=3)
    assert bank["live_augmentation"] is None
    assert [item["augmentation"] for item in bank["passes"]] == ["", "mild/0/0", "mild/0/1", "mild/0/2"]
    assert live["trial_s"]["min"] > bank["trial_s"]["min"]
    assert any("live augmentation runs the frozen layers anew" in line for line in _cost_lines(live, 4))


def test_workers_share_the_trials() -> None:
    """The last round may leave some of them without one, and a worker too many makes nothing faster."""
    assert [_rounds(8, workers) for workers in (0, 1, 2, 3, 8, 9)] == [8, 8, 4, 3, 1, 1]
    cost = {
        "passes": [], "confirm": None, "live_augmentation": None, "trial_s": {"median": 30, "min": 30, "max": 30},
        "study_s": 120.0, "disk": {"activations": 0, "trial": 0, "free": 0}, "workers": 2,
    }  # fmt: skip
    assert "8 trials on 2 workers and what comes before them: about 2 min" in "\n".join(_cost_lines(cost, 8))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.42, "0.4 s"), (38.4, "38 s"), (720, "12 min"), (5_990, "1 h 40 min"), (12_000, "3 h 20 min")],
)
def test_durations_are_told_as_people_say_them(seconds: float, words: str) -> None:
    """No more digits than an estimate has."""
    assert duration(seconds) == words
