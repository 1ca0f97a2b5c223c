"""A searched parameter as an axis from 0 to 1: linear, logarithmic, or one place for each choice."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

from search_spaces import ChoiceParameter, Parameter, SearchSpace
from tuning.ranking import format_value
from tuning.record import StudyRecord, TrialRecord

INACTIVE = -0.2
"""Where trials stand that do not have the parameter, because its condition does not hold."""

_FEW = 12  # values: each has its tick, and its trials are spread


@dataclasses.dataclass(frozen=True)
class ParameterAxis:
    """Places for a parameter's values, from 0 to 1, and `INACTIVE` for none.

    Attributes:
        name: of the parameter.
        scale: `choice`: its few values stand in their order, equally far from each other.
        low: smallest value; unused where there are few.
        high: largest value; likewise.
        values: all values if there are few; else empty.
        inactive: whether some trial does not have the parameter.
    """

    name: str
    scale: Literal["linear", "log", "choice"]
    low: float
    high: float
    values: tuple[Any, ...]
    inactive: bool

    @property
    def discrete(self) -> bool:
        """Whether many trials share each value."""
        return bool(self.values)

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the axis with a margin: 0 and 1 are the ends of the parameter's own range."""
        return (INACTIVE - 0.1 if self.inactive else -0.08, 1.08)

    @property
    def spread(self) -> float:
        """The width over which trials of one value may be spread without reaching those of the next."""
        return min(0.5 / max(len(self.values) - 1, 1), 0.12)

    def place(self, value: Any) -> float:
        """Returns where a value stands."""
        if value is None:
            return INACTIVE
        if self.scale == "choice":
            return _even(self._index(value), len(self.values))
        if self.high <= self.low:
            return 0.5
        if self.scale == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    def places(self, trials: Iterable[TrialRecord]) -> np.ndarray:
        """Returns where the values of trials stand."""
        return np.array([self.place(trial.params.get(self.name)) for trial in trials])

    def ticks(self) -> list[tuple[float, str]]:
        """Returns places with what is written there, a dash for trials without the parameter."""
        # matplotlib takes what is between two dollars for a formula
        written = {value: format_value(value).replace("$", r"\$") for value in self._tick_values()}
        ticks = [(self.place(value), text) for value, text in written.items()]
        return [(INACTIVE, "–"), *ticks] if self.inactive else ticks

    def label(self, width: int = 100) -> str:
        """Returns the parameter's name in words, on lines of so many characters if words allow, and its scale."""
        words = self.name.replace("_", " ") + (" (log)" if self.scale == "log" else "")
        return "\n".join(textwrap.wrap(words, width, break_long_words=False))

    def _index(self, value: Any) -> int:
        """Of a value; of a number that was reached in steps its last digits may be off."""
        if isinstance(value, float):
            return int(np.argmin(np.abs(np.subtract(self.values, value))))
        return self.values.index(value)

    def _tick_values(self) -> Sequence[Any]:
        if self.values:
            return self.values
        if self.scale == "log":
            return _log_ticks(self.low, self.high)
        marks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        inside = [float(mark) for mark in marks if self.low <= mark <= self.high]
        return [int(mark) if mark.is_integer() and abs(mark) >= 1 else mark for mark in inside]


def parameter_axis(record: StudyRecord, name: str) -> ParameterAxis:
    """Returns the axis of a parameter of a study, as wide as what was searched.

    A parameter that the space does not know (`stop_after` of Hyperband; a space of another version of this program)
    gets an axis of the values that trials have.

    Raises:
        ValueError: if no trial of the search has a value of it.
    """
    found = [trial.params.get(name) for trial in record.searched]
    values = [value for value in found if value is not None]
    if not values:
        raise ValueError(f"no trial of study {record.started.study} has a value of {name}.")
    inactive = len(values) < len(found)
    axis = _of_space(_parameter(record, name), values, inactive)
    return axis or _of_values(name, values, inactive)


def parameter_axes(record: StudyRecord, names: Sequence[str], most: int) -> list[ParameterAxis]:
    """Returns the axes of the first `most` of the named parameters that any trial of the search has a value of."""
    tried = [name for name in names if any(trial.params.get(name) is not None for trial in record.searched)]
    return [parameter_axis(record, name) for name in tried[:most]]


def _parameter(record: StudyRecord, name: str) -> Parameter | None:
    try:
        space = SearchSpace.model_validate(record.started.definition)
    except ValueError:  # of another version of this program
        return None
    return next((parameter for parameter in space.parameters if parameter.name == name), None)


def _of_space(parameter: Parameter | None, found: Sequence[Any], inactive: bool) -> ParameterAxis | None:
    """The axis that the space gives; None if it is not known, or does not hold what was found."""
    if parameter is None or not all(map(parameter.contains, found)):
        return None
    if isinstance(parameter, ChoiceParameter):
        return ParameterAxis(parameter.name, "choice", 0.0, 1.0, tuple(parameter.values), inactive)
    domain = parameter.domain()
    if domain is not None and len(domain) <= _FEW:
        return ParameterAxis(parameter.name, "choice", 0.0, 1.0, tuple(domain), inactive)
    scale: Literal["linear", "log"] = "log" if parameter.log else "linear"
    return ParameterAxis(parameter.name, scale, float(parameter.min), float(parameter.max), (), inactive)


def _of_values(name: str, found: Sequence[Any], inactive: bool) -> ParameterAxis:
    different = set(found)
    words = any(isinstance(value, (bool, str)) for value in different)
    if words or len(different) <= _FEW:
        ordered = tuple(sorted(different, key=str if words else None))
        return ParameterAxis(name, "choice", 0.0, 1.0, ordered, inactive)
    return ParameterAxis(name, "linear", float(min(different)), float(max(different)), (), inactive)


def _even(index: int, count: int) -> float:
    return 0.5 if count == 1 else index / (count - 1)


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 times of them where the range is short, and its ends where it is shorter."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        marks = [factor * 10.0**decade for decade in decades for factor in factors]
        inside = [mark for mark in marks if low * 0.999 <= mark <= high * 1.001]
        if len(inside) >= 3:
            return inside
    return sorted({low, *inside, high})
