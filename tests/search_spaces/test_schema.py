"""Typed spaces: what parameters can take, what conditions do, and how a space is changed."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces import ChoiceParameter, FloatParameter, IntParameter, SearchSpace, SpaceError

UNFROZEN = {"type": "choice", "values": [0, 1, 2, 3], "ordered": True}
FRACTION = {"type": "float", "min": 0.01, "max": 0.1, "log": True, "when": {"unfrozen_layers": [1, 2, 3]}}


def space(parameters: Mapping[str, Any] | None = None, **fields: Any) -> SearchSpace:
    """A valid space around some parameters."""
    return SearchSpace.model_validate({"name": "test", "parameters": parameters or {}, **fields})


def stepped() -> FloatParameter:
    """A float whose steps are not exact in binary."""
    return FloatParameter(name="dropout", type="float", min=0.2, max=0.6, step=0.1)


def test_rounding_beyond_the_end_is_forgiven() -> None:
    """The last step may come out of a sum a last digit above the maximum."""
    parameter = FloatParameter(name="x", type="float", min=0, max=0.3, step=0.1)
    assert parameter.max < 0.1 + 0.2
    assert parameter.contains(0.1 + 0.2)
    assert parameter.clip(0.1 + 0.2) == 0.3


def test_float_steps_are_the_numbers_people_write() -> None:
    """Steps don't pile up rounding errors, so a value read from a file equals the one that was searched."""
    assert stepped().domain() == [0.2, 0.3, 0.4, 0.5, 0.6]
    assert FloatParameter(name="x", type="float", min=0, max=0.3, step=0.1).domain() == [0.0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("value", "inside"), [(0.3, True), (0.1 + 0.2, True), (0.35, False), (0.1, False), (1e9, False)]
)
def test_stepped_float_contains_its_steps_only(value: float, inside: bool) -> None:
    """Values between two steps are outside the domain; last-digit rounding is not."""
    assert stepped().contains(value) is inside


@pytest.mark.parametrize("value", [True, "0.3", None, float("nan"), float("inf"), 10**400])
def test_numbers_contain_no_look_alikes(value: object) -> None:
    """A boolean is not 1, a text is not a number, and nan is in no range."""
    assert not stepped().contains(value)
    assert not FloatParameter(name="x", type="float", min=0, max=1).contains(value)
    assert not IntParameter(name="x", type="int", min=0, max=1).contains(value)


def test_stepless_float_has_exact_ends() -> None:
    """Both ends belong to a range, and nothing beyond them does."""
    parameter = FloatParameter(name="x", type="float", min=1e-4, max=3e-3, log=True)
    assert parameter.domain() is None
    assert parameter.contains(1e-4)
    assert parameter.contains(3e-3)
    assert not parameter.contains(3.0000001e-3)


@pytest.mark.parametrize(("value", "nearest"), [(0.0, 0.2), (0.9, 0.6), (0.34, 0.3), (0.30000000000000004, 0.3)])
def test_float_clip_lands_on_the_nearest_step(value: float, nearest: float) -> None:
    """What a sampler draws is brought back into the domain exactly."""
    assert stepped().clip(value) == nearest


@pytest.mark.parametrize(("value", "nearest"), [(10, 9), (-3, 1), (4.2, 5), (9, 9)])
def test_int_clip_lands_on_the_nearest_step(value: float, nearest: int) -> None:
    """keras-tuner's rounding one above the maximum is brought back, and the result is an int."""
    clipped = IntParameter(name="x", type="int", min=1, max=9, step=2).clip(value)
    assert clipped == nearest
    assert isinstance(clipped, int)


def test_int_domain_is_not_written_out() -> None:
    """A range of a billion values is described, not stored."""
    parameter = IntParameter(name="x", type="int", min=0, max=10**9, step=1)
    assert len(parameter.domain()) == 10**9 + 1
    assert parameter.contains(123_456_789)
    assert not parameter.contains(0.5)


def test_choice_tells_booleans_from_numbers() -> None:
    """In Python True equals 1; in a space it doesn't."""
    flags = ChoiceParameter(name="x", type="choice", values=(True, False))
    assert flags.contains(True)
    assert not flags.contains(1)
    numbers = ChoiceParameter(name="x", type="choice", values=(0, 1))
    assert not numbers.contains(True)
    assert numbers.contains(1.0)
    assert isinstance(numbers.clip(1.0), int)


