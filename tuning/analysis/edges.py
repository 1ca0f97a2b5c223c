"""Leaders at the edge of what was searched, and what lies beyond it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal

from scipy.stats import binom

from pneumo_core.config import value_problem
from search_spaces import ChoiceParameter, Parameter
from tuning.analysis.coding import bounds, coordinate, is_categorical, is_listed

Side = Literal["low", "high"]

_NEAR = 0.1  # of the range
_MOST = 0.5  # of the leaders
_CHANCE = 0.05
_SLACK = Fraction(1, 10**6)  # what rounding may have added
_REACH = 0.5  # of the range, that it is widened by at most


@dataclasses.dataclass(frozen=True)
class Edge:
    """Leaders that crowd at one end of a range.

    Attributes:
        side: which end.
        count: leaders there.
        of: leaders in all that have the parameter.
        beyond: the value that the range could be widened to; None where the setting goes no further.
    """

    side: Side
    count: int
    of: int
    beyond: Any


def edge(parameter: Parameter, values: Sequence[Any]) -> Edge | None:
    """Returns the end of its range at which the values of leaders crowd, if they do.

    At least half of them must be there, and more than evenly drawn ones would be at either end in 95 of 100 cases: in
    the outermost tenth of a range, or at the outermost of listed values.

    Args:
        parameter: whose values have an order.
        values: of the leaders in which it is active.
    """
    if is_categorical(parameter) or not values:
        return None
    low, high = bounds(parameter)
    coded = [coordinate(parameter, value) for value in values]
    reach = math.floor(_NEAR * (high - low)) if is_listed(parameter) else _NEAR * (high - low)
    chance = (reach + 1) / (high - low + 1) if is_listed(parameter) else _NEAR
    counts: dict[Side, int] = {
        "low": sum(at <= low + reach for at in coded),
        "high": sum(at >= high - reach for at in coded),
    }
    side = max(counts, key=lambda name: counts[name])
    if counts[side] < _MOST * len(coded) or 2 * binom.sf(counts[side] - 1, len(coded), chance) >= _CHANCE:
        return None
    return Edge(side, counts[side], len(coded), beyond(parameter, side))


def beyond(parameter: Parameter, side: Side) -> Any:
    """Returns the value to which a range can be widened on one side; None where the setting goes no further.

    A range grows by half of itself, on its own scale; a list by one more value that goes on as its last three do.
    """
    if isinstance(parameter, ChoiceParameter):
        return _next_listed(parameter, side)
    if parameter.step is not None or (isinstance(parameter.min, int) and not parameter.log):
        return _next_stepped(parameter, side)
    low, high = bounds(parameter)
    reach = _REACH * (high - low)
    while reach > _NEAR * (high - low):
        at = high + reach if side == "high" else low - reach
        value = _rounded(math.exp(at) if parameter.log else at, up=side == "high")
        value = round(value) if parameter.type == "int" else value
        if _outside(parameter, value) and not value_problem(parameter.name, value):
            return value
        reach /= 2
    return None


def _outside(parameter: Any, value: float) -> bool:
    return bool(value < parameter.min or value > parameter.max) and (not parameter.log or value > 0)


def _next_stepped(parameter: Any, side: Side) -> Any:
    """The furthest of the next values at whole steps that the setting can take."""
    step = Fraction(str(parameter.step or 1))
    most = max(round((bounds(parameter)[1] + 1) * _REACH), 1)
    for steps in range(most, 0, -1):
        end = (
            Fraction(str(parameter.max)) + steps * step
            if side == "high"
            else Fraction(str(parameter.min)) - steps * step
        )
        value = int(end) if parameter.type == "int" else float(end)
        if not value_problem(parameter.name, value):
            return value
    return None


def _next_listed(parameter: ChoiceParameter, side: Side) -> Any:
    """One more value, at the ratio of the last three if they have one, else at their distance."""
    values: list[Any] = list(parameter.values if side == "high" else parameter.values[::-1])
    if len(values) < 3:
        return None
    first, second, last = values[-3:]
    if first and second and math.isclose(last / second, second / first):
        value = last * last / second
    elif math.isclose(last - second, second - first):
        value = last + (last - second)
    else:
        return None
    if isinstance(last, int):
        if value != int(value):
            return None
        value = int(value)
    else:
        value = _rounded(value)
    return None if value in values or value_problem(parameter.name, value) else value


def _rounded(value: float, *, up: bool | None = None) -> float:
    """A value with two digits that count, rounded outwards if told where that is."""
    if value == 0:
        return 0.0
    unit = Fraction(10) ** (math.floor(math.log10(abs(value))) - 1)
    places = Fraction(value) / unit
    whole = round(places) if up is None else math.ceil(places - _SLACK) if up else math.floor(places + _SLACK)
    return float(whole * unit)


def rounded_outwards(value: float, side: Side) -> float:
    """Returns the next number with two digits that count, below or above."""
    return _rounded(value, up=side == "high")
