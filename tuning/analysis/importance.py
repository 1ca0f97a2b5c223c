"""Which searched parameters mattered, and how sure that is. The second module that knows Optuna.

The method is fANOVA (Hutter et al. 2014) by Optuna: a random forest learns the score from the configuration, and a
parameter's share is the variance of the forest's mean prediction along it, over the whole space. docs/importance.md has
what it was compared with. Optuna's evaluator itself is not used, for it leaves out parameters that are not always
active, weighs ranges that are searched on a logarithmic scale as if they were not, and knows no uncertainty.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from optuna.importance._fanova._fanova import _Fanova

from pneumo_core.seeds import derive, generator
from search_spaces import Parameter, SearchSpace
from tuning.analysis.coding import bounds, coordinate, is_categorical, is_listed
from tuning.record import StudyRecord, TrialRecord

METHOD = "fANOVA of a random forest over the whole space; 95 % intervals from a bootstrap over trials"

FEWEST_TRIALS = 20
"""With fewer there are no shares at all: in experiments half of the rankings were wrong."""

_TRUSTED_PER_PARAMETER = 10
_DRAWS = 40
_TREES = 4  # of a draw; 160 in all
_LEAF = 2  # trials
_ROWS = 256  # of a draw at most: the time of fANOVA grows with the square of the trials
_DEPTH = 64
_BEATEN = 0.95
_PRUNED_SHARE = 0.2
_NOISE = "the column of random numbers"


@dataclasses.dataclass(frozen=True)
class ParameterImportance:
    """How much of the scores' variance follows from one parameter alone.

    Attributes:
        name: of the parameter.
        share: of what all parameters explain, from 0 to 1; the mean over the bootstrap's draws.
        low: lower end of the 95 % interval.
        high: upper end.
        matters: whether it explained more than a column of random numbers did, in 95 % of the draws: from all
            trials, or from the better half of them, where what only spoils bad trials hides nothing.
    """

    name: str
    share: float
    low: float
    high: float
    matters: bool = True


@dataclasses.dataclass(frozen=True)
class Importances:
    """What mattered in a study.

    Attributes:
        parameters: most important first; their shares sum to 1. Empty if there is a reason.
        trials: that they rest on.
        method: in words.
        reason: why there are no shares; empty if there are.
        warnings: sentences on what makes them less than certain.
        noise: share that a column of random numbers reached, upper end of its interval: what lies below means nothing.
    """

    parameters: tuple[ParameterImportance, ...]
    trials: int
    method: str
    reason: str
    warnings: tuple[str, ...]
    noise: float = 0.0

    def of(self, name: str) -> ParameterImportance | None:
        """Returns the importance of a parameter, if there is one."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


def importances(record: StudyRecord, *, seed: int = 0) -> Importances:
    """Returns how much each searched parameter mattered for the score.

    Completed trials count. Pruned ones do not: their scores are those of a training that was cut short, which says more
    about the pruning than about the parameters. Of Hyperband's rungs the one with most trials counts.

    Args:
        record: of a study, finished or not.
        seed: of all draws; the same seed gives the same result.
    """
    try:
        space = SearchSpace.model_validate(record.started.definition)
    except ValueError:
        return _none(0, "the study's space is of another version of this program.")
    trials = comparable_trials(record)
    parameters = [parameter for parameter in space.parameters if _varies(parameter, trials)]
    reason = _reason(parameters, trials)
    if reason:
        return _none(len(trials), reason)
    draws = _bootstrap(parameters, trials, seed)
    if not len(draws):
        return _none(len(trials), "no parameter tells trials with different scores apart.")
    matter = _beats_noise(draws)
    if len(trials) >= 2 * FEWEST_TRIALS:
        better = _better_half(trials, record.started.direction)
        matter |= _beats_noise(_bootstrap(parameters, better, seed))
    found = [_importance(p.name, draws[:, place], bool(matter[place])) for place, p in enumerate(parameters)]
    noise_end = float(np.quantile(draws[:, -1], 0.975))
    ranked = tuple(sorted(found, key=lambda one: (-one.share, one.name)))
    return Importances(ranked, len(trials), METHOD, "", tuple(_warnings(record, trials, ranked)), noise_end)