def test_choice_clip_refuses_what_is_not_listed() -> None:
    """There is no nearest word."""
    with pytest.raises(ValueError, match="expected one of 'adam', 'sgd', got 'adma'"):
        ChoiceParameter(name="optimizer", type="choice", values=("adam", "sgd")).clip("adma")


def test_choice_clip_gives_booleans_back() -> None:
    """keras-tuner turns a choice of true and false into 1 and 0, which no setting takes for a flag."""
    flags = ChoiceParameter(name="x", type="choice", values=(True, False))
    assert flags.clip(1) is True
    assert flags.clip(0) is False


def test_mixed_whole_and_broken_numbers_become_one_type() -> None:
    """keras-tuner takes choices of one Python type only."""
    assert [type(value) for value in ChoiceParameter(name="x", type="choice", values=(0, 0.5)).values] == [float, float]


def test_defaults_fall_back_to_first_or_smallest() -> None:
    """Without `default`, a choice starts at its first value and a range at its minimum; false is a value too."""
    assert ChoiceParameter(name="x", type="choice", values=("b", "a")).effective_default == "b"
    assert ChoiceParameter(name="x", type="choice", values=(True, False), default=False).effective_default is False
    assert stepped().effective_default == 0.2
    assert IntParameter(name="x", type="int", min=3, max=9, default=5).effective_default == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "float", "min": 1, "max": 1}, "must lie above min"),
        ({"type": "float", "min": 0, "max": 1, "log": True}, "needs a min above 0"),
        ({"type": "float", "min": 1, "max": 2, "step": 0.5, "log": True}, "excludes step"),
        ({"type": "float", "min": 0, "max": 1, "step": 0}, "must lie above 0"),
        ({"type": "float", "min": 0, "max": 1, "step": 2}, "must be at most max - min"),
        ({"type": "float", "min": 0, "max": 1, "step": 1e-9}, "more than 10000 values"),
        ({"type": "float", "min": 0, "max": 1, "step": 0.3}, "write max: 0.9"),
        ({"type": "float", "min": 0, "max": 1, "default": 1.5}, "expected a number from 0.0 to 1.0, got 1.5"),
        ({"type": "float", "min": 0, "max": float("inf")}, "finite"),
        ({"type": "int", "min": 1, "max": 10, "step": 2}, "write max: 9"),
        ({"type": "int", "min": 1, "max": 9, "step": 2, "default": 4}, "in steps of 2, got 4"),
        ({"type": "int", "min": 1, "max": True}, "valid integer"),
        ({"type": "choice", "values": []}, "at least 1 item"),
        ({"type": "choice", "values": ["a", "a"]}, "more than once: 'a'"),
        ({"type": "choice", "values": ["a", 1]}, "must all be of one kind"),
        ({"type": "choice", "values": ["none", False]}, "words that look like others need quotes"),
        ({"type": "choice", "values": ["a", "b"], "ordered": True}, "is for numbers only"),
        ({"type": "choice", "values": [0, 1], "default": True}, "expected one of 0, 1, got true"),
    ],
)
def test_impossible_parameters_are_refused(fields: dict[str, Any], message: str) -> None:
    """A parameter that makes no sense cannot exist, however it is built."""
    with pytest.raises(ValidationError, match=message):
        space({"x": fields})


def test_space_is_frozen() -> None:
    """A space cannot change under a running study."""
    with pytest.raises(ValidationError, match="frozen"):
        space().trials = 3  # type: ignore[misc]


def test_space_without_parameters_is_legal() -> None:
    """A recipe is a space of one configuration."""
    recipe = space(fixed={"dropout": 0.5})
    assert recipe.size() == 1
    assert recipe.complete({}) == {}


def test_parameters_keep_their_order_and_get_their_names() -> None:
    """Conditions are resolved in the order of the file."""
    built = space({"unfrozen_layers": UNFROZEN, "backbone_lr_fraction": FRACTION})
    assert [parameter.name for parameter in built.parameters] == ["unfrozen_layers", "backbone_lr_fraction"]


def test_space_survives_json_and_pickle() -> None:
    """The journal holds a space as JSON, and Dask sends it as a pickle."""
    built = space({"unfrozen_layers": UNFROZEN, "x": FRACTION}, start_with=[{"unfrozen_layers": 3}], fixed={"a": "b"})
    assert SearchSpace.model_validate(built.model_dump(mode="json")) == built
    assert pickle.loads(pickle.dumps(built)) == built  # noqa: S301
    assert built.digest() == SearchSpace.model_validate(built.model_dump(mode="json")).digest()


