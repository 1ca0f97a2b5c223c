"""Every algorithm keeps one contract: reproducible, never twice, known ones first, conditions honoured."""

from __future__ import annotations

import itertools
from typing import Any

import keras_tuner as kt
import pytest

from pneumo_core.errors import ConfigError
from search_spaces import SearchSpace
from tuning.oracles import SearchOracle, Suggestion, configurations
from tuning.spaces import hyperband_bracket_trials, refuse_unsuited

ALGORITHMS = ("tpe", "random", "grid", "bayesian", "hyperband")

PARAMETERS: dict[str, dict[str, Any]] = {
    "head_units": {"type": "choice", "values": [64, 128, 256], "ordered": True},
    "dropout": {"type": "float", "min": 0.1, "max": 0.4, "step": 0.1},
    "unfrozen_layers": {"type": "int", "min": 0, "max": 2},
    "backbone_lr_fraction": {"type": "choice", "values": [0.01, 0.1], "when": {"unfrozen_layers": [1, 2]}},
    "class_weighting": {"type": "choice", "values": ["none", "balanced"]},
}
FINITE_SIZE = 3 * 4 * (1 + 2 * 2) * 2
KNOWN = {"head_units": 256, "dropout": 0.4, "unfrozen_layers": 0, "class_weighting": "balanced"}
LEARNING_RATE = {"learning_rate": {"type": "float", "min": 1e-4, "max": 1e-2, "log": True}}


def _space(algorithm: str, *, seed: int = 0, endless: bool = False, **changes: Any) -> SearchSpace:
    parameters = PARAMETERS | (LEARNING_RATE if endless else {})
    content = {"name": "s", "algorithm": algorithm, "seed": seed, "parameters": parameters, "start_with": [KNOWN]}
    return SearchSpace.model_validate(content | changes)


def _score(values: dict[str, Any]) -> float:
    """A smooth response with its best at 128 units, dropout 0.2, two layers."""
    dropout, layers = values.get("dropout", 0.2), values.get("unfrozen_layers", 0)
    return -abs(values.get("head_units", 128) - 128) / 64 - abs(dropout - 0.2) * 5 + layers / 2


def _search(space: SearchSpace, trials: int, epochs: int = 9, fail: tuple[int, ...] = ()) -> list[Suggestion]:
    oracle: SearchOracle = SearchOracle(space, trials, epochs)
    asked: list[Suggestion] = []
    while suggestion := oracle.ask():
        asked.append(suggestion)
        oracle.tell(suggestion, None if len(asked) in fail else _score(suggestion.values))
    return asked


def _some(algorithm: str, trials: int) -> int:
    """Fewer for Bayesian optimization: after 15 random trials each of its suggestions takes seconds."""
    return min(trials, 18) if algorithm == "bayesian" else trials


@pytest.mark.parametrize("algorithm", ALGORITHMS)
class TestEveryAlgorithm:
    """The contract."""

    @pytest.mark.parametrize("seed", [0, 1])
    def test_the_same_seed_asks_the_same(self, algorithm: str, seed: int) -> None:
        """Also for seed 0, which keras-tuner itself takes for none."""
        first, second = (_search(_space(algorithm, seed=seed), _some(algorithm, 22)) for _ in range(2))
        assert [s.values for s in first] == [s.values for s in second]
        assert len(first) == _some(algorithm, 22)

    def test_another_seed_asks_something_else(self, algorithm: str) -> None:
        """The seed is used, except by the grid, which has nothing to draw."""
        first, second = (_search(_space(algorithm, seed=seed), 8) for seed in (0, 1))
        assert ([s.values for s in first] == [s.values for s in second]) == (algorithm == "grid")

    def test_known_configurations_come_first(self, algorithm: str) -> None:
        """`start_with` is honoured, whatever the algorithm."""
        assert _search(_space(algorithm), 3)[0].values == KNOWN

    def test_nothing_is_asked_twice(self, algorithm: str) -> None:
        """Not even by Bayesian optimization, which forgets; a Hyperband rung repeats its parent on purpose."""
        trials = _some(algorithm, 40)
        asked = _search(_space(algorithm), trials)
        keys = [(tuple(sorted(s.values.items())), s.stop_after) for s in asked]
        assert len(set(keys)) == len(keys) == trials

    def test_conditions_are_honoured(self, algorithm: str) -> None:
        """A parameter is there exactly when its condition holds."""
        for suggestion in _search(_space(algorithm), _some(algorithm, 30)):
            expected = suggestion.values["unfrozen_layers"] > 0
            assert ("backbone_lr_fraction" in suggestion.values) == expected

    def test_values_lie_in_their_domains(self, algorithm: str) -> None:
        """Steps, ends and kinds are those of the space."""
        space = _space(algorithm, endless=algorithm != "grid")
        for suggestion, parameter in itertools.product(_search(space, _some(algorithm, 30)), space.parameters):
            if parameter.name in suggestion.values:
                assert parameter.contains(suggestion.values[parameter.name])

    def test_a_failed_trial_ends_nothing(self, algorithm: str) -> None:
        """Five failures in a row do not stop the search, as they would stop keras-tuner's own."""
        assert len(_search(_space(algorithm), 16, fail=(2, 3, 4, 5, 6))) == 16

    def test_minimizing_works(self, algorithm: str) -> None:
        """The direction reaches the oracle."""
        assert len(_search(_space(algorithm, direction="min", objective="val_brier"), 15)) == 15


