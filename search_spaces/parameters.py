"""What one parameter can be: a number, a whole number or a choice, and the values that each of them allows."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from search_spaces.scalars import Scalar, ScalarField, describe, identity, kind
from search_spaces.steps import nearest, step_problem, stepped

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

Allowed = Annotated[tuple[ScalarField, ...], Field(strict=False, min_length=1)]


class _Parameter(BaseModel, abc.ABC):
    """What all parameters have: a name, and conditions under which they are searched at all."""

    model_config = STRICT

    name: SkipJsonSchema[str]
    """Of the setting that is searched; in a file, the key in front of the parameter."""
    when: Mapping[str, Allowed] = Field(default_factory=dict)
    """Searched only where each parameter named here has one of the values listed."""

    def holds(self, values: Mapping[str, object]) -> bool:
        """Returns whether this parameter is searched, given the values of those declared before it."""
        return all(
            parent in values and identity(values[parent]) in map(identity, allowed)
            for parent, allowed in self.when.items()
        )

    @abc.abstractmethod
    def domain(self) -> Sequence[Scalar] | None:
        """Returns all values, or None where there are more than can be listed."""

    @abc.abstractmethod
    def contains(self, value: object) -> bool:
        """Returns whether the parameter can take a value."""

    @abc.abstractmethod
    def clip(self, value: Any) -> Scalar:
        """Returns the allowed value that is nearest."""

    @abc.abstractmethod
    def describe_domain(self) -> str:
        """Returns what the parameter can take, to tell somebody who gave it something else."""

    @field_validator("default", check_fields=False)
    @classmethod
    def _is_in_the_domain(cls, default: Any, info: ValidationInfo) -> Any:
        if default is None or not ({"min", "max"} <= info.data.keys() or "values" in info.data):
            return default
        draft = cls.model_construct(**info.data)
        if not draft.contains(default):
            raise ValueError(f"expected {draft.describe_domain()}, got {describe(default)}")
        return draft.clip(default)


class _RangeParameter(_Parameter):
    """A number between two ends, both included."""

    min: float
    """Smallest value."""
    max: float
    """Largest value."""
    step: float | None = None
    """Distance of neighbouring values, counted from `min`."""
    log: bool = False
    """Drawn evenly on a logarithmic scale."""
    default: float | None = None
    """Value of starting points that don't name this parameter; `min` if left out."""

    @field_validator("max")
    @classmethod
    def _lies_above_min(cls, high: float, info: ValidationInfo) -> float:
        if "min" in info.data and high <= info.data["min"]:
            raise ValueError(f"must lie above min ({info.data['min']}), got {high}")
        return high

    @field_validator("step")
    @classmethod
    def _divides_the_range(cls, step: float | None, info: ValidationInfo) -> float | None:
        if step is not None and step <= 0:
            raise ValueError(f"must lie above 0, got {step}")
        if step is None or not {"min", "max"} <= info.data.keys():
            return step
        low, high = info.data["min"], info.data["max"]
        problem = step_problem(low, high, step, listed=cls is FloatParameter)
        if problem:
            raise ValueError(problem)
        return step

    @field_validator("log")
    @classmethod
    def _has_a_logarithm(cls, log: bool, info: ValidationInfo) -> bool:
        problems = []
        if log and info.data.get("min", 1) <= 0:
            problems.append(f"needs a min above 0, got {info.data['min']}")
        if log and info.data.get("step") is not None:
            problems.append("excludes step; leave one of them out, or list the values as a choice")
        if problems:
            raise ValueError("; ".join(problems))
        return log

    @property
    def effective_default(self) -> float:
        """The value where none is given."""
        return self.min if self.default is None else self.default

    def _ends(self) -> str:
        steps = f" in steps of {self.step}" if self.step is not None else ""
        return f"from {self.min} to {self.max}{steps}"


