"""Leaders of one study become the first trials of another, mapped into its space, and every change is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import record_of, trial_of
from synthetic import synthetic_space, write_study

from pneumo_core.errors import ConfigError, StudyError
from tuning.analysis.leaders import StartFrom, find_leaders, leaders, with_leaders
from tuning.store import Store

OTHER = """\
name: other
trials: 10
epochs: 3
fixed: {weights: random, image_size: 64, class_weighting: sqrt}
parameters:
  head_units: {type: choice, values: [64, 128], ordered: true}
  dropout: {type: float, min: 0.2, max: 0.6, step: 0.1}
  learning_rate: {type: float, min: 1.0e-4, max: 1.0e-2, log: true}
  pooling: {type: choice, values: [flatten, average]}
start_with:
  - {head_units: 64, dropout: 0.5, learning_rate: 1.0e-3, pooling: average}
  - {head_units: 128, dropout: 0.5, learning_rate: 1.0e-3, pooling: average}
"""
LEADER = {
    "head_units": 512,
    "dropout": 0.1,
    "unfrozen_layers": 1,
    "backbone_lr_fraction": 0.02,
    "learning_rate": 5e-4,
    "class_weighting": "none",
}


def _source(*configurations: dict[str, object]) -> StartFrom:
    base = {"weights": "random", "image_size": 32, "pooling": "flatten"}
    trials = tuple(f"t{place:04d}" for place, _ in enumerate(configurations, start=1))
    return StartFrom("first", "id", "d" * 64, trials, tuple(base | found for found in configurations))


def test_leaders_come_behind_the_first_known_configuration() -> None:
    """So the baseline stays the first; numbers outside become the nearest inside, conditions are honoured."""
    space, told = with_leaders(synthetic_space(OTHER), _source(LEADER))
    mapped = {"head_units": 128, "dropout": 0.2, "learning_rate": 5e-4, "pooling": "flatten"}
    assert [dict(entry) for entry in space.start_with][1] == mapped
    assert space.start_with[0]["head_units"] == 64
    assert len(space.start_with) == 3
    assert told[0] == "first t0001: head_units 512 became 128, dropout 0.1 became 0.2"
    assert "image_size 64 instead of 32" in told[1]
    assert "class_weighting sqrt instead of none" in told[1]


def test_what_the_space_lacks_and_what_comes_twice_is_left_out() -> None:
    """A choice has no nearest one; a repeated configuration would cost a trial."""
    lacking, known = LEADER | {"pooling": "flatten"}, LEADER | {"head_units": 64, "dropout": 0.5, "learning_rate": 1e-3}
    text = OTHER.replace("values: [flatten, average]", "values: [average]")
    space, told = with_leaders(synthetic_space(text), _source(lacking, known | {"pooling": "average"}))
    assert len(space.start_with) == 2
    assert told[0] == "first t0001: left out, because the space does not offer pooling flatten"
    assert told[1] == "first t0002: left out, because its configuration is tried already"


def test_an_inactive_parameter_stays_so() -> None:
    """A leader without unfrozen layers brings no learning rate for them."""
    space, told = with_leaders(synthetic_space(), _source(LEADER | {"unfrozen_layers": 0}))
    assert "backbone_lr_fraction" not in space.start_with[1]
    assert not told


def test_leaders_are_different_completed_configurations() -> None:
    """Best first; a rung or a repetition of a configuration counts once, failed trials not at all."""
    space = synthetic_space()
    scores = [0.9, 0.95, 0.94, None]
    values = [LEADER, LEADER | {"dropout": 0.3}, LEADER | {"dropout": 0.3}, LEADER | {"dropout": 0.5}]
    trials = [trial_of(space, n, v, s) for n, (v, s) in enumerate(zip(values, scores, strict=True), start=1)]
    assert [trial.trial for trial in leaders(record_of(space, trials), 3)] == ["t0002", "t0001"]


def test_leaders_are_found_in_the_store(tmp_path: Path) -> None:
    """Three, or as many as asked for; they survive the journal."""
    store = Store.at(tmp_path)
    write_study(store, "first", trials=20)
    found = find_leaders(store, "first:5")
    assert len(find_leaders(store, "first").trials) == 3
    assert len(found.trials) == 5
    assert StartFrom.of_mapping(found.to_mapping()) == found
    assert "seed" not in found.configurations[0]


@pytest.mark.parametrize(
    ("argument", "error", "told"),
    [
        ("first:0", ConfigError, "expected STUDY or STUDY:NUMBER"),
        ("first:x", ConfigError, "expected STUDY or STUDY:NUMBER"),
        ("nosuch", StudyError, "nosuch"),
        ("empty", StudyError, "no completed trial"),
    ],
)
def test_refuses_what_names_no_leaders(tmp_path: Path, argument: str, error: type[Exception], told: str) -> None:
    """In one line that says what was expected."""
    store = Store.at(tmp_path)
    write_study(store, "first", trials=5)
    write_study(store, "empty", trials=0)
    with pytest.raises(error, match=told):
        find_leaders(store, argument)


def test_what_the_new_study_fixes_otherwise_is_told_though_leaders_differ_in_it() -> None:
    """Leaders without their own values are no longer what they were; where nothing is searched none can be tried."""
    space = synthetic_space()
    configurations = tuple({**space.fixed, "dropout": dropout} for dropout in (0.1, 0.2, 0.3))
    source = StartFrom("first", "id", "d", ("t0001", "t0002", "t0003"), configurations)
    _, told = with_leaders(space.with_fixed({"dropout": 0.3}), source)
    assert told[-1].endswith("this study has dropout 0.3 instead of 0.1 or 0.2")
    nothing = synthetic_space("name: nothing\nfixed: {weights: random}\n")
    assert with_leaders(nothing, source) == (
        nothing, ["first: no leader is tried, because the space searches nothing"],
    )  # fmt: skip
