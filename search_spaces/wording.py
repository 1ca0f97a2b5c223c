"""pydantic's errors in this package's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from search_spaces.confirmation import Confirmation
from search_spaces.parameters import PARAMETER_TYPES
from search_spaces.problems import KeyPath, Problem, problem_at, suggestion
from search_spaces.scalars import describe

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a mapping (name: value)",
    "mapping_type": "a mapping (name: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (type: …, and what belongs to it)",
    "tuple_type": "a list ([a, b], or a line with a dash for each)",
}


_KEYS_WITHIN: dict[KeyPath, Sequence[str]] = {("confirm",): list(Confirmation.model_fields)}


def explain(
    error: ValidationError,
    names: Sequence[str] = (),
    top_level: Iterable[str] = (),
    within: Mapping[KeyPath, Sequence[str]] = _KEYS_WITHIN,
) -> list[Problem]:
    """Returns what pydantic found, with the path that a file has for it.

    Args:
        error: from validating a `SearchSpace`, or another file's model.
        names: of a space's parameters in their order, because pydantic knows only their positions.
        top_level: keys that a file may have, for suggestions.
        within: keys that its other mappings may have, by their path.
    """
    keys = {(): list(top_level), **within}
    return [problem for detail in error.errors() for problem in _problems(detail, names, keys)]


def _problems(detail: ErrorDetails, names: Sequence[str], keys: Mapping[KeyPath, Sequence[str]]) -> Iterator[Problem]:
    path, kind = _path_and_kind(detail["loc"], names)
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error" if not path:
            for line in str(context["error"]).splitlines():
                yield Problem(path, line)
        case "value_error":
            yield problem_at(path, str(context["error"]))
        case "missing":
            yield Problem(path, problem_at(path[:-1], f"{path[-1]} is missing").message)
        case "union_tag_not_found":
            yield problem_at(path, f"type is missing; one of {', '.join(PARAMETER_TYPES)}")
        case "union_tag_invalid":
            yield problem_at((*path, "type"), f"no such type; {suggestion(str(context['tag']), PARAMETER_TYPES)}")
        case "extra_forbidden":
            known = _keys_of(kind) if kind else keys.get(path[:-1], keys[()])
            yield problem_at(path, f"unknown key; {suggestion(str(path[-1]), known)}")
        case _:
            yield problem_at(path, f"expected {_expected(detail)}, got {describe(detail['input'])}")


def _path_and_kind(location: KeyPath, names: Sequence[str]) -> tuple[KeyPath, str | None]:
    """Turns pydantic's `parameters, 2, float, max` into the file's `parameters, dropout, max`, and `float`."""
    if location[-1:] == ("[key]",):  # what is wrong is the key itself
        location = location[:-1]
    if len(location) < 2 or location[0] != "parameters":
        return location, None
    place, rest = location[1], location[2:]
    name = names[place] if isinstance(place, int) else place
    if rest and rest[0] in PARAMETER_TYPES:
        return ("parameters", name, *rest[1:]), str(rest[0])
    return ("parameters", name, *rest), None


def _keys_of(kind: str) -> list[str]:
    return [key for key in PARAMETER_TYPES[kind].model_fields if key != "name"]


def _expected(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "literal_error":
            return str(context["expected"]).replace("'", "")
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "too_short":
            return "at least one value"
        case "string_too_short":
            return "some text"
        case "string_pattern_mismatch":
            return "letters, digits, dashes and underscores"
        case known:
            return _EXPECTED.get(known, f"something else ({detail['msg']})")
