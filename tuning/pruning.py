"""Which trials end early for want of promise: decided when a trial starts, so that chance and timing play no part."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from pneumo_core.errors import ConfigError

PRUNING_RULES = ("none", "median", "halving")

_MEDIAN_NEEDS_TRIALS = 5  # a median of fewer says little
_MEDIAN_FROM_EPOCH = 2  # after one epoch the slow learners, which often win in the end, all lie behind
_HALVING_FACTOR = 3


def checked_rule(rule: str) -> str:
    """Returns a rule's name if there is one of that name.

    Raises:
        ConfigError: if not; the message lists those there are.
    """
    if rule not in PRUNING_RULES:
        raise ConfigError(f"--pruning {rule}: expected one of {', '.join(PRUNING_RULES)}.")
    return rule


def pruning_thresholds(rule: str, finished: Sequence[Mapping[int, float]], epochs: int) -> dict[int, float]:
    """Returns what a trial has to reach, from the validation losses of those that are over.

    A trial is judged by its lowest loss so far, never after its last epoch, and compared only with trials that came as
    far. NaN losses are ignored.

    Args:
        rule: `none`; `median`: it must not be worse than the median of the others (Golovin et al. 2017, "Google
            Vizier", section 3.2.2); `halving`: after 1, 3, 9, ... epochs the best third of all that came so far goes
            on, itself included (Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning").
        finished: for each trial its loss by epochs trained, counted from 1; in any order.
        epochs: that the new trial will train.

    Returns:
        By epochs trained, the loss above which it ends then.
    """
    checkpoints = {"none": (), "median": range(_MEDIAN_FROM_EPOCH, epochs), "halving": _rungs(epochs)}[rule]
    find = _halving_threshold if rule == "halving" else _median_threshold
    found = {trained: find(_best_losses(finished, trained)) for trained in checkpoints}
    return {trained: threshold for trained, threshold in found.items() if threshold is not None}


def is_hopeless(losses: Sequence[float], prune_above: Mapping[str, float]) -> bool:
    """Returns whether a trial ends now.

    Args:
        losses: validation losses of all its epochs so far.
        prune_above: what `pruning_thresholds` returned, epochs as text: JSON knows no other keys.
    """
    threshold = prune_above.get(str(len(losses)))
    numbers = [loss for loss in losses if not math.isnan(loss)]
    return threshold is not None and bool(numbers) and min(numbers) > threshold


def _rungs(epochs: int) -> list[int]:
    """The powers of three below the last epoch."""
    rungs = [1]
    while rungs[-1] < epochs:
        rungs.append(rungs[-1] * _HALVING_FACTOR)
    return rungs[:-1]


def _best_losses(finished: Sequence[Mapping[int, float]], trained: int) -> list[float]:
    """The lowest loss, up to an epoch, of each trial that came so far; the lowest first."""
    came_so_far = (losses for losses in finished if max(losses, default=0) >= trained)
    numbers = (
        [loss for epoch, loss in losses.items() if epoch <= trained and not math.isnan(loss)] for losses in came_so_far
    )
    return sorted(min(losses) for losses in numbers if losses)


def _median_threshold(best: list[float]) -> float | None:
    return statistics.median(best) if len(best) >= _MEDIAN_NEEDS_TRIALS else None


def _halving_threshold(best: list[float]) -> float | None:
    """The loss of the worst that still goes on, were the new trial as good; None while there are too few to choose."""
    go_on = (len(best) + 1) // _HALVING_FACTOR
    return best[go_on - 1] if go_on else None