def test_complete_fills_in_defaults_and_drops_the_inactive() -> None:
    """A partial configuration becomes a whole one, without values that its conditions rule out."""
    built = space({"unfrozen_layers": UNFROZEN, "backbone_lr_fraction": FRACTION, "dropout": stepped_spec()})
    assert built.complete({"backbone_lr_fraction": 0.05}) == {"unfrozen_layers": 0, "dropout": 0.2}
    assert built.complete({"unfrozen_layers": 3}) == {
        "unfrozen_layers": 3,
        "backbone_lr_fraction": 0.01,
        "dropout": 0.2,
    }


def test_complete_names_everything_wrong() -> None:
    """A misspelt name is not dropped like an inactive one."""
    built = space({"dropout": stepped_spec()}, fixed={"epochs": 3})
    with pytest.raises(SpaceError) as caught:
        built.complete({"dropuot": 0.3, "dropout": 0.35, "epochs": 4})
    assert len(caught.value.problems) == 3
    assert "did you mean dropout?" in str(caught.value)
    assert built.complete({"epochs": 3}) == {"dropout": 0.2}


def stepped_spec() -> dict[str, Any]:
    """`stepped` as a file has it."""
    return {"type": "float", "min": 0.2, "max": 0.6, "step": 0.1}


def chained() -> SearchSpace:
    """Three generations: c depends on b, which depends on a."""
    return space(
        {
            "a": {"type": "choice", "values": [0, 1]},
            "b": {"type": "int", "min": 0, "max": 4, "when": {"a": [1]}},
            "c": {"type": "choice", "values": ["x", "y", "z"], "when": {"b": [2, 3]}},
            "d": {"type": "choice", "values": [True, False]},
        }
    )


def test_conditions_on_inactive_parents_do_not_hold() -> None:
    """A value left over for a parameter that is not searched cannot switch on its dependants."""
    assert [p.name for p in chained().active({"a": 0, "b": 2, "c": "x"})] == ["a", "d"]
    assert [p.name for p in chained().active({"a": 1, "b": 2, "c": "x"})] == ["a", "b", "c", "d"]


def test_size_equals_the_number_of_distinct_configurations() -> None:
    """Configurations that differ in inactive values only count once."""
    built = chained()
    domains = [list(parameter.domain() or ()) for parameter in built.parameters]
    names = [parameter.name for parameter in built.parameters]
    whole = [built.complete(dict(zip(names, row, strict=True))) for row in itertools.product(*domains)]
    assert built.size() == len({tuple(values.items()) for values in whole}) == 20


def test_size_is_quick_for_huge_ranges_and_long_chains() -> None:
    """Counting does not walk through the configurations."""
    links = {f"p{n}": {"type": "int", "min": 0, "max": 10**9, "when": {f"p{n - 1}": [0, 1]}} for n in range(1, 40)}
    assert (space({"p0": {"type": "int", "min": 0, "max": 10**9}, **links}).size() or 0) > 10**9


def test_size_of_a_continuous_space_is_none() -> None:
    """There is no end to the values of a float without step."""
    assert space({"unfrozen_layers": UNFROZEN, "backbone_lr_fraction": FRACTION}).size() is None


def test_digest_follows_what_determines_the_search() -> None:
    """Name and description don't matter; every setting, the order and the starting points do."""
    base = space({"unfrozen_layers": UNFROZEN})
    assert base.digest() == base.model_copy(update={"name": "other", "description": "?"}).digest()
    assert len(base.digest()) == 64
    others = [
        base.replace(seed=1),
        base.replace(trials=7),
        base.replace(algorithm="random"),
        base.with_fixed({"epochs": 1}),
        space({"unfrozen_layers": {**UNFROZEN, "values": [0, 1]}}),
        space({"unfrozen_layers": UNFROZEN}, start_with=[{"unfrozen_layers": 1}]),
        space({"unfrozen_layers": UNFROZEN}, objective="val_pr_auc"),
        space({"unfrozen_layers": UNFROZEN}, direction="min"),
    ]
    assert len({built.digest() for built in [base, *others]}) == len(others) + 1