def comparable_trials(record: StudyRecord) -> list[TrialRecord]:
    """Returns the completed trials of the search that were trained for the same number of epochs at most."""
    done = [
        trial
        for trial in record.searched
        if trial.status == "completed" and trial.score is not None and math.isfinite(trial.score)
    ]
    rungs = Counter(trial.config.get("stop_after", 0) for trial in done)
    rung = max(rungs, key=lambda epochs: (rungs[epochs], epochs), default=0)
    return [trial for trial in done if trial.config.get("stop_after", 0) == rung]


def _none(trials: int, reason: str) -> Importances:
    return Importances((), trials, METHOD, reason, ())


def _varies(parameter: Parameter, trials: Sequence[TrialRecord]) -> bool:
    """Whether more than one of its values was tried; the importance of others is nothing that the trials tell."""
    return len({repr(value) for trial in trials if (value := trial.params.get(parameter.name)) is not None}) > 1


def _reason(parameters: Sequence[Parameter], trials: Sequence[TrialRecord]) -> str:
    if not parameters:
        return "no parameter took more than one value in the completed trials."
    if len(trials) < FEWEST_TRIALS:
        return f"importance needs at least {FEWEST_TRIALS} completed trials; there are {len(trials)}."
    if len({trial.score for trial in trials}) == 1:
        return "the scores of all completed trials are equal."
    return ""


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
        places = np.round(coded)[:, None]
        chosen_ones = np.clip(places, 0, len(self.limits) - 1) == np.arange(len(self.limits))
        return np.asarray(chosen_ones, float)

    @functools.cached_property
    def limits(self) -> list[tuple[float, float]]:
        """The ends of each column."""
        if is_categorical(self.parameter):
            return [(0.0, 1.0)] * round(self.high - self.low)
        return [(self.low, self.high)]


def _bootstrap(parameters: Sequence[Parameter], trials: Sequence[TrialRecord], seed: int) -> np.ndarray:
    """Shares of draws from the trials, of shape (draws, parameters + 1); the last column is noise."""
    axes = [_Axis.of(parameter, trials) for parameter in parameters]
    scores = np.array([trial.score for trial in trials])
    found = []
    for draw in range(_DRAWS):
        rng = generator(seed, "importance", draw)
        chosen = rng.integers(len(scores), size=min(len(scores), _ROWS))
        shares = _shares(axes, scores, chosen, rng, derive(seed, "importance forest", draw))
        if shares is not None:
            found.append(shares)
    return np.reshape(found, (-1, len(axes) + 1))


def _better_half(trials: Sequence[TrialRecord], direction: str) -> list[TrialRecord]:
    sign = -1 if direction == "max" else 1
    return sorted(trials, key=lambda trial: (sign * (trial.score or 0.0), trial.number))[: len(trials) // 2]


def _beats_noise(draws: np.ndarray) -> np.ndarray:
    """Which parameters explained more than noise in nearly all draws."""
    if not len(draws):
        return np.zeros(draws.shape[1] - 1, dtype=bool)
    return np.asarray((draws[:, :-1] > draws[:, -1:]).mean(axis=0) >= _BEATEN)


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
    scaled: np.ndarray | None = found / explained if explained > 0 else None
    return scaled


def _importance(name: str, shares: np.ndarray, matters: bool) -> ParameterImportance:
    share = float(shares.mean())
    low, high = (float(end) for end in np.quantile(shares, [0.025, 0.975]))
    return ParameterImportance(name, share, min(low, share), max(high, share), matters)


def _warnings(record: StudyRecord, trials: Sequence[TrialRecord], found: Sequence[ParameterImportance]) -> list[str]:
    told = []
    needed = _TRUSTED_PER_PARAMETER * len(found)
    if len(trials) < needed:
        told.append(
            f"{len(trials)} trials for {len(found)} parameters are few: rankings are to be trusted from about {needed}."
        )
    if not any(one.matters for one in found):
        told.append(f"no parameter explained more than {_NOISE} does: this is a ranking of chance.")
    pruned, unlike = record.count("pruned"), record.count("completed") - len(trials)
    if pruned > _PRUNED_SHARE * (pruned + len(trials)):
        told.append(f"{pruned} pruned trials do not count, so bad regions are seen less than they were tried.")
    if unlike > 0:
        told.append(f"{unlike} completed trials were trained for other numbers of epochs, and do not count.")
    if len(trials) > _ROWS:
        told.append(f"each draw takes {_ROWS} of the {len(trials)} trials: intervals are those of so many.")
    return told
