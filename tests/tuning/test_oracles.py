"""Every algorithm keeps one contract: reproducible, resumable, never twice, known ones first, conditions honoured."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import keras_tuner as kt
import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.gaussian_process import GaussianProcessRegressor

from pneumo_core.errors import ConfigError, StoreError
from pneumo_core.seeds import derive
from search_spaces import SearchSpace
from tuning import tpe
from tuning.algorithms import BayesianOracle, StudyOracle, configurations
from tuning.oracles import NoSuggestion, SearchOracle, Suggestion
from tuning.rehearsal import foreseen
from tuning.spaces import hyperband_bracket_trials, refuse_unsuited
from tuning.tpe import TpeSuggester

SLOW = pytest.mark.slow
ALGORITHMS = ("tpe", "random", "grid", "bayesian", "hyperband")

QUICK_FIRST = [pytest.param(name, marks=[pytest.mark.slow] if name == "bayesian" else []) for name in ALGORITHMS]
"""All of them, for tests in which Bayesian search takes longer than all others together."""

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


@dataclasses.dataclass
class _Search:
    """A search, and all that a journal would say of it: asks that had an answer (with it) and tells, in order."""

    oracle: SearchOracle
    steps: list[Suggestion | tuple[str, float | None]] = dataclasses.field(default_factory=list)
    answer: Suggestion | NoSuggestion = NoSuggestion.WAITING

    @property
    def asked(self) -> list[Suggestion]:
        return [step for step in self.steps if isinstance(step, Suggestion)]

    @property
    def running(self) -> list[str]:
        told = {step[0] for step in self.steps if not isinstance(step, Suggestion)}
        return [suggestion.trial for suggestion in self.asked if suggestion.trial not in told]

    def ask(self) -> bool:
        """Asks for one more trial; returns whether there was one."""
        self.answer = self.oracle.ask(f"t{len(self.asked) + 1:04d}")
        if isinstance(self.answer, Suggestion):
            self.steps.append(self.answer)
        return isinstance(self.answer, Suggestion)

    def tell(self, trial: str, fail: tuple[int, ...] = ()) -> None:
        number = int(trial[1:])
        score = None if number in fail else _score(self.asked[number - 1].values)
        self.oracle.tell(trial, score)
        self.steps.append((trial, score))

    def run(self, trials: int, workers: int = 1, fail: tuple[int, ...] = ()) -> _Search:
        """Goes on until so many trials were asked for; of those that run, now the newest ends first, now the oldest."""
        while True:
            while len(self.running) < workers and len(self.asked) < trials and self.ask():
                pass
            if not self.running:
                return self
            self.tell(self.running[-(len(self.steps) % 2)], fail)


def _search(space: SearchSpace, trials: int, epochs: int = 9, fail: tuple[int, ...] = ()) -> list[Suggestion]:
    return _Search(SearchOracle(space, epochs)).run(trials, fail=fail).asked


def _rebuilt(space: SearchSpace, steps: list[Suggestion | tuple[str, float | None]], epochs: int = 9) -> SearchOracle:
    """An oracle of a new process, told what the journal says, values having been through JSON."""
    oracle = SearchOracle(space, epochs)
    for step in steps:
        if isinstance(step, Suggestion):
            assert oracle.restore(step.trial, json.loads(json.dumps(step.values))) == step
        else:
            oracle.tell(*step)
    return oracle


def _small(algorithm: str) -> SearchSpace:
    """Two parameters, one of them conditional, so that Bayesian optimization begins early and takes a second."""
    parameters = {
        "unfrozen_layers": {"type": "int", "min": 0, "max": 2},
        "backbone_lr_fraction": {
            "type": "float",
            "min": 0.01,
            "max": 0.1,
            "log": True,
            "when": {"unfrozen_layers": [1, 2]},
        },
    }
    stepped = {"dropout": {"type": "float", "min": 0.1, "max": 0.4, "step": 0.1}}
    known = [{"unfrozen_layers": 2}]
    return _space(algorithm, parameters=PARAMETERS if algorithm == "grid" else parameters | stepped, start_with=known)


def _some(algorithm: str, trials: int) -> int:
    """Fewer for Bayesian optimization: after 15 random trials each of its suggestions takes seconds."""
    return min(trials, 16) if algorithm == "bayesian" else trials


# Bayesian optimization takes seconds a suggestion; every day it is tested in the small space below.
@pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=SLOW if name == "bayesian" else ()) for name in ALGORITHMS]
)
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


def test_a_rung_continues_its_parent() -> None:
    """Same values, from the epoch up to which the parent was trained; a first round has no parent."""
    asked = {s.trial: s for s in _search(_space("hyperband", endless=True), 25)}
    rungs = [s for s in asked.values() if s.parent]
    assert {(s.first_epoch, s.stop_after) for s in rungs} == {(1, 3), (3, 9)}
    for rung in rungs:
        parent = asked[rung.parent]
        assert (parent.values, parent.stop_after, parent.trial < rung.trial) == (rung.values, rung.first_epoch, True)
    assert len({s.parent for s in rungs}) == len(rungs)
    assert {s.first_epoch for s in asked.values() if not s.parent} == {0}


def test_trials_of_an_open_bracket_are_in_use() -> None:
    """From the ask to the last tell of the bracket (9 + 3 + 1 trials of 9 epochs), and not an hour longer."""
    search = _Search(SearchOracle(_space("hyperband", endless=True), 9))
    for number in range(1, 14):
        assert search.ask()
        assert search.oracle.in_use() == {f"t{n:04d}" for n in range(1, number + 1)}
        search.tell(f"t{number:04d}")
    assert search.oracle.in_use() == set()
    assert search.ask()
    assert search.oracle.in_use() == {"t0014"}


def test_a_bracket_is_in_use_while_its_final_runs() -> None:
    """Though another bracket was opened for a second worker meanwhile."""
    search = _Search(SearchOracle(_space("hyperband", endless=True), 9)).run(12)
    assert search.ask()
    assert search.ask()
    assert search.asked[-1].parent == ""
    assert search.oracle.in_use() == {f"t{n:04d}" for n in range(1, 15)}
    search.tell("t0013")
    assert search.oracle.in_use() == {"t0014"}


@pytest.mark.parametrize("algorithm", ["tpe", "random", "grid", "bayesian"])
def test_other_algorithms_continue_nothing(algorithm: str) -> None:
    """Their trials' checkpoints may go when they are over."""
    search = _Search(SearchOracle(_space(algorithm), 9))
    assert search.ask()
    assert search.oracle.in_use() == set()


