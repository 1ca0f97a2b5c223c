"""Tree-structured Parzen estimator by Optuna, in the words of our search spaces. The only module that knows Optuna.

Proposes what `optuna.samplers.TPESampler` does, and a test compares the two. The sampler itself is not used: it goes
over all of its trial objects again for every draw (70 ms after 2,000 trials, against 6), and what it has noted about
running trials cannot be rebuilt from their values. Its densities are used, on arrays. Only where a study has more than
500 bad trials does it part from the sampler: an even sample of them stands for all, so that a draw costs the same
after 4,000 trials as after 500.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_gamma, default_weights

from pneumo_core.seeds import derive
from search_spaces import ChoiceParameter, FloatParameter, Parameter, SearchSpace

Values = dict[str, Any]

_STARTUP_TRIALS = 10  # drawn at random before the estimator knows enough, known configurations included
_CANDIDATES = 24  # Optuna's default
_BAD_LIMIT = 500  # bad trials that a density is made of, or each draw would take longer than the one before
_ROOM = 64  # trials, before the arrays grow
_DENSITIES = _ParzenEstimatorParameters(
    prior_weight=1.0, consider_magic_clip=True, consider_endpoints=False, weights=default_weights, multivariate=True
)


class TpeSuggester:
    """Draws configurations from what was told so far: multivariate, aware of conditions and of running trials.

    A draw is a pure function of (seed, number, history). Parameters that were always active together are drawn
    together. A running trial counts among the bad ones, so that the next stays away from it (the "constant liar").
    Source: Bergstra et al. 2011; Falkner et al. 2018.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._distributions = {parameter.name: _distribution(parameter) for parameter in space.parameters}
        self._history = _History(len(space.parameters))
        self._places: dict[str, int] = {}

    def begin(self, trial: str, values: Mapping[str, Any]) -> None:
        """Takes note of a trial that is to run, with the values of all active parameters."""
        self._places[trial] = self._history.begin(
            [
                self._distributions[p.name].to_internal_repr(_encode(p, values[p.name]))
                if p.name in values
                else math.nan
                for p in self._space.parameters
            ]
        )

    def finish(self, trial: str, score: float | None) -> None:
        """Takes note of a trial's score; None if there is none to learn from."""
        sign = -1 if self._space.direction == "max" else 1
        self._history.finish(self._places[trial], math.inf if score is None else sign * score)

    def propose(self, number: int) -> Values:
        """Draws the values of all active parameters.

        Args:
            number: of the trial it is for; other numbers get other draws.
        """
        seed = derive(self._space.seed, "tpe", number)
        draw = _Draw(self._history, self._distributions, seed)
        together = draw.together()
        values: Values = {}
        for parameter in self._space.parameters:
            if parameter.holds(values):
                name = parameter.name
                values[name] = _decode(parameter, together[name] if name in together else draw.alone(name))
        return values


class _History:
    """What was tried, in arrays that grow by doubling.

    Args:
        parameters: how many there are.
    """

    def __init__(self, parameters: int) -> None:
        self._rows, self._scores, self._count = np.empty((_ROOM, parameters)), np.empty(_ROOM), 0
        self._patterns: dict[tuple[bool, ...], int] = {}

    def begin(self, codes: Sequence[float]) -> int:
        """Takes in a trial that runs; returns its place."""
        if self._count == len(self._scores):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._scores = np.concatenate([self._scores, np.empty_like(self._scores)])
        place, self._count = self._count, self._count + 1
        self._rows[place], self._scores[place] = codes, math.nan
        return place

    def finish(self, place: int, score: float) -> None:
        """Takes in the score of the trial at a place."""
        self._scores[place] = score
        if math.isfinite(score):
            pattern = tuple((~np.isnan(self._rows[place])).tolist())
            self._patterns[pattern] = min(self._patterns.get(pattern, place), place)

    @property
    def rows(self) -> np.ndarray:
        """Values as Optuna codes them, of shape (trials, parameters); NaN: not active."""
        return self._rows[: self._count]

    @property
    def scores(self) -> np.ndarray:
        """By trial, lower is better; NaN: running; infinite: failed."""
        return self._scores[: self._count]

    @property
    def patterns(self) -> list[tuple[bool, ...]]:
        """Which parameters were active together in completed trials, in the order of the first that had them."""
        return sorted(self._patterns, key=self._patterns.__getitem__)


