"""What to search next, in plain sentences, each with the numbers that it rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from search_spaces import ChoiceParameter, Parameter, SearchSpace
from tuning.analysis.baseline import tried_values
from tuning.analysis.edges import edge
from tuning.analysis.failures import failure_regions
from tuning.analysis.importance import FEWEST_TRIALS, Importances, ParameterImportance, comparable_trials
from tuning.analysis.leaders import leaders
from tuning.ranking import format_value
from tuning.record import StudyRecord, TrialRecord

_PER_PARAMETER = 10  # trials, that a ranking of parameters takes
_SURELY_SMALL = 0.1  # share
_PER_DEAD = 15  # trials
_FEWEST_ACTIVE = 10
_TOP_THIRD = 1 / 3
_CHANCE = 0.01


@dataclasses.dataclass(frozen=True)
class Advice:
    """One thing to do next.

    Attributes:
        kind: `edge`, `dead`, `never_good`, `improving`, `exhausted`, `few_trials`, `failures`, `tied` or `starved`.
        parameter: that it is about; empty for the study as a whole.
        sentence: what was seen, and what follows from it.
    """

    kind: str
    parameter: str
    sentence: str


def advise(record: StudyRecord, importances: Importances) -> list[Advice]:
    """Returns what a study suggests to search next; empty if it says nothing about that.

    Args:
        record: of the study, finished or not.
        importances: of its parameters.
    """
    try:
        space = SearchSpace.model_validate(record.started.definition)
    except ValueError:  # of another version of this program
        return []
    trials = comparable_trials(record)
    best = leading(record)
    found: list[Advice] = []
    for parameter in space.parameters:
        importance = importances.of(parameter.name)
        if importance and importance.matters:
            found += [*_at_an_edge(parameter, best), *_never_good(parameter, trials, record)]
        if importance and is_dead(importance, importances):
            found.append(_dead(space, parameter, importance, best))
        found += _starved(parameter, trials)
    return [*found, *_failures(record, space), *_tied(record), *_progress(record, space, trials), *_few(space, trials)]


def leading(record: StudyRecord) -> list[TrialRecord]:
    """Returns the leaders that advice looks at: a tenth of the completed trials, at least 5 and at most 20."""
    return leaders(record, min(max(round(0.1 * record.count("completed")), 5), 20))


def is_dead(importance: ParameterImportance, importances: Importances) -> bool:
    """Returns whether a parameter surely explains little: no more than random numbers do, and at most a tenth.

    From fewer than 15 trials for each parameter nothing of the kind follows: in experiments with 10, parameters were
    taken for dead in half of the cases that counted among the better trials.
    """
    small = not importance.matters and importance.high <= _SURELY_SMALL
    return small and importances.trials >= max(2 * FEWEST_TRIALS, _PER_DEAD * len(importances.parameters))


def fixed_value(space: SearchSpace, parameter: Parameter, best: Sequence[TrialRecord]) -> tuple[Any, str]:
    """Returns the value at which a dead parameter is to be fixed, and whose it is.

    That of the first known configuration, so that the baseline stays as it is: the value does not matter, or the
    parameter would not be dead. Else that of the best trial in which it is active.
    """
    known = space.complete(space.start_with[0]) if space.start_with else {}
    if parameter.name in known:
        return known[parameter.name], "as in the first known configuration"
    values = ((trial, trial.params.get(parameter.name)) for trial in best)
    trial, value = next(((t, v) for t, v in values if v is not None), (None, parameter.effective_default))
    short = parameter.clip(float(f"{value:.2g}")) if isinstance(value, float) else value
    return short if parameter.contains(short) else value, f"as in {trial.trial}" if trial else "its default"


def _at_an_edge(parameter: Parameter, best: Sequence[TrialRecord]) -> Iterator[Advice]:
    values = [value for trial in best if (value := trial.params.get(parameter.name)) is not None]
    found = edge(parameter, values)
    if found is None or found.beyond is None:
        return
    domain = parameter.domain()
    listed = isinstance(parameter, ChoiceParameter) or (domain is not None and len(domain) <= 10)
    ends: Sequence[Any] = parameter.values if isinstance(parameter, ChoiceParameter) else (parameter.min, parameter.max)
    end, other = (ends[0], ends[-1]) if found.side == "low" else (ends[-1], ends[0])
    where = "at" if listed else "in the outermost tenth of its range, towards"
    yield Advice(
        "edge",
        parameter.name,
        f"{parameter.name}: {found.count} of the {found.of} leaders lie {where} {format_value(end)}, its "
        f"{'smallest' if end < other else 'largest'} value; the best may lie beyond it: search to "
        f"{format_value(found.beyond)}.",
    )


def _dead(
    space: SearchSpace, parameter: Parameter, importance: ParameterImportance, best: Sequence[TrialRecord]
) -> Advice:
    value, whose = fixed_value(space, parameter, best)
    return Advice(
        "dead",
        parameter.name,
        f"{parameter.name}: explains {importance.share:.1%} of the differences (at most {importance.high:.1%}), among "
        f"the better half of the trials no more than random numbers do; fix it at {format_value(value)}, {whose}.",
    )


def _never_good(parameter: Parameter, trials: Sequence[TrialRecord], record: StudyRecord) -> Iterator[Advice]:
    """Choices that were tried often enough to get among the best third, and never did."""
    if not isinstance(parameter, ChoiceParameter):
        return
    ranked = _by_score(trials, record)
    third = {trial.trial for trial in ranked[: max(round(len(ranked) * _TOP_THIRD), 1)]}
    for value in parameter.values:
        tried = [trial for trial in trials if trial.params.get(parameter.name) == value]
        chance = (1 - _TOP_THIRD) ** len(tried)
        if chance < _CHANCE and not any(trial.trial in third for trial in tried):
            yield Advice(
                "never_good",
                parameter.name,
                f"{parameter.name}: {format_value(value)} was tried {len(tried)} times and never came among the best "
                f"third of the {len(trials)} trials; leave it out.",
            )


def _starved(parameter: Parameter, trials: Sequence[TrialRecord]) -> Iterator[Advice]:
    active = sum(trial.params.get(parameter.name) is not None for trial in trials)
    if not parameter.when or active >= _FEWEST_ACTIVE or len(trials) < 2 * _FEWEST_ACTIVE:
        return
    parents = " and ".join(parameter.when)
    yield Advice(
        "starved",
        parameter.name,
        f"{parameter.name}: was active in {active} of {len(trials)} trials, too few to say what it does; if it is of "
        f"interest, fix {parents} where it is active.",
    )


def _failures(record: StudyRecord, space: SearchSpace) -> Iterator[Advice]:
    for region in failure_regions(record, space):
        yield Advice(
            "failures",
            region.parameter,
            f"{region.parameter} {region.where}: {region.failed} of {region.tried} trials failed there, "
            f"{region.elsewhere} of {region.others} elsewhere ({region.cause}); leave that region out.",
        )


def _tied(record: StudyRecord) -> Iterator[Advice]:
    tied = [place.trial for place in record.places if place.tied]
    if len(record.places) > 1 and tied:
        seeds, top = 2 * int(record.confirm.get("seeds", 2)), record.confirm.get("top", len(record.places))
        names = ", ".join(dict.fromkeys([record.places[0].trial, *tied]))
        yield Advice(
            "tied",
            "",
            f"{names}: the confirmation could not tell them apart; confirm them with more seeds or folds: "
            f"tune confirm {record.started.study} --top {top} --seeds {seeds}.",
        )
        return
    best = record.best()
    interval = best.intervals.get(record.started.objective) if best and not record.places else None
    if best is None or not interval or None in interval:
        return
    low, high = interval
    within = [
        t
        for t in leaders(record, len(record.searched))
        if t is not best and t.score is not None and low <= t.score <= high  # type: ignore[operator]
    ]
    if within:
        yield Advice(
            "tied",
            "",
            f"{len(within)} other trial{'s' if len(within) > 1 else ''} scored within the 95 % interval of the best, "
            f"{best.trial} ({low:.3f} to {high:.3f}); confirm the leaders before choosing: "
            f"tune confirm {record.started.study}.",
        )


def _progress(record: StudyRecord, space: SearchSpace, trials: Sequence[TrialRecord]) -> Iterator[Advice]:
    """Whether the end of the search still gained something; rungs of Hyperband are not drawn one like the other."""
    if len(trials) < 2 * _FEWEST_ACTIVE or any(trial.config.get("stop_after") for trial in trials):
        return
    if len({repr(tried_values(trial)) for trial in record.searched if trial.over}) == space.size():
        yield Advice("exhausted", "", f"all {space.size()} configurations of the space were tried: search a wider one.")
        return
    earlier = trials[: len(trials) - len(trials) // 4]
    best, before = _by_score(trials, record)[0], _by_score(earlier, record)[0]
    count = len(trials) - len(earlier)
    if best.trial == before.trial:
        yield Advice(
            "exhausted",
            "",
            f"none of the last {count} of {len(trials)} completed trials was better than {best.trial}; that alone is "
            "no proof (of trials drawn at random it happens in 3 of 4 studies), but a narrowed space promises more.",
        )
        return
    gain = abs((best.score or 0.0) - (before.score or 0.0))
    yield Advice(
        "improving",
        "",
        f"the last {count} of {len(trials)} completed trials gained {gain:.4f} ({best.trial} over {before.trial}), "
        f"{_size_of(gain, best, record.started.objective)}the search may not have been at its end: "
        f"tune resume {record.started.study} --trials {2 * record.trials_wanted}.",
    )


def _size_of(gain: float, best: TrialRecord, objective: str) -> str:
    """How a gain compares with what the images alone leave open, if that is known."""
    low, high = best.intervals.get(objective) or (None, None)
    if low is None or high is None:
        return ""
    return "less than these images can tell; " if gain < (high - low) / 2 else ""


def _few(space: SearchSpace, trials: Sequence[TrialRecord]) -> Iterator[Advice]:
    needed = _PER_PARAMETER * len(space.parameters)
    if len(trials) < needed:
        yield Advice(
            "few_trials",
            "",
            f"too few completed trials, {len(trials)} for {len(space.parameters)} searched: which parameters matter is "
            f"known from about {needed}.",
        )


def _by_score(trials: Sequence[TrialRecord], record: StudyRecord) -> list[TrialRecord]:
    sign = -1 if record.started.direction == "max" else 1
    return sorted(trials, key=lambda trial: (sign * (trial.score or 0.0), trial.number))
