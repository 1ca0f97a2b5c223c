"""A study's space, narrowed around its leaders."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pneumo_core.errors import StudyError
from search_spaces import ChoiceParameter, Parameter, SearchSpace
from tuning.analysis.advice import fixed_value, is_dead, leading
from tuning.analysis.coding import bounds, coordinate, is_categorical, is_listed, value_at
from tuning.analysis.edges import edge, rounded_outwards
from tuning.analysis.importance import Importances
from tuning.analysis.leaders import DEFAULT_TOP, fitted, leaders
from tuning.analysis.space_text import space_text
from tuning.ranking import format_value
from tuning.record import StudyRecord, TrialRecord

FEWEST_LEADERS = 3
"""With fewer leaders that have a parameter, its range stays as it is."""

_MARGIN = 0.1  # of the range, on either side of the leaders
_CHANCE = 0.05  # a choice stays if leaders drawn at random would miss it more often than this


@dataclasses.dataclass(frozen=True)
class Narrowed:
    """A narrowed space and why it is as it is.

    Attributes:
        space: that is to be searched next.
        reasons: a sentence for each parameter of the old space.
        entries: where each of its first configurations comes from.
    """

    space: SearchSpace
    reasons: Mapping[str, str]
    entries: Sequence[str]

    def text(self) -> str:
        """Returns the space as a YAML file with the reasons as comments."""
        return space_text(self.space, self.reasons, self.entries)


def narrowed(record: StudyRecord, importances: Importances, top: int | None = None) -> Narrowed:
    """Narrows a study's space around its leaders.

    Ranges are cut to the leaders with a margin, and widened where the leaders crowd at an end; choices that no leader
    has are dropped; parameters that do nothing are fixed. The first known configuration, the baseline, stays within
    reach whatever the leaders are: what it has is never cut off.

    Args:
        record: of the study.
        importances: of its parameters.
        top: how many leaders; a tenth of the completed trials, at least 5 and at most 20, if None.

    Raises:
        StudyError: if fewer than three trials completed, none is better than another, or the space is of another
            version.
    """
    try:
        space = SearchSpace.model_validate(record.started.definition)
    except ValueError as error:
        raise StudyError(f"study {record.started.study}: its space is of another version ({error}).") from error
    best = leading(record) if top is None else leaders(record, top)
    if len(best) < FEWEST_LEADERS:
        raise StudyError(
            f"study {record.started.study}: expected at least {FEWEST_LEADERS} completed trials of different "
            f"configurations to narrow its space around, got {len(best)}."
        )
    if len({trial.score for trial in record.searched if trial.status == "completed"}) == 1:
        raise StudyError(
            f"study {record.started.study}: all its completed trials have the same score, so none of them leads; "
            "expected different ones to narrow its space around."
        )
    return _Narrowing(record, space, importances, best).result()


class _Narrowing:
    """One narrowing, parameter by parameter."""

    def __init__(
        self, record: StudyRecord, space: SearchSpace, importances: Importances, best: Sequence[TrialRecord]
    ) -> None:
        self._record, self._space, self._importances, self._best = record, space, importances, best
        self._known = space.complete(space.start_with[0]) if space.start_with else {}
        self._fixed: dict[str, Any] = {}
        self._reasons: dict[str, str] = {}
        self._parameters: list[Parameter] = []

    def result(self) -> Narrowed:
        for parameter in self._space.parameters:
            self._take(parameter)
        draft = self._space.with_fixed(self._effective())
        content = {name: getattr(draft, name) for name in type(draft).model_fields} | {
            "name": _next_name(self._space.name),
            "description": self._description(),
            "parameters": _conditioned(draft.parameters, self._parameters, self._space.parameters),
            "start_with": (),
        }
        entries, sources = self._first(SearchSpace.model_validate(content))
        return Narrowed(SearchSpace.model_validate(content | {"start_with": entries}), self._reasons, sources)

    def _effective(self) -> dict[str, Any]:
        """The fixed values, without those of parameters whose condition can no longer hold."""
        whens = {parameter.name: parameter.when for parameter in self._space.parameters}
        return {
            name: value
            for name, value in self._fixed.items()
            if all(self._fixed.get(parent, allowed[0]) in allowed for parent, allowed in whens[name].items())
        }

    def _first(self, space: SearchSpace) -> tuple[tuple[Mapping[str, Any], ...], list[str]]:
        """The configurations to try first: the baseline, then the leaders."""
        entries: list[Mapping[str, Any]] = []
        sources: list[str] = []
        names = {parameter.name for parameter in space.parameters}
        if self._known:
            entries.append(space.complete({name: value for name, value in self._known.items() if name in names}))
            sources.append(f"the baseline: the first known configuration of {self._space.name}")
        for trial in self._best[:DEFAULT_TOP]:
            entry, _, missing = fitted(space, trial.config)
            if not missing and entry not in entries:
                entries.append(entry)
                sources.append(f"{trial.trial} of {self._record.started.study}, {trial.score:.4f}")
        return tuple(entry for entry in entries if entry), sources

    def _description(self) -> str:
        started, first = self._record.started, self._best[0]
        reached = (
            f"{first.confirmed.score:.4f} when confirmed" if first.confirmed else f"{first.score:.4f} in the search"
        )
        return (
            f"Narrowed from the space {self._space.name} around the {len(self._best)} best trials of the study "
            f"{started.study}, of {self._record.count('completed')} completed ones; the first, {first.trial}, reached "
            f"{started.objective} {reached}." + self._uncertainty()
        )

    def _uncertainty(self) -> str:
        if self._importances.reason:
            return f" Which parameters mattered is not known: {self._importances.reason}"
        if not any(one.matters for one in self._importances.parameters):
            return " No parameter was seen to matter, so the leaders may lie where they do by chance."
        return ""

    def _take(self, parameter: Parameter) -> None:
        """Decides what becomes of one parameter."""
        name, importance = parameter.name, self._importances.of(parameter.name)
        if importance and is_dead(importance, self._importances) and self._is_free(parameter):
            self._fixed[name], whose = fixed_value(self._space, parameter, self._best)
            self._reasons[name] = (
                f"fixed, {whose}: explained {importance.share:.1%} of the differences, no more than random numbers do"
            )
            return
        values = [value for trial in self._best if (value := trial.params.get(name)) is not None]
        if len(values) < FEWEST_LEADERS:
            self._reasons[name] = f"as it was: active in {len(values)} of the {len(self._best)} leaders"
            self._parameters.append(parameter)
        elif isinstance(parameter, ChoiceParameter):
            self._choose(parameter, values)
        else:
            self._cut(parameter, values)

    def _is_free(self, parameter: Parameter) -> bool:
        """Whether nothing that matters depends on the parameter's value."""
        children = [other for other in self._space.parameters if parameter.name in other.when]
        found = (self._importances.of(child.name) for child in children)
        return all(one is not None and is_dead(one, self._importances) for one in found)

    def _choose(self, parameter: ChoiceParameter, values: Sequence[Any]) -> None:
        """Drops choices that are far from all leaders."""
        kept, reason = (_unordered if is_categorical(parameter) else _ordered)(
            parameter, values, self._tried(parameter)
        )
        known = self._known.get(parameter.name)
        if known is not None and known not in kept:
            new = [value for value in kept if value not in parameter.values]
            order = [*new, *parameter.values] if kept[0] in new else [*parameter.values, *new]
            kept = [value for value in order if value in kept or value == known]
            reason += f"; {format_value(known)} stays for the baseline"
        self._reasons[parameter.name] = reason
        if len(kept) == 1:
            self._fixed[parameter.name] = kept[0]
        else:
            default = parameter.default if parameter.default in kept else None
            self._parameters.append(parameter.model_copy(update={"values": tuple(kept), "default": default}))

    def _tried(self, parameter: Parameter) -> Mapping[Any, int]:
        done = [trial.params.get(parameter.name) for trial in self._record.searched if trial.over]
        return {value: done.count(value) for value in parameter.domain() or ()}

    def _cut(self, parameter: Any, values: Sequence[Any]) -> None:
        """Cuts a range to the leaders, with a margin."""
        at = [coordinate(parameter, value) for value in values]
        low, high = bounds(parameter)
        margin = max(_MARGIN * (high - low), 1.0 if is_listed(parameter) else 0.0)
        ends: dict[str, Any] = {"min": parameter.min, "max": parameter.max}
        reason = _held(min(values), max(values))
        if min(at) - margin > low:
            ends["min"] = self._end(parameter, min(at) - margin, "low")
        if max(at) + margin < high:
            ends["max"] = self._end(parameter, max(at) + margin, "high")
        crowd = edge(parameter, values)
        if crowd and crowd.beyond is not None:
            ends["min" if crowd.side == "low" else "max"] = crowd.beyond
            reason += f", {crowd.count} of {crowd.of} at the {crowd.side} end; widened to {format_value(crowd.beyond)}"
        known = self._known.get(parameter.name)
        if known is not None and not ends["min"] <= known <= ends["max"]:
            ends["min" if known < ends["min"] else "max"] = known
            reason += f"; up to the baseline's {format_value(known)}"
        if ends == {"min": parameter.min, "max": parameter.max}:
            reason += ", all over the range; as it was"
        else:
            reason += f"; was {format_value(parameter.min)} to {format_value(parameter.max)}"
        default = parameter.default
        inside = default is not None and ends["min"] <= default <= ends["max"]
        self._reasons[parameter.name] = reason
        self._parameters.append(parameter.model_copy(update={**ends, "default": default if inside else None}))

    def _end(self, parameter: Any, at: float, side: Any) -> Any:
        """An end of a range in round numbers, inside of the old one; one of the values where they have steps."""
        value = value_at(parameter, at)
        if is_listed(parameter) or parameter.type == "int":
            return value
        return min(max(rounded_outwards(value, side), parameter.min), parameter.max)


