"""Single values: what a plain word in a space file stands for, and when two values are the same."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

from search_spaces.errors import SpaceError

Scalar = bool | int | float | str

# The core schema of YAML 1.2, which editors and JSON Schema follow. PyYAML follows YAML 1.1, which takes `1e-4` for a
# word, `010` for eight and `12:30` for 750.
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_FLAGS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE)
_AMBIGUOUS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_MAX_DIGITS = 18  # what fits 64 bits; int() of a very long text is slow or refused


def read_scalar(text: str) -> Scalar | None:
    """Reads an unquoted value as a space file does.

    Args:
        text: such as `true`, `0.5`, `1e-4` or `random`.

    Returns:
        The boolean, number or text meant; None where nothing is (`null`, `~`, an empty text).

    Raises:
        SpaceError: for what YAML readers disagree about (`yes`, `no`, `on`, `off`), and for numbers that are not
            finite or too long.
    """
    if text in _NOTHING:
        return None
    if text in _FLAGS:
        return _FLAGS[text]
    if text.lower() in _AMBIGUOUS:
        raise SpaceError(
            f"{text} is true or false to some YAML readers and a word to others; "
            f"write {_AMBIGUOUS[text.lower()]}, or '{text}' in quotes for the word"
        )
    return _read_number(text)


def _read_number(text: str) -> int | float | str:
    if _WHOLE.fullmatch(text) and len(text) <= _MAX_DIGITS:
        return int(text)
    if _WHOLE.fullmatch(text):
        raise SpaceError(f"expected a number of at most {_MAX_DIGITS} digits, got one of {len(text)}")
    if _NOT_FINITE.fullmatch(text):
        raise SpaceError(f"expected a finite number, got {text}")
    if not _REAL.fullmatch(text):
        return text
    number = float(text)
    if not math.isfinite(number):
        raise SpaceError(f"expected a finite number, got {text[:40]}")
    return number


def is_scalar(value: object) -> bool:
    """Returns whether a value is a text, a finite number or a boolean."""
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))


def identity(value: object) -> tuple[bool, object]:
    """Returns what two equal values have in common: `1` and `1.0` are equal, `1` and `true` are not."""
    return isinstance(value, bool), value


def kind(value: Scalar) -> str:
    """Returns what sort of value this is, in words."""
    if isinstance(value, bool):
        return "true or false"
    return "a word" if isinstance(value, str) else "a number"


def _require_scalar(value: object) -> object:
    if not is_scalar(value):
        raise ValueError(f"expected a word, a number, or true or false, got {describe(value)}")
    return value


def describe(value: object) -> str:
    """Returns a value that came from a file as people would name it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


ScalarField = Annotated[Scalar, BeforeValidator(_require_scalar)]
"""`Scalar` as the type of a model's field: one error for a value that is none, not one for each kind it could be."""