class _Draw:
    """One draw.

    Args:
        history: what was tried.
        distributions: of the parameters.
        seed: of the draw.
    """

    def __init__(self, history: _History, distributions: Mapping[str, BaseDistribution], seed: int) -> None:
        self._distributions, self._columns = distributions, {name: column for column, name in enumerate(distributions)}
        rows, scores = history.rows, history.scores
        completed = np.isfinite(scores)
        self._completed, self._patterns = int(completed.sum()), history.patterns
        best = np.flatnonzero(completed)[np.argsort(scores[completed], kind="stable")]
        good = np.zeros(len(scores), dtype=bool)
        good[best[: default_gamma(len(best))]] = True
        self._good, self._bad = rows[good], rows[_thinned(~good & completed) | np.isnan(scores)]
        self._random = np.random.RandomState(seed)
        self._at_random = optuna.samplers.RandomSampler(seed)

    def together(self) -> dict[str, Any]:
        """Returns values of all parameters that were active in a completed trial, whether they now are or not."""
        if self._is_early:
            return {}
        found: dict[str, Any] = {}
        for names in self._groups():
            several = sorted(name for name in names if not self._distributions[name].single())
            found |= self._sample(several) if several else {}
        return found

    def alone(self, name: str) -> Any:
        """Returns a value of one parameter."""
        distribution = self._distributions[name]
        if distribution.single():
            return distribution.to_external_repr(_only_code(distribution))
        if self._is_early:
            return self._at_random.sample_independent(None, None, name, distribution)  # type: ignore[arg-type]
        return self._sample([name])[name]

    @property
    def _is_early(self) -> bool:
        return self._completed < _STARTUP_TRIALS

    def _groups(self) -> list[list[str]]:
        """Parameters that were always active together, in Optuna's order."""
        groups: list[list[str]] = []
        for pattern in self._patterns:
            active = [name for name, column in self._columns.items() if pattern[column]]
            seen = {name for group in groups for name in group}
            split = [[n for n in group if (n in active) == inside] for group in groups for inside in (True, False)]
            groups = [group for group in [*split, [name for name in active if name not in seen]] if group]
        return groups

    def _sample(self, names: Sequence[str]) -> dict[str, Any]:
        """Of some candidates that the good trials suggest, the one that the bad ones suggest least."""
        good, bad = self._density(self._good, names), self._density(self._bad, names)
        candidates = good.sample(self._random, _CANDIDATES)
        best = int(np.argmax(good.log_pdf(candidates) - bad.log_pdf(candidates)))
        return {name: self._distributions[name].to_external_repr(candidates[name][best].item()) for name in names}

    def _density(self, rows: np.ndarray, names: Sequence[str]) -> _ParzenEstimator:
        chosen = rows[:, [self._columns[name] for name in names]]
        chosen = chosen[~np.isnan(chosen).any(axis=1)]
        observations = {name: chosen[:, place] for place, name in enumerate(names)}
        return _ParzenEstimator(observations, {name: self._distributions[name] for name in names}, _DENSITIES)


def _thinned(trials: np.ndarray) -> np.ndarray:
    """As many of the trials in a mask as are looked at, spread evenly over their order; all if they are few."""
    places = np.flatnonzero(trials)
    if len(places) <= _BAD_LIMIT:
        return trials
    thinned = np.zeros_like(trials)
    thinned[places[np.linspace(0, len(places) - 1, _BAD_LIMIT).round().astype(int)]] = True
    return thinned


def _distribution(parameter: Parameter) -> BaseDistribution:
    """Optuna's form of a parameter: ordered choices are places in their order."""
    if isinstance(parameter, FloatParameter):
        return FloatDistribution(parameter.min, parameter.max, log=parameter.log, step=parameter.step)
    if isinstance(parameter, ChoiceParameter):
        if parameter.ordered:
            return IntDistribution(0, len(parameter.values) - 1)
        return CategoricalDistribution(list(parameter.values))
    return IntDistribution(parameter.min, parameter.max, log=parameter.log, step=parameter.step or 1)


def _only_code(distribution: BaseDistribution) -> float:
    return 0.0 if isinstance(distribution, CategoricalDistribution) else float(distribution.low)  # type: ignore[attr-defined]


def _encode(parameter: Parameter, value: Any) -> Any:
    """The form in which Optuna knows a value."""
    if isinstance(parameter, ChoiceParameter) and parameter.ordered:
        return list(parameter.values).index(value)
    return value


def _decode(parameter: Parameter, code: Any) -> Any:
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[code] if parameter.ordered else code
    return parameter.clip(code)