@pytest.mark.parametrize("algorithm", ["tpe", "random", "grid", "bayesian"])
def test_a_finite_space_is_searched_to_its_end(algorithm: str) -> None:
    """With more trials than configurations each is tried once, and the search says that it is over."""
    parameters = {name: PARAMETERS[name] for name in ("head_units", "class_weighting")}
    space = _space(algorithm, parameters=parameters, start_with=[])
    assert len(_search(space, 50)) == 6


def test_configurations_of_a_finite_space_are_all_different_and_complete() -> None:
    """What the grid walks is the whole space, once."""
    space = _space("grid")
    found = {tuple(sorted(values.items())) for values in configurations(space)}
    assert len(found) == FINITE_SIZE == space.size()


def test_a_space_without_parameters_has_one_trial() -> None:
    """The notebook's recipe, all fixed, is a study of one."""
    for algorithm in ALGORITHMS:
        space = SearchSpace.model_validate({"name": "s", "algorithm": algorithm})
        assert [s.values for s in _search(space, 5)] == [{}]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_flags_stay_flags(algorithm: str) -> None:
    """keras-tuner returns 1 for true; TrialConfig rightly refuses that."""
    parameters = {"batch_normalization": {"type": "choice", "values": [True, False]}} | PARAMETERS
    asked = _search(_space(algorithm, parameters=parameters, start_with=[]), 8)
    assert {type(suggestion.values["batch_normalization"]) for suggestion in asked} == {bool}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_starting_point_of_nothing_but_defaults_counts(algorithm: str) -> None:
    """`start_with: [{}]`, or one whose every value was overridden by --set, means each parameter's default."""
    parameters = {"head_units": {"type": "choice", "values": [64, 128, 256], "default": 128}} | {
        name: PARAMETERS[name] for name in ("dropout", "class_weighting")
    }
    first = _search(_space(algorithm, parameters=parameters, start_with=[{}]), 2)[0]
    assert first.values == {"head_units": 128, "dropout": 0.1, "class_weighting": "none"}


@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_hyperband_trains_the_best_of_a_small_space_to_the_end(size: int) -> None:
    """Where fewer configurations exist than a first round takes, the longer rounds still happen."""
    parameters = {"head_units": {"type": "choice", "values": [64 * (n + 1) for n in range(size)]}}
    asked = _search(_space("hyperband", parameters=parameters, start_with=[]), 40)
    assert len({s.values["head_units"] for s in asked if s.stop_after == 1}) == size
    assert {s.stop_after for s in asked} == {1, 3, 9}
    best = max((s.values for s in asked), key=_score)
    assert any(s.values == best for s in asked if s.stop_after == 9)


@pytest.mark.parametrize("epochs", [3, 4, 9, 10, 27, 50, 81, 100])
def test_hyperbands_first_bracket_is_counted_as_keras_tuner_does(epochs: int) -> None:
    """The number that a study with too few trials is refused by."""
    oracle = kt.oracles.HyperbandOracle(objective=kt.Objective("x", "max"), max_epochs=epochs, factor=3)
    bracket = oracle._get_num_brackets() - 1
    expected = sum(oracle._get_size(bracket, rung) for rung in range(bracket + 1))
    assert hyperband_bracket_trials(epochs) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fixed": {"epochs": 2}}, "at least 3 epochs"),
        ({"fixed": {"epochs": 9}, "trials": 5}, "first bracket takes 13 trials"),
        ({"parameters": {"epochs": {"type": "int", "min": 3, "max": 9}}, "start_with": []}, "fix epochs"),
    ],
)
def test_what_hyperband_cannot_search_is_refused_beforehand(changes: dict[str, Any], message: str) -> None:
    """Not in the middle of a study, and not by promoting a model of one epoch."""
    with pytest.raises(ConfigError, match=message):
        refuse_unsuited(_space("hyperband", **({"endless": True} if "parameters" not in changes else {}), **changes))


def test_tpe_learns() -> None:
    """After its random start TPE proposes better configurations than a random search."""
    mean = {
        algorithm: sum(_score(s.values) for s in _search(_space(algorithm, endless=True), 40)[20:]) / 20
        for algorithm in ("tpe", "random")
    }
    assert mean["tpe"] > mean["random"] + 0.5


def test_hyperband_trains_the_best_longer() -> None:
    """Rungs of 1, 3 and 9 epochs; each longer one repeats the best of the shorter, and failures lose no final."""
    asked = _search(_space("hyperband", endless=True), 25, epochs=9, fail=(2, 5))
    rungs = {epochs: [s for s in asked if s.stop_after == epochs] for epochs in (1, 3, 9)}
    assert all(rungs.values())
    shortest = sorted((s for s in rungs[1] if asked.index(s) + 1 not in (2, 5)), key=lambda s: -_score(s.values))
    best = [s.values for s in shortest[: len(rungs[3])]]
    assert rungs[3][0].values in best
    assert any(s.values in [three.values for three in rungs[3]] for s in rungs[9])
