"""What should make one hesitate about a model that is to leave, as sentences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import special

from pneumo_core.operating_point import OperatingPoint
from tuning.models.ensemble import Ensemble
from tuning.record import TrialRecord

_DRIFT = 0.05
"""A refit may be worse by this much, on images that it was trained on, than other models on unseen ones."""


def reservations(trial: TrialRecord | Ensemble, objective: str, *, is_refit: bool) -> list[str]:
    """Returns what to bear in mind about a trial's validation scores.

    Args:
        trial: that is promoted; or several.
        objective: that trials are ranked by.
        is_refit: whether the model was trained once more, and so has other weights than what was scored.
    """
    place = trial.confirmed
    if place is None:
        return [f"{trial.trial} is not confirmed: it was chosen for the scores it has, which flatters them"]
    if is_refit:
        return []
    if isinstance(trial, Ensemble):
        return [f"validation scores are those that {', '.join(trial.trials)} were chosen by, which flatters them"]
    return [
        f"validation scores are those that {trial.trial} was chosen by; confirmed, its {objective} is "
        f"{place.score:.4f} ({place.low:.4f} to {place.high:.4f})"
    ]


def drift(own: pd.DataFrame, point: OperatingPoint, metrics: Mapping[str, float]) -> str | None:
    """Returns why no threshold holds for a refit, or None.

    A model knows the images that it was trained on. One that is worse on them than other models, of the same
    configuration, were on images they had not seen has come to other scores than these, and the threshold is theirs.

    Args:
        own: label and logit of the images that the refit was trained on.
        point: from the out-of-fold scores of the other models.
        metrics: of these scores, `val_sensitivity` and `val_specificity` with `…_low` among them.
    """
    called = special.expit(own["logit"].to_numpy() / point.temperature) >= point.threshold
    for name, label in (("sensitivity", 1), ("specificity", 0)):
        share = float(np.mean(called[own["label"].to_numpy() == label] == bool(label)))
        if share < metrics[f"val_{name}_low"] - _DRIFT:
            return (
                f"its refit has a {name} of {share:.3f} on the very images it was trained on, where out-of-fold scores "
                f"had {metrics[f'val_{name}']:.3f}: scores shift from one training to the next, so no threshold holds. "
                "Take a trial of more epochs or a lower learning rate."
            )
    return None


def contradictions(metrics: Mapping[str, float]) -> list[str]:
    """Returns where test and validation contradict each other at the threshold that validation chose.

    Args:
        metrics: `val_…` and `test_…` sensitivity and specificity, with `…_low` and `…_high`.
    """
    sentences = []
    for name in ("sensitivity", "specificity"):
        value, low, high = (metrics[f"val_{name}{end}"] for end in ("", "_low", "_high"))
        test_value, test_low, test_high = (metrics[f"test_{name}{end}"] for end in ("", "_low", "_high"))
        if test_high < low or test_low > high:
            sentences.append(
                f"{name} is {test_value:.3f} ({test_low:.3f} to {test_high:.3f}) on the test folder, where validation "
                f"promised {value:.3f} ({low:.3f} to {high:.3f}): the threshold does not hold for these patients"
            )
    return sentences
