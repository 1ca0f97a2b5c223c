"""Which parameters of a space are searched under which values, and what follows from that."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from search_spaces.parameters import Parameter
from search_spaces.scalars import Scalar, identity

_ANY_OTHER = object()  # stands for all values of a parameter that no condition names


def active(parameters: Sequence[Parameter], values: Mapping[str, Scalar]) -> tuple[Parameter, ...]:
    """Returns the parameters whose conditions hold; a value counts only if its own parameter is active."""
    chosen: dict[str, Scalar] = {}
    found = []
    for parameter in parameters:
        if parameter.holds(chosen):
            found.append(parameter)
            if parameter.name in values:
                chosen[parameter.name] = values[parameter.name]
    return tuple(found)


def complete(parameters: Sequence[Parameter], partial: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Returns a whole configuration: active parameters as given or by default, inactive ones left out."""
    chosen: dict[str, Scalar] = {}
    for parameter in parameters:
        if parameter.holds(chosen):
            given = parameter.name in partial
            chosen[parameter.name] = parameter.clip(partial[parameter.name]) if given else parameter.effective_default
    return chosen


def resolve(parameters: Sequence[Parameter], fixed: Mapping[str, Scalar]) -> tuple[Parameter, ...]:
    """Returns what is left to search once some values are fixed.

    Conditions on fixed values disappear where they hold. Where they cannot hold, the parameter does, and with it those
    that depend on it.
    """
    left: dict[str, Parameter] = {}
    for parameter in parameters:
        open_parents = {parent: allowed for parent, allowed in parameter.when.items() if parent not in fixed}
        decided = {parent: allowed for parent, allowed in parameter.when.items() if parent in fixed}
        possible = all(identity(fixed[parent]) in map(identity, allowed) for parent, allowed in decided.items())
        if parameter.name not in fixed and possible and open_parents.keys() <= left.keys():
            left[parameter.name] = parameter.model_copy(update={"when": open_parents})
    return tuple(left.values())


def count(parameters: Sequence[Parameter]) -> int | None:
    """Returns the number of different configurations, or None if there is no end to them."""
    if any(parameter.domain() is None for parameter in parameters):
        return None

    @functools.cache
    def ways(place: int, chosen: frozenset[tuple[str, object]]) -> int:
        if place == len(parameters):
            return 1
        parameter, later = parameters[place], parameters[place + 1 :]
        known = dict(chosen)
        if not parameter.holds(known):
            return ways(place + 1, _still_asked_for(later, known))
        return sum(
            number * ways(place + 1, _still_asked_for(later, {**known, parameter.name: value}))
            for value, number in _told_apart(parameter, later)
        )

    return ways(0, frozenset())


def _told_apart(parameter: Parameter, later: Sequence[Parameter]) -> list[tuple[object, int]]:
    """The values that later conditions name, once each, and how many others there are."""
    named = {identity(value): value for child in later for value in child.when.get(parameter.name, ())}
    others = len(parameter.domain() or ()) - len(named)
    groups: list[tuple[object, int]] = [(value, 1) for value in named.values()]
    return [*groups, (_ANY_OTHER, others)] if others else groups


def _still_asked_for(later: Sequence[Parameter], chosen: Mapping[str, object]) -> frozenset[tuple[str, object]]:
    return frozenset((name, value) for name, value in chosen.items() if any(name in child.when for child in later))
