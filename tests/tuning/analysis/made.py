"""Records of studies that nobody trained, in memory: random or concentrated samples of a surface."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import _draw, _started

from pneumo_core.config import TrialConfig
from search_spaces import SearchSpace
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store
from tuning.tpe import TpeSuggester

Surface = Callable[[Mapping[str, Any]], float]


def record_of(space: SearchSpace, trials: Sequence[TrialRecord], name: str = "made") -> StudyRecord:
    """Returns the record of a study with these trials."""
    started = _started(Store(Path("/nowhere")), space, name, max(len(trials), 1))
    return StudyRecord(started, {trial.trial: trial for trial in trials})


def trial_of(
    space: SearchSpace, number: int, values: Mapping[str, Any], score: float | None, **more: Any
) -> TrialRecord:
    """Returns a completed trial, or one that failed if it has no score."""
    params = {parameter.name: values.get(parameter.name) for parameter in space.parameters}
    config = TrialConfig.from_mapping({**space.fixed, **values}).to_mapping()
    status = "failed" if score is None else "completed"
    trial = TrialRecord(f"t{number:04d}", number, params, config, status, score)  # type: ignore[arg-type]
    return dataclasses.replace(trial, **more)


def sampled(
    space: SearchSpace, surface: Surface, trials: int = 80, *, tpe: bool = False, noise: float = 0.0, seed: int = 0
) -> StudyRecord:
    """Returns a study of a surface.

    Args:
        space: searched.
        surface: scores a configuration.
        trials: how many, all completed.
        tpe: drawn by TPE, which crowds around the best, instead of at random.
        noise: standard deviation added to the scores.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    suggester = TpeSuggester(space.replace(seed=seed))
    found = []
    for number in range(1, trials + 1):
        values = suggester.propose(number) if tpe else _draw(space, rng)
        score = surface(values) + noise * rng.normal()
        suggester.begin(str(number), values)
        suggester.finish(str(number), score)
        found.append(trial_of(space, number, values, score))
    return record_of(space, found)
