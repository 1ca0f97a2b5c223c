"""Evenly spaced numbers without rounding errors: three steps of 0.1 from 0 are 0.3, not 0.30000000000000004."""

from __future__ import annotations

import math
from fractions import Fraction

MAX_STEPS = 10_000


def step_problem(low: float, high: float, step: float, *, listed: bool) -> str | None:
    """Returns what is wrong with going from `low` to `high` in steps, or None.

    Args:
        low: first value.
        high: value that the last step must reach.
        step: distance of neighbouring values, above 0.
        listed: whether all values will be held in memory, so that their number is limited to `MAX_STEPS`.
    """
    steps = (_exact(high) - _exact(low)) / _exact(step)
    if steps < 1:
        return f"must be at most max - min ({_shown(_exact(high) - _exact(low))}), got {step}"
    if listed and steps > MAX_STEPS:
        return f"makes more than {MAX_STEPS} values; leave it out for any value between min and max"
    if steps.denominator != 1:
        last = _shown(_exact(low) + math.floor(steps) * _exact(step))
        return (
            f"never reaches max ({high}): from {low} in steps of {step} the last value is {last}; "
            f"write max: {last}, or another step"
        )
    return None


def stepped(low: float, high: float, step: float) -> list[float]:
    """Returns the values from `low` to `high`, both included."""
    count = int((_exact(high) - _exact(low)) / _exact(step)) + 1
    return [float(_exact(low) + place * _exact(step)) for place in range(count)]


def nearest(value: float, low: float, step: float) -> float:
    """Returns the value nearest to a number among those at whole steps from `low`."""
    return float(_exact(low) + round((_exact(value) - _exact(low)) / _exact(step)) * _exact(step))


def _exact(value: float) -> Fraction:
    """The number that is written, which its binary form only comes close to."""
    return Fraction(str(value))


def _shown(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)
