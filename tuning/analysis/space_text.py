"""A search space as the text of a file that people can read and change, with reasons beside its parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces import Parameter, SearchSpace, SpaceError, read_scalar

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
_WIDTH = 118


def space_text(space: SearchSpace, comments: Mapping[str, str], entries: Sequence[str] = ()) -> str:
    """Returns a space as YAML; the loader reads the same space from it.

    Args:
        space: to be written.
        comments: by name of a parameter or fixed setting: a sentence that stands above or behind it.
        entries: a comment for each of `start_with`.
    """
    lines = [
        f"name: {space.name}",
        *_description(space.description),
        f"objective: {space.objective}",
        f"direction: {space.direction}",
        f"algorithm: {space.algorithm}",
        f"trials: {space.trials}",
        f"seed: {space.seed}",
        f"confirm: {_flow(space.confirm.model_dump(exclude_none=True))}",
    ]
    if space.fixed:
        lines += ["", "fixed:"]
        for name, value in space.fixed.items():
            lines += _commented(comments.get(name, ""), f"{name}: {_scalar(value)}")
    if space.parameters:
        lines += ["", "parameters:"]
        for parameter in space.parameters:
            lines += _commented(comments.get(parameter.name, ""), f"{parameter.name}: {_parameter(parameter)}")
    if space.start_with:
        lines += ["", "start_with:"]
        for place, entry in enumerate(space.start_with):
            lines += _commented(entries[place] if place < len(entries) else "", f"- {_flow(entry)}")
    return "\n".join(lines) + "\n"


def _description(text: str) -> list[str]:
    return ["description: >-", *(f"  {line}" for line in _wrapped(text, _WIDTH - 2))] if text else []


def _commented(comment: str, line: str) -> list[str]:
    """A line with the comment above it."""
    return [*(f"  # {part}" for part in _wrapped(comment, _WIDTH - 4)), f"  {line}"]


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _parameter(parameter: Parameter) -> str:
    content = parameter.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    return _flow({"type": parameter.type} | content)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A value as the loader reads it back; a text that looks like something else stands in quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    return value if _PLAIN.fullmatch(value) and _reads_as_itself(value) else json.dumps(value)


def _reads_as_itself(text: str) -> bool:
    try:
        return read_scalar(text) == text
    except SpaceError:
        return False
