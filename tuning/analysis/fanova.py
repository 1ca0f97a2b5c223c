"""fANOVA by Optuna, for search spaces with conditions. The second module that knows Optuna.

A random forest learns the score from the configuration; a parameter's share is the variance of the forest's mean
prediction along it, over the whole space (Hutter et al. 2014). Optuna's evaluator itself is not used, for it leaves out
parameters that are not always active, and weighs ranges that are searched on a logarithmic scale as if they were not.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from optuna.importance._fanova._fanova import _Fanova

from pneumo_core.seeds import derive, generator
from search_spaces import Parameter
from tuning.analysis.coding import bounds, coordinate, is_categorical, is_listed
from tuning.record import TrialRecord

DRAWS = 40
"""Of the bootstrap."""

ROWS = 256
"""Trials of a draw at most: the time of fANOVA grows with their square."""

_TREES = 4  # of a draw; 160 in all
_LEAF = 2  # trials
_DEPTH = 64


def bootstrap(parameters: Sequence[Parameter], trials: Sequence[TrialRecord], seed: int, draws: int = 0) -> np.ndarray:
    """Returns the shares of parameters in draws from the trials, with replacement.

    Args:
        parameters: that took more than one value.
        trials: completed ones.
        seed: of all draws.
        draws: how many; `DRAWS` if 0.

    Returns:
        Shares of shape (draws, parameters + 1): those of the parameters sum to 1; the last, on the same scale, is that
        of a column of random numbers. Draws that show no differences are left out.
    """
    axes = [_Axis.of(parameter, trials) for parameter in parameters]
    scores = np.array([trial.score for trial in trials])
    found = []
    for draw in range(draws or DRAWS):
        rng = generator(seed, "importance", draw)
        chosen = rng.integers(len(scores), size=min(len(scores), ROWS))
        shares = _shares(axes, scores, chosen, rng, derive(seed, "importance forest", draw))
        if shares is not None:
            found.append(shares)
    return np.reshape(found, (-1, len(axes) + 1))


@dataclasses.dataclass(frozen=True)
class _Axis:
    """A parameter as the forest sees it.

    Attributes:
        parameter: which.
        coded: its coordinates by trial; NaN where it was not active.
        low: end of the coordinates, half a place outside of listed values, so that all of them weigh the same.
        high: the other end.
    """

    parameter: Parameter
    coded: np.ndarray
    low: float
    high: float

    @classmethod
    def of(cls, parameter: Parameter, trials: Sequence[TrialRecord]) -> _Axis:
        """Reads the coordinates off the trials."""
        values = [trial.params.get(parameter.name) for trial in trials]
        coded = np.array([math.nan if value is None else coordinate(parameter, value) for value in values])
        low, high = bounds(parameter)
        outside = 0.5 if is_listed(parameter) else 0.0
        return cls(parameter, coded, low - outside, high + outside)

    def columns(self, chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns the columns of some trials: one, or one for each value of a choice without an order.

        Where the parameter was not active it can do nothing, whatever its value; random values there teach the forest
        just that, and weigh what the parameter does by how often it is active.
        """
        drawn = rng.uniform(self.low, self.high, len(chosen))
        coded = np.where(np.isnan(self.coded[chosen]), drawn, self.coded[chosen])
        if not is_categorical(self.parameter):
            return coded[:, None]
        count = len(self.limits)
        places = np.clip(np.round(coded), 0, count - 1).astype(int)
        columns: np.ndarray = np.eye(count)[places]
        return columns

    @functools.cached_property
    def limits(self) -> list[tuple[float, float]]:
        """The ends of each column."""
        if is_categorical(self.parameter):
            return [(0.0, 1.0)] * round(self.high - self.low)
        return [(self.low, self.high)]


def _shares(
    axes: Sequence[_Axis], scores: np.ndarray, chosen: np.ndarray, rng: np.random.Generator, seed: int
) -> np.ndarray | None:
    """Shares of all parameters, which sum to 1, and of a column of random numbers, on their scale."""
    columns = np.hstack([*(axis.columns(chosen, rng) for axis in axes), rng.random((len(chosen), 1))])
    widths = [*(len(axis.limits) for axis in axes), 1]
    places = np.split(np.arange(sum(widths)), np.cumsum(widths)[:-1])
    limits = np.array([*(ends for axis in axes for ends in axis.limits), (0.0, 1.0)])
    fanova = _Fanova(_TREES, _DEPTH, 2 * _LEAF, _LEAF, seed)
    try:
        fanova.fit(columns, scores[chosen], limits, places)
    except RuntimeError:  # all scores of the draw are equal
        return None
    found = np.array([fanova.get_importance(place)[0] for place in range(len(places))])
    explained = float(found[:-1].sum())
    return found / explained if explained > 0 else None