class FloatParameter(_RangeParameter):
    """A number, any between `min` and `max`, or in steps."""

    type: Literal["float"]

    def describe_domain(self) -> str:
        """Returns what the parameter can take, in words."""
        return f"a number {self._ends()}"

    def domain(self) -> Sequence[float] | None:
        """Returns all values in rising order, or None where there are more than can be listed."""
        return None if self.step is None else stepped(self.min, self.max, self.step)

    def contains(self, value: object) -> bool:
        """Returns whether the parameter can take a value; rounding in the last digits of a step is forgiven."""
        slack = 1e-9 * (self.step or 0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not self.min - slack <= value <= self.max + slack:
            return False
        return math.isclose(value, self.clip(value), rel_tol=0, abs_tol=slack)

    def clip(self, value: Any) -> float:
        """Returns the allowed value that is nearest to a number."""
        inside = min(max(float(value), self.min), self.max)
        return inside if self.step is None else nearest(inside, self.min, self.step)


class IntParameter(_RangeParameter):
    """A whole number between `min` and `max`, or every `step`-th of them."""

    type: Literal["int"]
    min: int
    """Smallest value."""
    max: int
    """Largest value."""
    step: int | None = None
    """Distance of neighbouring values, counted from `min`; 1 if left out."""
    default: int | None = None
    """Value of starting points that don't name this parameter; `min` if left out."""

    @property
    def effective_default(self) -> int:
        """The value where none is given."""
        return self.min if self.default is None else self.default

    def describe_domain(self) -> str:
        """Returns what the parameter can take, in words."""
        return f"a whole number {self._ends()}"

    def domain(self) -> range:
        """Returns all values in rising order."""
        return range(self.min, self.max + 1, self.step or 1)

    def contains(self, value: object) -> bool:
        """Returns whether the parameter can take a value."""
        return isinstance(value, int) and not isinstance(value, bool) and value in self.domain()

    def clip(self, value: Any) -> int:
        """Returns the allowed value that is nearest to a number."""
        step = self.step or 1
        inside = min(max(value, self.min), self.max)
        places: int = round(Fraction(inside - self.min) / step)
        return self.min + places * step


class ChoiceParameter(_Parameter):
    """One of several values of the same kind."""

    type: Literal["choice"]
    values: Annotated[tuple[ScalarField, ...], Field(strict=False, min_length=1)]
    """What to choose from: all words, all numbers, or true and false."""
    ordered: bool = False
    """The values are numbers listed in an order that means something to the search."""
    default: ScalarField | None = None
    """Value of starting points that don't name this parameter; the first if left out."""

    @field_validator("values")
    @classmethod
    def _are_of_one_kind(cls, values: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        kinds = {kind(value): value for value in reversed(values)}
        if len(kinds) > 1:
            found = " and ".join(f"{name} ({describe(value)})" for name, value in reversed(kinds.items()))
            raise ValueError(f"must all be of one kind, got {found}; words that look like others need quotes: 'true'")
        repeated = {describe(value) for place, value in enumerate(values) if value in values[:place]}
        if repeated:
            raise ValueError(f"must differ, got more than once: {', '.join(sorted(repeated))}")
        as_float = any(isinstance(value, float) for value in values)
        return tuple(float(value) for value in values) if as_float else values

    @field_validator("ordered")
    @classmethod
    def _are_numbers(cls, ordered: bool, info: ValidationInfo) -> bool:
        if ordered and any(kind(value) != "a number" for value in info.data.get("values", ())):
            raise ValueError("is for numbers only; leave it out")
        return ordered

    @property
    def effective_default(self) -> Scalar:
        """The value where none is given."""
        return self.values[0] if self.default is None else self.default

    def describe_domain(self) -> str:
        """Returns what the parameter can take, in words."""
        return "one of " + ", ".join(map(describe, self.values))

    def domain(self) -> Sequence[Scalar]:
        """Returns all values in their order."""
        return self.values

    def contains(self, value: object) -> bool:
        """Returns whether the parameter can take a value."""
        return identity(value) in map(identity, self.values)

    def clip(self, value: Any) -> Scalar:
        """Returns an allowed value as it is listed: `1.0` for `1`, and true for the 1 that keras-tuner makes of it.

        Raises:
            ValueError: if it is not listed; choices have no nearest one.
        """
        for listed in self.values:
            if listed == value:
                return listed
        raise ValueError(f"{self.name}: expected {self.describe_domain()}, got {describe(value)}")


Parameter = FloatParameter | IntParameter | ChoiceParameter
ParameterField = Annotated[Parameter, Field(discriminator="type")]
PARAMETER_TYPES: dict[str, type[Parameter]] = {
    "float": FloatParameter,
    "int": IntParameter,
    "choice": ChoiceParameter,
}