def test_digest_ignores_how_the_same_space_is_written() -> None:
    """Spelling out a default, or leaving it out, is the same search."""
    spelled = space({"unfrozen_layers": {**UNFROZEN, "default": 0}}, start_with=[{"unfrozen_layers": 0}])
    assert spelled.digest() == space({"unfrozen_layers": UNFROZEN}, start_with=[{}]).digest()


def test_fixing_a_searched_parameter_ends_its_search() -> None:
    """An override leaves no trace of the parameter in the search or in its starting points."""
    built = space({"unfrozen_layers": UNFROZEN, "dropout": stepped_spec()}, start_with=[{"dropout": 0.5}])
    fixed = built.with_fixed({"dropout": 0.05, "epochs": 2})
    assert fixed.fixed == {"dropout": 0.05, "epochs": 2}
    assert [parameter.name for parameter in fixed.parameters] == ["unfrozen_layers"]
    assert fixed.start_with == ({},)
    assert built.fixed == {}


def test_fixing_a_parent_resolves_its_conditions() -> None:
    """A condition that holds disappears; one that cannot hold takes its parameter and the dependants with it."""
    holds = chained().with_fixed({"a": 1})
    assert {p.name: dict(p.when) for p in holds.parameters} == {"b": {}, "c": {"b": (2, 3)}, "d": {}}
    assert [p.name for p in chained().with_fixed({"a": 0}).parameters] == ["d"]
    assert [p.name for p in chained().with_fixed({"a": True}).parameters] == ["d"]


def test_fixing_a_conditional_parameter_keeps_its_dependants() -> None:
    """A fixed value counts always, also where it would not have been searched."""
    fixed = chained().with_fixed({"b": 3})
    assert {p.name: dict(p.when) for p in fixed.parameters} == {"a": {}, "c": {}, "d": {}}


def test_starting_points_that_become_equal_are_merged() -> None:
    """The same configuration is not tried twice because its difference was fixed."""
    points = [{"unfrozen_layers": 0, "dropout": 0.5}, {"unfrozen_layers": 3, "dropout": 0.5}, {"dropout": 0.4}]
    built = space({"unfrozen_layers": UNFROZEN, "dropout": stepped_spec()}, start_with=points)
    assert built.with_fixed({"unfrozen_layers": 1}).start_with == ({"dropout": 0.5}, {"dropout": 0.4})


def test_fixing_the_seed_sets_the_seed_of_the_space() -> None:
    """There is one seed, wherever it comes from."""
    fixed = space().with_fixed({"seed": 7})
    assert fixed.seed == 7
    assert "seed" not in fixed.fixed


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, float("nan")])
def test_fixing_something_that_is_no_value_is_refused(value: object) -> None:
    """Overrides are single values, as in a file."""
    with pytest.raises(SpaceError, match=r"fixed\.epochs: expected a word, a number, or true or false"):
        space().with_fixed({"epochs": value})


def test_replace_checks_what_it_is_given() -> None:
    """Impossible settings of a search are refused, all of them at once."""
    with pytest.raises(SpaceError) as caught:
        space().replace(trials=0, algorithm="gird", seed=-1)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["algorithm", "trials", "seed"]
    assert caught.value.exit_code == 2


def test_replace_leaves_the_rest_as_it_is() -> None:
    """What is not named stays."""
    replaced = space({"unfrozen_layers": UNFROZEN}, trials=5, seed=3).replace(algorithm="random")
    assert (replaced.trials, replaced.seed, replaced.algorithm) == (5, 3, "random")
    assert len(replaced.parameters) == 1


def test_grid_needs_a_finite_space() -> None:
    """A grid over a float without step has no end; the message says what to do about it."""
    with pytest.raises(SpaceError, match=r"x: .* give it a step"):
        space({"x": {"type": "float", "min": 0, "max": 1}}).replace(algorithm="grid")
    with pytest.raises(SpaceError, match=r"x: .* list its values as a choice"):
        space({"x": {"type": "float", "min": 0.1, "max": 1, "log": True}}).replace(algorithm="grid")
    assert chained().replace(algorithm="grid").algorithm == "grid"


def test_error_survives_pickling() -> None:
    """An error raised in a worker process arrives whole."""
    error = pickle.loads(pickle.dumps(SpaceError(["one", "two"])))  # noqa: S301
    assert error.problems == ("one", "two")
    assert str(error) == "one\ntwo"
