"""How the trials of a study are scored: one protocol for all of them, decided before the first."""

from __future__ import annotations

from typing import Any

from pneumo_core.config import TrialConfig
from search_spaces import ChoiceParameter, IntParameter, SearchSpace
from tuning.events import StudyStarted
from tuning.spaces import base_config

DEFAULT_FOLDS = 5
"""Where frozen layers are computed once, five trainings of a head cost little and tell more than one."""


def folds_of(space: SearchSpace, asked: int | None) -> int:
    """Returns how many folds the trials of a study are trained in; 1 for a hold-out.

    Args:
        space: what is searched.
        asked: what the user wants; None to have it chosen: grouped folds where no trial trains convolutions or augments
            live, a grouped hold-out elsewhere.
    """
    if asked is not None:
        return asked
    base = base_config(space)
    frozen = all(value == 0 for value in _values(space, "unfrozen_layers", base))
    kept = set(_values(space, "augmentation", base)) == {"none"} or all(_values(space, "augmentation_variants", base))
    return DEFAULT_FOLDS if frozen and kept else 1


def images_in_words(started: StudyStarted) -> str:
    """Returns how many images train and score, and how they are divided."""
    images = started.images
    if started.folds > 1:
        return f"{images['validation']} images in {started.folds} folds by patient"
    return f"{images['training']} training and {images['validation']} validation images"


def _values(space: SearchSpace, name: str, base: TrialConfig) -> list[Any]:
    """The values that trials of a space may have; of a range of whole numbers its ends."""
    for parameter in space.parameters:
        if parameter.name == name:
            if isinstance(parameter, ChoiceParameter):
                return list(parameter.values)
            if isinstance(parameter, IntParameter):
                return [parameter.min, parameter.max]
    return [getattr(base, name)]