def test_trials_of_a_bracket_with_one_round_are_not_in_use() -> None:
    """Hyperband's last bracket trains everything to the end; nobody goes on from there."""
    search = _Search(SearchOracle(_space("hyperband", endless=True), 9)).run(20)
    assert search.ask()
    assert (search.asked[-1].stop_after, search.asked[-1].parent) == (9, "")
    assert search.oracle.in_use() == set()


def test_waiting_is_told_from_the_end() -> None:
    """Four configurations, two workers: the rungs need results first; after them nothing is left."""
    parameters = {"head_units": {"type": "choice", "values": [64, 128, 256, 512]}}
    search = _Search(SearchOracle(_space("hyperband", parameters=parameters, start_with=[]), 9))
    assert [search.ask() for _ in range(5)] == [True] * 4 + [False]
    assert search.answer is NoSuggestion.WAITING
    search.run(40)
    assert search.answer is NoSuggestion.EXHAUSTED
    assert {s.stop_after for s in search.asked} == {1, 3, 9}


@pytest.mark.parametrize("algorithm", ["tpe", "random", "grid", "bayesian"])
def test_a_finite_space_is_exhausted_though_trials_run(algorithm: str) -> None:
    """Their results bring nothing new to try, so nobody needs to wait for them."""
    parameters = {"class_weighting": PARAMETERS["class_weighting"]}
    search = _Search(SearchOracle(_space(algorithm, parameters=parameters, start_with=[]), 9))
    assert [search.ask() for _ in range(3)] == [True, True, False]
    assert search.answer is NoSuggestion.EXHAUSTED


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("algorithm", QUICK_FIRST)
def test_an_oracle_rebuilt_at_any_point_goes_on_alike(algorithm: str, workers: int) -> None:
    """Each suggestion follows from the journal before it: failures, running trials and asks in vain included."""
    space = _small(algorithm)
    search = _Search(SearchOracle(space, 9)).run(14 if algorithm == "bayesian" else 25, workers, fail=(3, 4, 12))
    for place, step in enumerate(search.steps):
        if isinstance(step, Suggestion):
            assert _rebuilt(space, search.steps[:place]).ask(step.trial) == step


