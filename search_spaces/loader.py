"""From a YAML file to a `SearchSpace`, or to the list of everything that is wrong with the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from search_spaces.document import Document, located, read_document
from search_spaces.errors import SpaceError
from search_spaces.parameters import Parameter, ParameterField
from search_spaces.problems import Problem, problem_at
from search_spaces.rules import Draft, broken_rules
from search_spaces.scalars import Scalar, is_scalar
from search_spaces.schema import SearchSpace
from search_spaces.vocabulary import Check, refused_values, unknown_names
from search_spaces.wording import explain

TOP_LEVEL_KEYS = (*SearchSpace.model_fields, "epochs")
"""What a file may hold; `epochs: 10` at the top is short for `fixed: {epochs: 10}`."""

_PARAMETER: TypeAdapter[Parameter] = TypeAdapter(ParameterField)


def load_space(path: Path, *, check: Check | None = None) -> SearchSpace:
    """Reads a search space.

    Args:
        path: of a YAML file.
        check: for each setting that exists, a function that says what is wrong with a value, or None. Every name that
            is searched or fixed must be among them, and every value in the file must pass. Without it, any name and
            value will do.

    Raises:
        SpaceError: listing all that is wrong with the file as `file:line: what`, in the order of its lines.
    """
    document = read_document(path)
    _spread_epochs(document)
    space, structural = _validate(document.data)
    draft = _draft(document.data)
    problems = [*document.problems, *structural, *broken_rules(draft)]
    if check is not None:
        told = {problem.path for problem in problems}
        refused = refused_values(draft, _specs(document.data), check)
        problems += unknown_names(draft, check) + [problem for problem in refused if problem.path not in told]
    if problems or space is None:
        raise SpaceError(located(path, document, problems))
    return space


def _spread_epochs(document: Document) -> None:
    """Moves the short form `epochs` to where it belongs."""
    here, there = ("epochs",), ("fixed", "epochs")
    if "epochs" not in document.data:
        return
    epochs = document.data.pop("epochs")
    fixed = document.data.setdefault("fixed", {})
    if not isinstance(fixed, dict):
        return
    if "epochs" in fixed:
        message = f"given twice, also on line {document.lines[here]}; leave one of them out"
        document.problems.append(problem_at(there, message, document.lines[there]))
        return
    fixed["epochs"] = epochs
    document.lines[there] = document.lines[here]
    if here in document.unreadable:
        document.unreadable.add(there)


def _validate(data: dict[str, Any]) -> tuple[SearchSpace | None, list[Problem]]:
    """Checks each part by itself; rules between parts are left to `broken_rules`, which knows their lines."""
    specs = _specs(data)
    named = [
        problem_at(("parameters", name, "name"), "unknown key; a parameter's name stands in front of it")
        for name, spec in specs.items()
        if isinstance(spec, dict) and "name" in spec
    ]
    if isinstance(data.get("parameters"), list):
        return None, [problem_at(("parameters",), "expected a mapping (name: {type: …}), got a list")]
    try:
        return SearchSpace.model_validate(data), named
    except ValidationError as error:
        found = explain(error, list(specs), TOP_LEVEL_KEYS)
        return None, named + [problem for problem in found if problem.path]


def _draft(data: dict[str, Any]) -> Draft:
    """The sound parts, so that one mistake does not hide the others."""
    specs, start_with = _specs(data), data.get("start_with")
    entries = start_with if isinstance(start_with, list) else []
    return Draft(
        declared=list(specs),
        parameters=[parameter for name, spec in specs.items() if (parameter := _sound_parameter(name, spec))],
        conditions={name: _conditions(spec) for name, spec in specs.items()},
        fixed=_scalars(data.get("fixed")),
        start_with={place: _scalars(entry) for place, entry in enumerate(entries) if isinstance(entry, dict)},
        algorithm=str(data.get("algorithm")),
    )


def _specs(data: dict[str, Any]) -> dict[str, Any]:
    specs = data.get("parameters")
    return specs if isinstance(specs, dict) else {}


def _conditions(spec: object) -> dict[str, list[Scalar]]:
    when = spec.get("when") if isinstance(spec, dict) else None
    listed = when.items() if isinstance(when, dict) else ()
    return {
        parent: [value for value in values if is_scalar(value)] for parent, values in listed if isinstance(values, list)
    }


def _sound_parameter(name: str, spec: object) -> Parameter | None:
    if not isinstance(spec, dict):
        return None
    try:
        return _PARAMETER.validate_python({**spec, "name": name})
    except ValidationError:
        return None


def _scalars(mapping: object) -> dict[str, Scalar]:
    return {name: value for name, value in mapping.items() if is_scalar(value)} if isinstance(mapping, dict) else {}