def _held(low: Any, high: Any) -> str:
    return f"leaders have {format_value(low)}" + ("" if low == high else f" to {format_value(high)}")


def _unordered(parameter: ChoiceParameter, values: Sequence[Any], tried: Mapping[Any, int]) -> tuple[list[Any], str]:
    total = sum(tried.values())
    missed = {value: (1 - count / total) ** len(values) for value, count in tried.items()}
    kept = [value for value in parameter.values if value in values or missed[value] >= _CHANCE]
    dropped = [value for value in parameter.values if value not in kept]
    if not dropped:
        return kept, "as it was: leaders have all of it, or may lack some by chance"
    without = ", ".join(f"{format_value(value)} (tried {tried[value]} times)" for value in dropped)
    return kept, f"no leader has {without}"


def _ordered(parameter: ChoiceParameter, values: Sequence[Any], tried: Mapping[Any, int]) -> tuple[list[Any], str]:
    """The leaders' values, what lies between, and one neighbour on either side."""
    places = [parameter.values.index(value) for value in values]
    first, last = max(min(places) - 1, 0), min(max(places) + 1, len(parameter.values) - 1)
    kept: list[Any] = list(parameter.values[first : last + 1])
    reason = _held(parameter.values[min(places)], parameter.values[max(places)])
    crowd = edge(parameter, values)
    if crowd and crowd.beyond is not None:
        kept = [crowd.beyond, *kept] if crowd.side == "low" else [*kept, crowd.beyond]
        reason += f", {crowd.count} of {crowd.of} at the {crowd.side} end; {format_value(crowd.beyond)} is new"
    dropped = [format_value(value) for value in parameter.values if value not in kept]
    return kept, reason + (f"; without {', '.join(dropped)}" if dropped else "")


