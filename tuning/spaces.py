"""From a space's name and the user's overrides to a space whose every value `TrialConfig` accepts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pneumo_core.config import FIELD_NAMES, TrialConfig, value_problem
from pneumo_core.errors import ConfigError
from pneumo_core.metric_names import LOWER_IS_BETTER, METRIC_NAMES
from pneumo_core.places import resolved
from search_spaces import Confirmation, SearchSpace, SpaceError, builtin_spaces, find_space, load_space, read_scalar

OBJECTIVES = tuple(f"val_{name}" for name in METRIC_NAMES)
"""Final metrics of a trial."""

HYPERBAND_FACTOR = 3
"""Of the configurations in a rung of Hyperband, one in so many goes on, for so many times the epochs."""

_MINIMIZED = tuple(f"val_{name}" for name in LOWER_IS_BETTER)
_NOT_SEARCHED = ("stop_after",)  # Hyperband's own


def open_space(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> SearchSpace:
    """Finds, reads and checks a space, and fixes what the user overrides.

    Args:
        name_or_path: a shipped space's name, or a YAML file.
        overrides: `TrialConfig` fields and values; a searched parameter among them is no longer searched.

    Raises:
        SpaceError: listing all that is wrong with the file.
        ConfigError: listing all that is wrong with the overrides.
    """
    path = find_space(name_or_path)
    space = load_space(path, check=field_checks())
    _check_objective(space, path)
    problems = [
        f"--set {name}: {problem.split(': ', 1)[1]}"
        for name, value in (overrides or {}).items()
        if (problem := _problem(name, value))
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return _located(space.with_fixed(overrides) if overrides else space)


def space_source(name_or_path: str) -> str:
    """Returns what a space was opened from, so that it can be found again from every working directory."""
    return name_or_path if name_or_path in builtin_spaces() else str(find_space(name_or_path).resolve())


def _located(space: SearchSpace) -> SearchSpace:
    """A weights file is recorded by its absolute path, so that it is found from every working directory."""
    weights = space.fixed.get("weights")
    if isinstance(weights, str) and weights not in ("imagenet", "random"):
        return space.with_fixed({"weights": str(resolved(weights))})
    return space


def base_config(space: SearchSpace) -> TrialConfig:
    """Returns the configuration that all trials of a space start from: its fixed values over the defaults.

    Raises:
        ConfigError: if a fixed value is impossible.
    """
    return TrialConfig.from_mapping({"seed": space.seed, **space.fixed})


def confirmation(**settings: int | None) -> Confirmation:
    """Returns how leaders are to be confirmed.

    Args:
        settings: see `search_spaces.Confirmation`; at least one leader.

    Raises:
        ConfigError: if a setting is impossible.
    """
    try:
        confirm = Confirmation(**settings)  # type: ignore[arg-type]
    except ValueError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']}" for e in error.errors())  # type: ignore[attr-defined]
        raise ConfigError(f"confirmation: {problems}.") from None
    if not confirm.top:
        raise ConfigError("confirmation: expected at least 1 leader, got top 0.")
    return confirm


def refuse_unsuited(space: SearchSpace) -> None:
    """Makes sure that the space's algorithm can search it.

    Raises:
        ConfigError: if Hyperband has no epochs to share out, or too few trials to train anything to the end.
    """
    if space.algorithm != "hyperband" or not space.parameters:
        return
    if any(parameter.name == "epochs" for parameter in space.parameters):
        raise ConfigError("algorithm hyperband: shares out the epochs itself; fix epochs instead of searching it.")
    epochs = base_config(space).epochs
    if epochs < HYPERBAND_FACTOR:
        raise ConfigError(
            f"algorithm hyperband: expected at least {HYPERBAND_FACTOR} epochs to share out, got {epochs}; give more "
            "with --set epochs=9, or take tpe."
        )
    needed = hyperband_bracket_trials(epochs)
    if space.trials < needed and (space.size() or needed) >= needed:
        raise ConfigError(
            f"algorithm hyperband: its first bracket takes {needed} trials before one is trained for all {epochs} "
            f"epochs, got {space.trials}; give more with --trials, fewer epochs, or take tpe."
        )


def hyperband_bracket_trials(epochs: int) -> int:
    """Returns how many trials the first, most aggressive bracket of Hyperband takes, all rungs counted.

    Source: `keras_tuner.oracles.HyperbandOracle`; a test compares the two.
    """
    brackets = int(math.log(epochs, HYPERBAND_FACTOR) + 1e-9) + 1
    finalists = math.ceil(1 + math.log(epochs, HYPERBAND_FACTOR)) / brackets
    return sum(math.ceil(finalists * HYPERBAND_FACTOR**rung) for rung in range(brackets))


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Reads `key=value` pairs; values are read as in a space file (`true`, `0.5`, `1e-4`, `random`).

    Raises:
        ConfigError: if a pair is not one, or a key comes twice.
        SpaceError: if a value means different things to different readers (yes, no, on, off).
    """
    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key or not text.strip():
            raise ConfigError(f"--set {pair}: expected key=value, for example --set image_size=64.")
        if key in overrides:
            raise ConfigError(f"--set {key}: given twice; give it once.")
        value = read_scalar(text.strip())
        overrides[key] = text.strip() if value is None else value
    return overrides


def spaces_table() -> Table:
    """Returns the shipped spaces for a terminal."""
    table = Table()
    for heading in ("space", "trials", "searches", "description"):
        table.add_column(heading, overflow="fold")
    for name in builtin_spaces():
        space = open_space(name)
        searched = ", ".join(parameter.name for parameter in space.parameters) or "nothing"
        table.add_row(name, str(space.trials), searched, space.description)
    return table


def field_checks() -> dict[str, Callable[[object], str | None]]:
    """Returns for each parameter name a function that says what is wrong with a value, or None."""
    return {name: functools.partial(_problem, name) for name in FIELD_NAMES if name not in _NOT_SEARCHED}


def _problem(name: str, value: object) -> str | None:
    if name in _NOT_SEARCHED:
        return f"{name}: is set by Hyperband alone"
    return value_problem(name, value)


def _check_objective(space: SearchSpace, path: Path) -> None:
    if space.objective not in OBJECTIVES:
        raise SpaceError([f"{path}: objective: expected one of {', '.join(OBJECTIVES)}; got {space.objective}"])
    if space.objective == "val_sensitivity":
        raise SpaceError(
            [
                f"{path}: objective: val_sensitivity is what the threshold is chosen for, so all trials have the same; "
                "take val_specificity"
            ]
        )
    expected = "min" if space.objective in _MINIMIZED else "max"
    if space.direction != expected:
        better = "lower" if expected == "min" else "higher"
        raise SpaceError([f"{path}: direction: expected {expected}, because {better} {space.objective} is better"])
