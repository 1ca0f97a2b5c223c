"""Values of a parameter as coordinates: where in its range a value lies, in the scale that it is searched on."""

from __future__ import annotations

import math
from typing import Any

from search_spaces import ChoiceParameter, Parameter


def is_categorical(parameter: Parameter) -> bool:
    """Returns whether the parameter's values have no order."""
    return isinstance(parameter, ChoiceParameter) and not parameter.ordered


def is_listed(parameter: Parameter) -> bool:
    """Returns whether the parameter's coordinates are places in the list of its values."""
    if isinstance(parameter, ChoiceParameter):
        return True
    return parameter.step is not None or (parameter.type == "int" and not parameter.log)


def bounds(parameter: Parameter) -> tuple[float, float]:
    """Returns the ends of a parameter's coordinates: places in a list, else numbers, or their natural logarithms."""
    if isinstance(parameter, ChoiceParameter):
        return 0.0, float(len(parameter.values) - 1)
    if is_listed(parameter):
        return 0.0, float(round((parameter.max - parameter.min) / (parameter.step or 1)))
    return _scaled(parameter.min, parameter.log), _scaled(parameter.max, parameter.log)


def coordinate(parameter: Parameter, value: Any) -> float:
    """Returns where a value lies between `bounds`.

    Args:
        parameter: that takes the value.
        value: one of its own.
    """
    if isinstance(parameter, ChoiceParameter):
        return float(parameter.values.index(value))
    if is_listed(parameter):
        step = parameter.step or 1
        return float(round((value - parameter.min) / step))
    return _scaled(value, parameter.log)


def value_at(parameter: Parameter, at: float) -> Any:
    """Returns the parameter's value that is nearest to a coordinate."""
    low, high = bounds(parameter)
    inside = min(max(at, low), high)
    if isinstance(parameter, ChoiceParameter) or is_listed(parameter):
        return (parameter.domain() or ())[round(inside)]
    return parameter.clip(math.exp(inside) if parameter.log else inside)


def _scaled(value: float, log: bool) -> float:
    return math.log(value) if log else float(value)