def _conditioned(
    left: Sequence[Parameter], narrowed: Sequence[Parameter], before: Sequence[Parameter]
) -> tuple[Parameter, ...]:
    """The narrowed parameters that are left, with conditions that their narrowed parents can fulfil.

    A value that is new at the end of a parent's list counts as its neighbour does. Where no value of a parent fulfils a
    condition, the parameter goes.
    """
    domains = {parameter.name: parameter for parameter in narrowed}
    old = {parameter.name: parameter for parameter in before}
    found: dict[str, Parameter] = {}
    for parameter in left:
        when = {
            parent: _allowed(list(domains[parent].domain() or ()), allowed, old[parent])
            for parent, allowed in parameter.when.items()
            if parent in found
        }
        if len(when) == len(parameter.when) and all(when.values()):
            found[parameter.name] = domains[parameter.name].model_copy(update={"when": when})
    return tuple(found.values())


def _allowed(domain: Sequence[Any], allowed: Sequence[Any], old: Parameter) -> tuple[Any, ...]:
    known = [value for value in domain if old.contains(value)]
    nearest = {value: min(known, key=lambda other: abs(other - value)) for value in domain if value not in known}
    return tuple(value for value in domain if nearest.get(value, value) in allowed)


def _next_name(name: str) -> str:
    """`vgg16-narrow`, then `vgg16-narrow2` and so on."""
    found = re.fullmatch(r"(.*-narrow)(\d*)", name)
    return f"{found[1]}{int(found[2] or 1) + 1}" if found else f"{name}-narrow"
