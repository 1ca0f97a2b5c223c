"""Names and values of a space against the settings that exist, which the caller knows and this package does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from search_spaces.parameters import FloatParameter
from search_spaces.problems import KeyPath, Problem, suggestion
from search_spaces.rules import Draft
from search_spaces.scalars import Scalar, is_scalar

Check = Mapping[str, Callable[[object], str | None]]
"""For each legal name, what is wrong with a value as a sentence that names the setting, or None."""

_INSIDE = 0.381966  # an odd place in a range, to find settings that take whole numbers only


def unknown_names(draft: Draft, check: Check) -> list[Problem]:
    """Returns every name, searched or fixed, that `check` does not know."""
    paths: list[KeyPath] = [("parameters", name) for name in draft.declared]
    paths += [("fixed", name) for name in draft.fixed]
    names = [(path, str(path[-1])) for path in paths]
    return [
        Problem(path, f"{name}: no such setting; {suggestion(name, check)}")
        for path, name in names
        if name not in check
    ]


def refused_values(draft: Draft, specs: Mapping[str, object], check: Check) -> list[Problem]:
    """Returns every value that `check` refuses.

    Args:
        draft: the sound parts of a space.
        specs: the parameters as the file has them, because unsound ones hold values too.
        check: see `Check`.
    """
    return [
        Problem(path, refusal)
        for path, name, value in _values(draft, specs)
        if name in check and (refusal := check[name](value))
    ]


def _values(draft: Draft, specs: Mapping[str, object]) -> Iterator[tuple[KeyPath, str, Scalar]]:
    for name, value in draft.fixed.items():
        yield ("fixed", name), name, value
    for name, spec in specs.items():
        for path, value in _written(spec):
            yield ("parameters", name, *path), name, value
    for parameter in draft.parameters:
        if isinstance(parameter, FloatParameter):
            inside = parameter.min + _INSIDE * (parameter.max - parameter.min)
            yield ("parameters", parameter.name, "type"), parameter.name, parameter.clip(inside)
    for place, entry in draft.start_with.items():
        for name, value in entry.items():
            yield ("start_with", place, name), name, value


def _written(spec: object) -> Iterator[tuple[KeyPath, Scalar]]:
    """The values in a parameter as the file has it."""
    if not isinstance(spec, dict):
        return
    for key in ("min", "max", "default"):
        if key in spec and is_scalar(spec[key]):
            yield (key,), spec[key]
    values = spec.get("values")
    for place, value in enumerate(values if isinstance(values, list) else ()):
        if is_scalar(value):
            yield ("values", place), value