@pytest.mark.parametrize("algorithm", ["tpe", "random", "grid", "hyperband"])
@pytest.mark.parametrize("cut", [1, 8, 21, 30])
def test_a_rebuilt_search_ends_alike(algorithm: str, cut: int) -> None:
    """Not only its next suggestion: the whole rest is the same, with asks open at the cut."""
    space = _space(algorithm)
    whole = _Search(SearchOracle(space, 9)).run(40, workers=3, fail=(2, 9, 10))
    rest = _Search(_rebuilt(space, whole.steps[:cut]), whole.steps[:cut]).run(40, workers=3, fail=(2, 9, 10))
    assert rest.steps == whole.steps


@pytest.mark.parametrize("size", [2, 4, 7])
def test_hyperband_in_a_small_space_is_rebuilt_alike(size: int) -> None:
    """There, rounds are closed early, and workers ask in vain, of which no journal tells."""
    parameters = {"head_units": {"type": "choice", "values": [64 * (n + 1) for n in range(size)]}}
    space = _space("hyperband", parameters=parameters, start_with=[])
    search = _Search(SearchOracle(space, 9)).run(40, workers=3, fail=(2,))
    assert {s.stop_after for s in search.asked} == {1, 3, 9}
    for place, step in enumerate(search.steps):
        if isinstance(step, Suggestion):
            assert _rebuilt(space, search.steps[:place]).ask(step.trial) == step


