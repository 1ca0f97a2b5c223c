"""Conditions on trials, as `--where 'dropout<0.3'` states them.

A condition is a name, one of `=  !=  <  <=  >  >=`, and a value; `==` is `=`. There is no `and`: conditions are given
one by one, and all must hold. What has no value (an inactive parameter, the score of a failed trial, a metric that is
undefined) fulfils no condition, not even `!=`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence

from pneumo_core.errors import StudyError
from search_spaces.problems import suggestion

Value = str | float | bool
Facts = Mapping[str, object]
"""What is known of a trial, by name; None for what has no value."""

_CONDITION = re.compile(r"\s*(?P<name>[A-Za-z_]\w*)\s*(?P<sign>==|!=|<=|>=|=|<|>)\s*(?P<value>[^<>=!]+?)\s*")
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": lambda one, other: one < other and not math.isclose(one, other),
    "<=": lambda one, other: one < other or is_same(one, other),
    ">": lambda one, other: one > other and not math.isclose(one, other),
    ">=": lambda one, other: one > other or is_same(one, other),
}
_TRUTHS = {"true": True, "false": False}
_FORM = "expected a name, one of = != < <= > >=, and a value"


@dataclasses.dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        name: of a parameter, a metric, or another fact about a trial.
        sign: `=`, `!=`, `<`, `<=`, `>` or `>=`.
        value: to compare with.
    """

    name: str
    sign: str
    value: Value

    def holds(self, facts: Facts) -> bool:
        """Returns whether a trial fulfils it."""
        found = facts.get(self.name)
        if found is None:
            return False
        if self.sign in _ORDER:
            return _ORDER[self.sign](float(found), float(self.value))  # type: ignore[arg-type]
        return is_same(found, self.value) == (self.sign == "=")


def is_same(one: object, other: object) -> bool:
    """Returns whether two values are the same; numbers with decimals are if they are to four digits, as tables show."""
    if _is_number(one) and _is_number(other):
        whole = isinstance(one, int) and float(other).is_integer()  # type: ignore[arg-type]
        return one == other if whole else f"{one:.4g}" == f"{other:.4g}"
    return type(one) is type(other) and one == other


def parse_conditions(
    texts: Sequence[str], facts: Sequence[Facts], values: Mapping[str, Sequence[object]]
) -> list[Condition]:
    """Reads conditions, each checked against what there is to compare with.

    Args:
        texts: the conditions.
        facts: what is known of each trial.
        values: what a name can have beside what occurs in `facts`, for names with a list of values.

    Raises:
        StudyError: if one cannot be read, names nothing that is known, or can hold for no trial whatever its value;
            says what was expected.
    """
    return [_parse(text, facts, values) for text in texts]


def _parse(text: str, facts: Sequence[Facts], values: Mapping[str, Sequence[object]]) -> Condition:
    read = _CONDITION.fullmatch(text)
    if read is None:
        quotes = "" if re.search("[<>=]", text) else "; quote it ('dropout<0.3'), as shells take < and > for themselves"
        raise StudyError(f"--where {text}: {_FORM}{quotes}.")
    name, sign, written = read["name"], read["sign"].replace("==", "="), _unquoted(read["value"])
    known = list(dict.fromkeys(key for fact in facts for key in fact))
    name = next((key for key in (name, f"val_{name}") if key in known), name)
    if name not in known:
        raise StudyError(f"--where {text}: there is no {name}; {suggestion(name, known)}")
    there = [*values.get(name, []), *(fact[name] for fact in facts if fact.get(name) is not None)]
    return Condition(name, sign, _value(text, written, sign, there))


def _value(text: str, written: str, sign: str, there: Sequence[object]) -> Value:
    """The value in the type of those that are there; of mixed ones, in the first type that has room for it."""
    number = _number(written)
    if all(map(_is_number, there)):
        if number is None:
            raise StudyError(f"--where {text}: expected a number to compare with, got {written}.")
        return number
    listed = ", ".join(sorted({_written(value) for value in there}))
    if sign in _ORDER:
        raise StudyError(f"--where {text}: its values ({listed}) have no order; compare with = or !=.")
    choices: list[Value] = [value for value in (_TRUTHS.get(written), number, written) if value is not None]
    found = next((choice for choice in choices if any(is_same(value, choice) for value in there)), None)
    if found is None:
        raise StudyError(f"--where {text}: expected one of {listed}, got {written}.")
    return found


def _unquoted(written: str) -> str:
    quoted = len(written) > 1 and written[0] == written[-1] and written[0] in "'\""
    return written[1:-1] if quoted else written


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(written: str) -> float | None:
    try:
        number = float(written)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
