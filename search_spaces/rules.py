"""What must hold between the parts of a space; each part by itself is checked by its own type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from search_spaces.conditions import complete
from search_spaces.parameters import FloatParameter, Parameter
from search_spaces.problems import KeyPath, Problem, problem_at, suggestion
from search_spaces.scalars import Scalar, describe, identity


@dataclasses.dataclass(frozen=True)
class Draft:
    """The parts of a space that are sound by themselves, whatever is wrong with the others.

    Attributes:
        declared: names of all parameters in their order, unsound ones included.
        parameters: the sound ones.
        conditions: of all parameters that have any, unsound ones included.
        fixed: values that are not searched.
        start_with: known configurations, by their position in the file.
        algorithm: that searches.
    """

    declared: Sequence[str]
    parameters: Sequence[Parameter]
    conditions: Mapping[str, Mapping[str, Sequence[Scalar]]]
    fixed: Mapping[str, Scalar]
    start_with: Mapping[int, Mapping[str, Scalar]]
    algorithm: str


def broken_rules(draft: Draft) -> list[Problem]:
    """Returns everything that the parts of a space have against each other."""
    return [*_names(draft), *_conditions(draft), *_grid(draft), *_starting_points(draft)]


def _names(draft: Draft) -> Iterator[Problem]:
    for place, name in enumerate(draft.declared):
        if name in draft.declared[:place]:
            yield problem_at(("parameters", name), "declared twice")
        if name == "seed":
            yield problem_at(("parameters", name), "cannot be searched; a study has one seed, at the top level")
    for name in draft.fixed:
        if name in draft.declared:
            yield problem_at(("fixed", name), "is also searched, under parameters; leave one of them out")
        if name == "seed":
            yield problem_at(("fixed", name), "belongs to the top level, beside `trials`")


def _conditions(draft: Draft) -> Iterator[Problem]:
    for name, when in draft.conditions.items():
        for parent, allowed in when.items():
            path: KeyPath = ("parameters", name, "when", parent)
            misplaced = _parent_problem(draft, name, parent)
            if misplaced:
                yield problem_at(path, misplaced)
            else:
                yield from _condition_values(draft, path, parent, allowed)


def _parent_problem(draft: Draft, name: str, parent: str) -> str | None:
    if parent in draft.fixed and parent not in draft.declared:
        return "is fixed, so the condition decides nothing; leave it out"
    if parent not in draft.declared:
        return f"no such parameter; {suggestion(parent, [other for other in draft.declared if other != name])}"
    if draft.declared.index(parent) >= draft.declared.index(name):
        return f"must be declared before {name}"
    if any(isinstance(other, FloatParameter) and other.name == parent for other in draft.parameters):
        return "is a float; a condition needs a choice or an int"
    return None


def _condition_values(draft: Draft, path: KeyPath, parent: str, allowed: Sequence[Scalar]) -> Iterator[Problem]:
    for other in draft.parameters:
        if other.name == parent:
            for place, value in enumerate(allowed):
                if not other.contains(value):
                    yield problem_at((*path, place), f"expected {other.describe_domain()}, got {describe(value)}")


def _grid(draft: Draft) -> Iterator[Problem]:
    if draft.algorithm != "grid":
        return
    for parameter in draft.parameters:
        if parameter.domain() is None:
            log = isinstance(parameter, FloatParameter) and parameter.log
            remedy = "list its values as a choice" if log else "give it a step"
            yield problem_at(("parameters", parameter.name), f"the grid algorithm needs a finite list; {remedy}")


def _starting_points(draft: Draft) -> Iterator[Problem]:
    problems = [
        problem_at(("start_with", place, name), problem)
        for place, entry in draft.start_with.items()
        for name, value in entry.items()
        if (problem := starting_value_problem(draft, name, value))
    ]
    yield from problems
    if not problems and len(draft.parameters) == len(draft.declared):
        yield from _repetitions(draft)


def starting_value_problem(draft: Draft, name: str, value: Scalar) -> str | None:
    """Returns what is wrong with a value of a starting point, or None."""
    if name in draft.declared:
        parameter = next((other for other in draft.parameters if other.name == name), None)
        if parameter is None or parameter.contains(value):
            return None
        return f"expected {parameter.describe_domain()}, got {describe(value)}"
    if name not in draft.fixed:
        return f"is neither searched nor fixed; {suggestion(name, dict.fromkeys([*draft.declared, *draft.fixed]))}"
    if identity(draft.fixed[name]) != identity(value):
        return f"is fixed at {describe(draft.fixed[name])}, got {describe(value)}; search it, or leave it out here"
    return None


def _repetitions(draft: Draft) -> Iterator[Problem]:
    seen: dict[frozenset[tuple[str, Scalar]], int] = {}
    for place, entry in draft.start_with.items():
        key = frozenset(complete(draft.parameters, entry).items())
        if key in seen:
            yield problem_at(("start_with", place), f"is the same configuration as start_with[{seen[key]}]")
        seen.setdefault(key, place)