@pytest.mark.parametrize("algorithm", QUICK_FIRST)
def test_a_restore_draws_nothing(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is fitted and nothing sampled or listed, so that a long study is taken up at once."""
    space = _small(algorithm)
    search = _Search(SearchOracle(space, 9)).run(13)
    draws: list[str] = []
    for owner, name in (
        (kt.Oracle, "_random_values"),
        (kt.oracles.BayesianOptimizationOracle, "populate_space"),
        (GaussianProcessRegressor, "fit"),
        (TpeSuggester, "propose"),
        (StudyOracle, "_any_left"),
    ):
        monkeypatch.setattr(owner, name, lambda *args, name=name: draws.append(name))
    _rebuilt(space, search.steps)
    assert draws == []


def test_a_journal_that_hyperband_did_not_write_is_refused() -> None:
    """A rung of another configuration means that the brackets are not those of the journal."""
    space = _space("hyperband", endless=True)
    search = _Search(SearchOracle(space, 9)).run(11)
    assert search.asked[9].parent
    oracle = _rebuilt(space, search.steps[:18])
    other = next(suggestion.values for suggestion in search.asked if suggestion.trial != search.asked[9].parent)
    with pytest.raises(StoreError, match="the journal's trial t0010 is not what this program would have proposed"):
        oracle.restore("t0010", other)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("seed", range(4))
def test_tpe_proposes_what_optunas_own_sampler_does(seed: int) -> None:
    """With failed and running trials, equal scores, conditions, every kind of parameter; also in its later versions."""
    space = _space("tpe", seed=seed, endless=True)
    distributions = {
        "head_units": IntDistribution(0, 2),
        "dropout": FloatDistribution(0.1, 0.4, step=0.1),
        "unfrozen_layers": IntDistribution(0, 2),
        "backbone_lr_fraction": CategoricalDistribution([0.01, 0.1]),
        "class_weighting": CategoricalDistribution(["none", "balanced"]),
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    }
    study = optuna.create_study(direction="maximize")
    suggester = TpeSuggester(space)
    for number in range(70):
        values = suggester.propose(number)
        assert values == _by_optuna(study, space, number, distributions)
        suggester.begin(str(number), values)
        running, failed = number % 9 == 7, number % 9 == 3
        score = round(_score(values) - abs(math.log10(values["learning_rate"]) + 3), 1)
        if not running:
            suggester.finish(str(number), None if failed else score)
        states = optuna.trial.TrialState
        coded = values | {"head_units": [64, 128, 256].index(values["head_units"])}
        study.add_trial(
            optuna.trial.create_trial(
                state=states.RUNNING if running else states.FAIL if failed else states.COMPLETE,
                params=coded,
                distributions={name: distributions[name] for name in coded},
                value=None if running or failed else score,
            )
        )


def test_a_draw_of_tpe_looks_at_so_many_bad_trials_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every running one, and at those that are over from the first to the last; so no draw takes ever longer."""
    seen: list[np.ndarray] = []
    density = tpe._ParzenEstimator

    def watched(observations: dict[str, np.ndarray], *others: Any) -> Any:
        if "learning_rate" in observations:
            seen.append(observations["learning_rate"])
        return density(observations, *others)

    monkeypatch.setattr(tpe, "_ParzenEstimator", watched)
    monkeypatch.setattr(tpe, "_BAD_LIMIT", 12)
    suggester, running = TpeSuggester(_space("tpe", endless=True)), {5: 2e-4, 31: 3e-4, 59: 4e-4}
    for number in range(60):
        rate = running.get(number, 1e-3 + number * 1e-5)
        values = {"head_units": 64, "dropout": 0.2, "unfrozen_layers": 0, "class_weighting": "none"}
        suggester.begin(str(number), values | {"learning_rate": rate})
        if number not in running:
            suggester.finish(str(number), 1.0 - number / 100)  # the first ones are the good ones
    suggester.propose(60)
    good, bad = seen[:2]
    assert len(good) == 6
    assert len(bad) == 12 + len(running)
    assert set(running.values()) <= set(bad)
    over = [rate for rate in bad if rate not in running.values()]
    assert over == sorted(over)
    assert over[-1] == pytest.approx(1e-3 + 58e-5)


def _by_optuna(study: optuna.Study, space: SearchSpace, number: int, distributions: dict[str, Any]) -> dict[str, Any]:
    """What TPESampler proposes; asked in vain, the trial is marked as failed, and so of no interest to later ones."""
    study.sampler = optuna.samplers.TPESampler(
        seed=derive(space.seed, "tpe", number), n_startup_trials=10, multivariate=True, group=True, constant_liar=True
    )
    trial = study.ask()
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.holds(values):
            values[parameter.name] = trial._suggest(parameter.name, distributions[parameter.name])
            if parameter.name == "head_units":
                values[parameter.name] = [64, 128, 256][values[parameter.name]]
            values[parameter.name] = parameter.clip(values[parameter.name])
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return values


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_running_trials_are_guessed_from_what_was_completed() -> None:
    """With an error to the bad side. keras-tuner guesses them from the process that it fitted for an earlier trial."""
    oracle = BayesianOracle(_space("bayesian", parameters=LEARNING_RATE, start_with=[]))
    for place, score in enumerate((5.0, 5.2, 5.1, 4.9)):
        oracle.begin(str(place), {"learning_rate": 1e-3 * (1 + place)})
        oracle.finish(str(place), score)
    oracle.begin("running", {"learning_rate": 2.5e-3})
    _, losses = oracle._vectorize_trials()
    assert list(losses[:4]) == [-5.0, -5.2, -5.1, -4.9]
    assert -5.3 < losses[4] < -4.5


def test_a_stepped_number_keeps_its_place_before_the_gaussian_process() -> None:
    """keras-tuner takes 0.3 for the 0.2 before it, so its model would learn from the wrong configuration."""
    steps = {"dropout": {"type": "float", "min": 0.1, "max": 0.6, "step": 0.1}}
    oracle = BayesianOracle(_space("bayesian", parameters=steps, start_with=[]))
    for dropout in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        oracle.begin(str(dropout), {"dropout": dropout})
    places = [oracle._vector(trial)[0] for trial in oracle.trials.values()]
    assert places == pytest.approx([(place + 0.5) / 6 for place in range(6)])


@pytest.mark.parametrize("algorithm", ["random", "hyperband"])
def test_the_end_of_a_stepped_range_is_drawn(algorithm: str) -> None:
    """keras-tuner leaves out 0.6 from 0.2 to 0.6 by 0.1, because 0.4 / 0.1 is a little less than 4 to a computer."""
    steps = {"dropout": {"type": "float", "min": 0.2, "max": 0.6, "step": 0.1}} | LEARNING_RATE
    asked = _search(_space(algorithm, parameters=steps, start_with=[]), 60)
    assert {s.values["dropout"] for s in asked} == {0.2, 0.3, 0.4, 0.5, 0.6}


def test_the_end_of_a_finite_space_is_its_end() -> None:
    """Hyperband finds the last of 120 configurations; keras-tuner gives up after 20 draws that were not new."""
    asked = _search(_space("hyperband"), 400)
    assert len({tuple(sorted(s.values.items())) for s in asked}) == FINITE_SIZE


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_rehearsal_foresees_what_the_study_will_ask(algorithm: str) -> None:
    """Costs are estimated from the study's own first trials, and never from more than it has."""
    space = _space(algorithm, trials=15)
    configs = foreseen(space, trials=3)
    first = _search(space, 1, epochs=configs[0].epochs)[0]
    assert configs[0].head_units == first.values["head_units"]
    assert len(configs) == 3
    assert len(foreseen(space.replace(trials=2), trials=3)) == 2
