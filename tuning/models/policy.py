"""What a model has to fulfil to become the champion: a small YAML file, typed and checked as search spaces are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator
from rich.table import Table

from pneumo_core.errors import PolicyError
from pneumo_core.metric_names import LOWER_IS_BETTER, METRIC_NAMES
from search_spaces.document import file_problem, located, read_document
from search_spaces.errors import SpaceError
from search_spaces.parameters import STRICT
from search_spaces.problems import KeyPath, Problem, problem_at, suggestion
from search_spaces.wording import explain

DEFAULT_POLICY = "default"
OF_KIND = "sensitivity_"
"""A metric of this name and a kind of positive image, such as `sensitivity_bacteria`."""

_FOLDER = Path(__file__).parents[1] / "policies"
_SUFFIXES = (".yaml", ".yml")


def _known_metric(name: str) -> str:
    if name not in METRIC_NAMES and not (name.startswith(OF_KIND) and name != OF_KIND):
        raise ValueError(f"no such metric; {suggestion(name, [*METRIC_NAMES, f'{OF_KIND}bacteria'])}")
    return name


Metric = Annotated[str, AfterValidator(_known_metric)]
Share = Annotated[float, Field(ge=0, le=1)]


class Requirement(BaseModel):
    """What a metric has to reach on the test folder."""

    model_config = STRICT

    at_least: Share | None = None
    """The least it may be."""
    at_most: Share | None = None
    """The most it may be."""
    bound: Literal["lower", "value", "upper"] | None = None
    """Which end of its 95 % interval has to; the cautious one if left out."""

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Requirement:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("expected either at_least or at_most")
        return self

    @property
    def end(self) -> Literal["lower", "value", "upper"]:
        """Which end of the interval counts."""
        return self.bound or ("upper" if self.at_least is None else "lower")


class AgainstChampion(BaseModel):
    """What the version that holds the alias is owed, on the same test images."""

    model_config = STRICT

    superior: Mapping[Metric, Share] = Field(default_factory=dict)
    """Metric → what the model has to be better by, at the unfavourable end of the paired difference's interval."""
    not_inferior: Mapping[Metric, Share] = Field(default_factory=dict)
    """Metric → what it may be worse by, at the same end."""
    mcnemar: Share | None = None
    """Level of the test for fewer right calls within a class; not tested if left out."""


class Limits(BaseModel):
    """What the model may cost."""

    model_config = STRICT

    latency_ms: Annotated[float, Field(ge=0)] | None = None
    """For one image on this machine, decoding included."""
    size_mb: Annotated[float, Field(ge=0)] | None = None
    """Of the model's folder."""


class Policy(BaseModel):
    """What a model has to fulfil to become the champion."""

    model_config = STRICT

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Of the policy; versions bear it."""
    description: str = ""
    """What kind of model it is for."""
    test: Mapping[Metric, Requirement] = Field(default_factory=dict)
    """Metric → what it has to reach on the test folder."""
    champion: AgainstChampion = Field(default_factory=AgainstChampion)
    """What the present champion is owed."""
    limits: Limits = Field(default_factory=Limits)
    """What the model may cost."""
    confirmed: bool = False
    """Whether the trial must have been confirmed."""

    @field_validator("test")
    @classmethod
    def _asks_for_the_better_side(cls, test: Mapping[str, Requirement]) -> Mapping[str, Requirement]:
        for name, requirement in test.items():
            if (name in LOWER_IS_BETTER) == (requirement.at_most is None):
                better = (
                    "lower is better; ask for at_most"
                    if name in LOWER_IS_BETTER
                    else "higher is better; ask for at_least"
                )
                raise ValueError(f"{name}: {better}")
        return test

    def asked(self) -> list[str]:
        """Returns what it asks for, in words."""
        against, limits = self.champion, self.limits
        return [
            *self.test,
            *(f"{name} better than the champion's" for name in against.superior),
            *(f"{name} not worse than the champion's" for name in against.not_inferior),
            *(["no fewer right calls than the champion's"] if against.mcnemar else []),
            *(["latency"] if limits.latency_ms is not None else []),
            *(["size"] if limits.size_mb is not None else []),
            *(["confirmation"] if self.confirmed else []),
        ]


def builtin_policies() -> dict[str, Path]:
    """Returns the files of the shipped policies by name, in alphabetical order."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def find_policy(name_or_path: str) -> Path:
    """Returns the file of a policy.

    Args:
        name_or_path: the name of a shipped policy; or a path, which ends in `.yaml` or `.yml` or holds a separator.

    Raises:
        PolicyError: if there is no such policy.
    """
    shipped = builtin_policies()
    if name_or_path in shipped:
        return shipped[name_or_path]
    if not (name_or_path.lower().endswith(_SUFFIXES) or os.sep in name_or_path):
        hint = suggestion(name_or_path, shipped)
        raise PolicyError(f"{name_or_path!r}: no such policy; {hint}; a file of your own ends in .yaml")
    if problem := file_problem(Path(name_or_path)):
        raise PolicyError(f"{name_or_path}: {problem}")
    return Path(name_or_path)


def open_policy(name_or_path: str) -> Policy:
    """Finds, reads and checks a policy.

    Raises:
        PolicyError: listing all that is wrong with the file as `file:line: what`.
    """
    path = find_policy(name_or_path)
    try:
        document = read_document(path)
    except SpaceError as error:
        raise PolicyError(str(error)) from error
    policy, problems = None, list(document.problems)
    try:
        policy = Policy.model_validate(document.data)
    except ValidationError as error:
        problems += explain(error, top_level=list(Policy.model_fields), within=_keys_within(document.data))
    if policy is not None:
        problems += _pretences(policy, path)
    if problems or policy is None:
        raise PolicyError("\n".join(located(path, document, problems)))
    return policy


def policy_for(model: str, name_or_path: str | None) -> Policy:
    """Returns the policy asked for; else the shipped one named like the registered model; else the default.

    Raises:
        PolicyError: if it cannot be found or used.
    """
    return open_policy(name_or_path or (model if model in builtin_policies() else DEFAULT_POLICY))


def policies_table() -> Table:
    """Returns the shipped policies for a terminal."""
    table = Table("policy", "what it is for")
    for name in builtin_policies():
        table.add_row(name, open_policy(name).description)
    return table


def _pretences(policy: Policy, path: Path) -> Iterator[Problem]:
    """What would let a version bear a policy's name without having been asked what that policy asks."""
    if not policy.asked():
        yield problem_at((), "asks for nothing; a policy needs at least one requirement")
    shipped = builtin_policies().get(policy.name)
    if shipped not in (None, path) and policy != open_policy(policy.name):
        yield problem_at(("name",), f"{policy.name} is a shipped policy, which asks for something else; choose another")


def _keys_within(data: Mapping[str, Any]) -> dict[KeyPath, Sequence[str]]:
    """The keys of each mapping in a file, for suggestions."""
    tests = data.get("test")
    return {
        ("champion",): list(AgainstChampion.model_fields),
        ("limits",): list(Limits.model_fields),
        **{("test", name): list(Requirement.model_fields) for name in (tests if isinstance(tests, dict) else ())},
    }
