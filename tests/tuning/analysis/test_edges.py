"""Leaders at the end of a range are found, and what lies beyond is a value that the setting can take."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import synthetic_space

from pneumo_core.config import value_problem
from search_spaces import Parameter, builtin_spaces, load_space
from tuning.analysis.edges import beyond, edge


def _parameter(text: str) -> Parameter:
    return synthetic_space(f"name: one\nparameters:\n  {text}\n").parameters[0]


UNITS = "head_units: {type: choice, values: [64, 128, 256], ordered: true}"
RATE = "learning_rate: {type: float, min: 1.0e-4, max: 1.0e-2, log: true}"


@pytest.mark.parametrize(
    ("text", "values", "side", "further"),
    [
        (UNITS, [256] * 5 + [128], "high", 512),
        (UNITS, [64] * 5, "low", 32),
        (RATE, [1.1e-4, 1.2e-4, 1.0e-4, 1e-3], "low", 1e-5),
        (RATE, [9e-3, 8e-3, 1e-2, 1e-3, 1e-3], "high", 0.1),
        ("dropout: {type: float, min: 0.0, max: 0.6, step: 0.1}", [0.6, 0.6, 0.6, 0.3], "high", 0.9),
        ("epochs: {type: int, min: 5, max: 10}", [10, 10, 10], "high", 13),
        ("unfrozen_layers: {type: choice, values: [0, 1, 2], ordered: true}", [0] * 5, "low", None),
        ("backbone_lr_fraction: {type: float, min: 0.01, max: 1.0, log: true}", [1.0, 0.9, 0.8, 1.0], "high", None),
    ],
)
def test_finds_the_end_and_what_lies_beyond(text: str, values: list[Any], side: str, further: Any) -> None:
    """On the scale that is searched; nothing where the setting goes no further."""
    found = edge(_parameter(text), values)
    assert found is not None
    assert found.side == side
    assert found.of == len(values)
    if further is None:
        assert found.beyond is None
    else:
        assert found.beyond == pytest.approx(further, rel=0.05)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (UNITS, [256, 256, 128]),  # two of three at one of three values is chance
        (UNITS, [256] * 4 + [128]),  # at one end or the other in 9 of 100 draws
        (RATE, [1e-3, 2e-3, 1e-2]),
        (RATE, []),
        ("class_weighting: {type: choice, values: [none, balanced]}", ["none"] * 9),
    ],
)
def test_says_nothing_where_chance_would_do(text: str, values: list[Any]) -> None:
    """Few leaders, the middle of the range, no order."""
    assert edge(_parameter(text), values) is None


def test_what_lies_beyond_shipped_ranges_is_legal() -> None:
    """Every widened end is a value that `TrialConfig` takes, and lies outside."""
    for path in builtin_spaces().values():
        for parameter in load_space(path).parameters:
            if parameter.type == "choice" and not parameter.ordered:
                continue
            for side in ("low", "high"):
                value = beyond(parameter, side)
                assert value is None or not (value_problem(parameter.name, value) or parameter.contains(value))
