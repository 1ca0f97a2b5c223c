"""Which searched parameters mattered, and how sure that is.

Shares are those of fANOVA (`tuning.analysis.fanova`), their intervals those of a bootstrap over trials.
docs/importance.md says what the method was compared with, and what it cannot see.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from search_spaces import Parameter, SearchSpace
from tuning.analysis.coding import bounds, coordinate, is_categorical
from tuning.analysis.fanova import DRAWS, ROWS, bootstrap
from tuning.record import StudyRecord, TrialRecord

METHOD = "fANOVA of a random forest over the whole space; 95 % intervals from a bootstrap over trials"

FEWEST_TRIALS = 20
"""With fewer there are no shares at all: in experiments half of the rankings were wrong."""

_TRUSTED_PER_PARAMETER = 10
_BEATEN = 0.95
_PRUNED_SHARE = 0.2
_CROWDED = 0.65  # of the trials
_QUARTERS = 4
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
    draws = bootstrap(parameters, trials, seed)
    if not len(draws):
        return _none(len(trials), "no parameter tells trials with different scores apart.")
    matter = _beats_noise(draws)
    if len(trials) >= 2 * FEWEST_TRIALS:
        better = _better_half(trials, record.started.direction)
        matter |= _beats_noise(bootstrap(parameters, better, seed, DRAWS // 2))
    found = [_importance(p.name, draws[:, place], bool(matter[place])) for place, p in enumerate(parameters)]
    noise_end = float(np.quantile(draws[:, -1], 0.975))
    ranked = tuple(sorted(found, key=lambda one: (-one.share, one.name)))
    return Importances(ranked, len(trials), METHOD, "", tuple(_warnings(record, parameters, trials, ranked)), noise_end)


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


def _better_half(trials: Sequence[TrialRecord], direction: str) -> list[TrialRecord]:
    sign = -1 if direction == "max" else 1
    return sorted(trials, key=lambda trial: (sign * (trial.score or 0.0), trial.number))[: len(trials) // 2]


def _beats_noise(draws: np.ndarray) -> np.ndarray:
    """Which parameters explained more than noise in nearly all draws."""
    if not len(draws):
        return np.zeros(draws.shape[1] - 1, dtype=bool)
    return np.asarray((draws[:, :-1] > draws[:, -1:]).mean(axis=0) >= _BEATEN)


def _importance(name: str, shares: np.ndarray, matters: bool) -> ParameterImportance:
    share = float(shares.mean())
    low, high = (float(end) for end in np.quantile(shares, [0.025, 0.975]))
    return ParameterImportance(name, share, min(low, share), max(high, share), matters)


def _warnings(
    record: StudyRecord,
    parameters: Sequence[Parameter],
    trials: Sequence[TrialRecord],
    found: Sequence[ParameterImportance],
) -> list[str]:
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
        epochs = trials[0].config.get("stop_after", 0)
        told.append(
            f"{unlike} completed trials were trained for other numbers of epochs, and do not count: this is what "
            f"matters for the score after {epochs} epoch{'' if epochs == 1 else 's'}."
        )
    crowded = [p.name for p in parameters if _crowding(p, trials) > _CROWDED]
    if crowded:
        told.append(
            f"most trials lie in a small part of the range of {', '.join(crowded)}: what happens elsewhere "
            "rests on few, and the order behind the first is uncertain."
        )
    if len(trials) > ROWS:
        told.append(f"each draw takes {ROWS} of the {len(trials)} trials: intervals are those of so many.")
    return told


def _crowding(parameter: Parameter, trials: Sequence[TrialRecord]) -> float:
    """The share of trials in the most crowded quarter of a range; 0 for what has no order."""
    values = [value for trial in trials if (value := trial.params.get(parameter.name)) is not None]
    places = np.array([coordinate(parameter, value) for value in values])
    low, high = bounds(parameter)
    if is_categorical(parameter):
        return 0.0
    parts = np.minimum((places - low) / (high - low) * _QUARTERS, _QUARTERS - 1).astype(int)
    return float(np.bincount(parts).max() / len(parts))
