"""`SearchSpace`: what one study searches, as one frozen and validated value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from search_spaces import conditions
from search_spaces.confirmation import Confirmation
from search_spaces.errors import SpaceError
from search_spaces.parameters import STRICT, Parameter, ParameterField
from search_spaces.problems import problem_at
from search_spaces.rules import Draft, broken_rules, starting_value_problem
from search_spaces.scalars import Scalar, ScalarField
from search_spaces.wording import explain

Algorithm = Literal["tpe", "random", "grid", "bayesian", "hyperband"]


def _named(parameters: object) -> object:
    """Puts the keys of a file's mapping into the parameters as their names."""
    if not isinstance(parameters, Mapping):
        return parameters
    return tuple({**spec, "name": name} if isinstance(spec, dict) else spec for name, spec in parameters.items())


Parameters = Annotated[
    tuple[ParameterField, ...],
    Field(strict=False),
    BeforeValidator(_named, json_schema_input_type=Mapping[str, ParameterField]),
]


class SearchSpace(BaseModel):
    """What one study searches, and how."""

    model_config = STRICT

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Of the space; studies are named after it."""
    description: str = ""
    """What the space is for, in a sentence or two."""
    objective: str = Field(default="val_roc_auc", min_length=1)
    """Metric that decides which trial is best."""
    direction: Literal["max", "min"] = "max"
    """Whether the best objective is the highest or the lowest."""
    algorithm: Algorithm = "tpe"
    """How the next configuration is chosen."""
    trials: int = Field(default=20, ge=1)
    """Configurations to try at most."""
    seed: int = Field(default=0, ge=0)
    """Of the search and of every trial."""
    fixed: Mapping[str, ScalarField] = Field(default_factory=dict)
    """Settings that all trials share."""
    parameters: Parameters = Field(default_factory=tuple)
    """Settings that are searched. A condition (`when`) may name what is declared before it."""
    start_with: Annotated[tuple[Mapping[str, ScalarField], ...], Field(strict=False)] = ()
    """Known configurations to try first; parameters they leave out take their defaults."""
    confirm: Confirmation = Field(default_factory=Confirmation)
    """How the leaders are confirmed when the search is over."""

    @model_validator(mode="after")
    def _obeys_the_rules(self) -> SearchSpace:
        problems = broken_rules(self._draft())
        if problems:
            raise ValueError("\n".join(problem.message for problem in problems))
        return self

    def digest(self) -> str:
        """Returns the SHA-256 (hex) of all that determines the search: not name, description and confirmation."""
        content = self.model_dump(exclude={"name", "description", "confirm", "parameters", "start_with"})
        content["parameters"] = [_essence(parameter) for parameter in self.parameters]
        content["start_with"] = [self.complete(entry) for entry in self.start_with]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def active(self, values: Mapping[str, Scalar]) -> tuple[Parameter, ...]:
        """Returns the parameters whose conditions hold; a value counts only if its own parameter is active."""
        return conditions.active(self.parameters, values)

    def complete(self, partial: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Makes a whole configuration of some values.

        Args:
            partial: values of some parameters; fixed settings may be repeated.

        Returns:
            The values of all active parameters, in their order: as given or by default. Inactive ones are left out.

        Raises:
            SpaceError: naming every unknown parameter and every value that its parameter cannot take.
        """
        draft = self._draft()
        problems = [
            problem_at((name,), problem).message
            for name, value in partial.items()
            if (problem := starting_value_problem(draft, name, value))
        ]
        if problems:
            raise SpaceError(problems)
        return conditions.complete(self.parameters, partial)

    def size(self) -> int | None:
        """Returns the number of different configurations, or None if there is no end to them."""
        return conditions.count(self.parameters)

    def with_fixed(self, overrides: Mapping[str, Any]) -> SearchSpace:
        """Fixes settings, whether they were searched, fixed or not mentioned so far.

        What was searched leaves `parameters` and `start_with`. Conditions on it are resolved: those that hold
        disappear, and a parameter whose condition can no longer hold does too. Starting points that become equal are
        merged. `seed` replaces the space's own.

        Args:
            overrides: names and values; whether they are legal is the caller's matter.

        Raises:
            SpaceError: if a value is neither a text, a finite number nor a boolean.
        """
        settings = {name: value for name, value in overrides.items() if name != "seed"}
        fixed = {**self.fixed, **settings}
        parameters = conditions.resolve(self.parameters, settings)
        return self._rebuilt(
            fixed=fixed,
            parameters=parameters,
            start_with=_left_of(self.start_with, parameters),
            seed=overrides.get("seed", self.seed),
        )

    def replace(
        self, *, trials: int | None = None, algorithm: str | None = None, seed: int | None = None
    ) -> SearchSpace:
        """Returns the same space with other settings of the search; None leaves one as it is.

        Raises:
            SpaceError: if a setting is impossible, or the algorithm cannot search this space.
        """
        changes = {"trials": trials, "algorithm": algorithm, "seed": seed}
        return self._rebuilt(**{name: value for name, value in changes.items() if value is not None})

    def _draft(self) -> Draft:
        return Draft(
            declared=[parameter.name for parameter in self.parameters],
            parameters=self.parameters,
            conditions={parameter.name: parameter.when for parameter in self.parameters},
            fixed=self.fixed,
            start_with=dict(enumerate(self.start_with)),
            algorithm=self.algorithm,
        )

    def _rebuilt(self, **changes: Any) -> SearchSpace:
        content = {name: getattr(self, name) for name in type(self).model_fields} | changes
        try:
            return SearchSpace.model_validate(content)
        except ValidationError as error:
            names = [parameter.name for parameter in content["parameters"]]
            raise SpaceError(problem.message for problem in explain(error, names)) from None


def _left_of(
    start_with: tuple[Mapping[str, Scalar], ...], parameters: tuple[Parameter, ...]
) -> tuple[Mapping[str, Scalar], ...]:
    """Starting points without what is no longer searched, and without those that became equal."""
    names = {parameter.name for parameter in parameters}
    left: dict[str, Mapping[str, Scalar]] = {}
    for entry in start_with:
        searched = {name: value for name, value in entry.items() if name in names}
        left.setdefault(repr(conditions.complete(parameters, searched)), searched)
    return tuple(left.values())


def _essence(parameter: Parameter) -> dict[str, Any]:
    """A parameter without what is left at its default, so that new options don't change old digests."""
    return {**parameter.model_dump(exclude_defaults=True), "default": parameter.effective_default}
