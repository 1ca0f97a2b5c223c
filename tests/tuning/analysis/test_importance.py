"""Importance ranks the parameters of constructed surfaces as they were constructed, and says what it does not know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from made import Surface, record_of, sampled
from synthetic import synthetic_space

from search_spaces import SearchSpace
from tuning.analysis import fanova
from tuning.analysis.importance import Importances, importances

SPACE = """\
name: surface
trials: 100
fixed: {weights: random, image_size: 32}
parameters:
  head_units: {type: choice, values: [64, 128, 256, 512], ordered: true}
  dropout: {type: float, min: 0.0, max: 0.8}
  label_smoothing: {type: float, min: 0.0, max: 0.4}
  unfrozen_layers: {type: choice, values: [0, 1, 2], ordered: true}
  backbone_lr_fraction: {type: float, min: 0.01, max: 1.0, log: true, when: {unfrozen_layers: [1, 2]}}
  learning_rate: {type: float, min: 1.0e-4, max: 1.0e-2, log: true}
  class_weighting: {type: choice, values: [none, balanced, sqrt]}
"""


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rankings need no fine intervals."""
    monkeypatch.setattr(fanova, "DRAWS", 8)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    """Seven parameters: ordered, continuous, logarithmic, conditional, without order."""
    return synthetic_space(SPACE)


def _rate(values: Mapping[str, Any]) -> float:
    """Where the learning rate lies in its range, 0 to 1."""
    return math.log10(values["learning_rate"] / 1e-4) / 2


def _additive(values: Mapping[str, Any]) -> float:
    """Linear terms of independent parameters: variances go with the squares of the ranges, 16 to 4 to 1."""
    return 0.4 * _rate(values) + 0.2 * values["dropout"] / 0.8 + 0.1 * values["label_smoothing"] / 0.4


def _interaction(values: Mapping[str, Any]) -> float:
    """A product, in which both count alike, and a third parameter that counts less."""
    return 0.4 * _rate(values) * values["dropout"] / 0.8 + 0.08 * values["label_smoothing"] / 0.4


def _choice(values: Mapping[str, Any]) -> float:
    return {"none": 0.0, "balanced": 0.3, "sqrt": 0.1}[values["class_weighting"]] + 0.1 * _rate(values)


def _conditional(values: Mapping[str, Any]) -> float:
    """What the conditional parameter does where it is active; the learning rate counts less."""
    fraction = values.get("backbone_lr_fraction")
    return (0.0 if fraction is None else 0.4 * (math.log10(fraction) + 1)) + 0.3 * _rate(values)


def _names(found: Importances) -> list[str]:
    return [one.name for one in found.parameters]


SURFACES = [
    (_additive, [["learning_rate"], ["dropout"], ["label_smoothing"]]),
    (_interaction, [["dropout", "learning_rate"], ["label_smoothing"]]),
    (_choice, [["class_weighting"], ["learning_rate"]]),
    (_conditional, [["backbone_lr_fraction"], ["learning_rate"]]),
]
"""And which parameters come first, in groups whose members count alike."""


@pytest.mark.parametrize(("surface", "first"), SURFACES)
def test_ranks_constructed_surfaces_right(space: SearchSpace, surface: Surface, first: list[list[str]]) -> None:
    """By known shares of the variance; what does nothing comes after; shares sum to 1, within their intervals."""
    found = importances(sampled(space, surface, 100, noise=0.01))
    names = _names(found)
    for group in first:
        assert set(names[: len(group)]) == set(group)
        assert all(found.of(name).matters for name in group)  # type: ignore[union-attr]
        names = names[len(group) :]
    assert sum(one.share for one in found.parameters) == pytest.approx(1)
    assert all(0 <= one.low <= one.share <= one.high <= 1 for one in found.parameters)


@pytest.mark.slow
@pytest.mark.parametrize(("surface", "first"), SURFACES)
def test_trials_that_crowd_around_the_best_show_what_matters_most(
    space: SearchSpace, surface: Surface, first: list[list[str]]
) -> None:
    """TPE's trials; what comes first is right for five seeds of six or more, and the crowd is warned of."""
    right, warned = 0, 0
    for seed in range(6):
        found = importances(sampled(space, surface, 100, tpe=True, noise=0.01, seed=seed))
        right += set(_names(found)[: len(first[0])]) == set(first[0])
        warned += "small part of the range" in " ".join(found.warnings)
    assert right >= 5
    assert warned >= 3


def test_shares_are_those_of_the_variance(space: SearchSpace) -> None:
    """16 : 4 : 1 of an additive surface, within the forest's means; dead parameters get next to nothing."""
    found = importances(sampled(space, _additive, 200))
    true = {"learning_rate": 16 / 21, "dropout": 4 / 21, "label_smoothing": 1 / 21}
    for one in found.parameters:
        assert one.share == pytest.approx(true.get(one.name, 0), abs=0.08)


def test_a_minimized_objective_is_ranked_alike(space: SearchSpace) -> None:
    """Which direction is better changes which half is looked at by itself, and not the order."""
    content = space.model_dump() | {"objective": "val_loss", "direction": "min"}
    lower = SearchSpace.model_validate(content)
    found = importances(sampled(lower, lambda values: -_additive(values), 60, noise=0.01))
    assert _names(found)[:2] == ["learning_rate", "dropout"]


def test_dead_parameters_are_not_told_from_noise(space: SearchSpace) -> None:
    """What matters and what does not is measured by a column of random numbers."""
    found = importances(sampled(space, _additive, 100, noise=0.02))
    alive = {one.name for one in found.parameters if one.matters}
    assert {"learning_rate", "dropout"} <= alive
    assert len(alive - {"learning_rate", "dropout", "label_smoothing"}) <= 1  # one of four may come above by chance
    assert 0 < found.noise < 0.1


def test_noise_alone_is_said_to_be_noise(space: SearchSpace) -> None:
    """Shares of nothing still sum to 1; a warning says that they mean nothing."""
    found = importances(sampled(space, lambda values: 0.0, 60, noise=0.1, seed=3))
    assert sum(one.matters for one in found.parameters) <= 1
    assert found.parameters[0].share - found.parameters[0].low > 0.05
    if not any(one.matters for one in found.parameters):
        assert "chance" in " ".join(found.warnings)


@pytest.mark.parametrize(
    ("surface", "trials", "reason"),
    [(_additive, 19, "at least 20 completed trials; there are 19"), (lambda values: 0.9, 30, "are equal")],
)
def test_says_why_there_are_none(space: SearchSpace, surface: Surface, trials: int, reason: str) -> None:
    """Instead of made-up numbers: too few trials, or scores that are all the same."""
    found = importances(sampled(space, surface, trials))
    assert found.parameters == ()
    assert reason in found.reason


def test_a_study_without_parameters_or_trials_has_none(space: SearchSpace) -> None:
    """Both are told, none ends in a traceback."""
    assert "no parameter" in importances(record_of(space, [])).reason
    assert "no parameter" in importances(record_of(synthetic_space("name: none\ntrials: 1\n"), [])).reason


def test_few_trials_are_warned_of(space: SearchSpace) -> None:
    """From 20 trials on there are shares, with a sentence that they are not to be trusted yet."""
    assert "few" in importances(sampled(space, _additive, 25)).warnings[0]


def test_only_trials_of_one_length_are_compared(space: SearchSpace) -> None:
    """Scores of Hyperband's rungs differ by the epochs they took, which would look like an effect of parameters."""
    record = sampled(space, _additive, 60)
    for trial in list(record.trials.values())[:20]:
        trial.config["stop_after"] = 3
    pruned = list(record.trials.values())[-15:]
    for trial in pruned:
        trial.status = "pruned"
    found = importances(record)
    assert found.trials == 25
    text = " ".join(found.warnings)
    assert "20 completed trials were trained for other numbers of epochs" in text
    assert "15 pruned trials do not count" in text


def test_the_same_seed_gives_the_same_result(space: SearchSpace) -> None:
    """A report that is written again says the same; another seed differs within the interval."""
    record = sampled(space, _additive, 22)
    assert importances(record) == importances(record)
    assert importances(record) != importances(record, seed=1)


def test_fanova_is_that_of_optuna(space: SearchSpace) -> None:
    """On the trials as they are, with parameters that are always active and linear, it is Optuna's own evaluator."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = ["dropout", "label_smoothing"]
    parameters = [parameter for parameter in space.parameters if parameter.name in names]
    record = sampled(space, _additive, 40)
    trials = list(record.trials.values())
    study = optuna.create_study(direction="maximize")
    spans = {p.name: optuna.distributions.FloatDistribution(p.min, p.max) for p in parameters}  # type: ignore[union-attr]
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: trial.params[name] for name in names}, distributions=spans, value=trial.score
            )
            for trial in trials
        ]
    )
    theirs = optuna.importance.FanovaImportanceEvaluator(n_trees=4, max_depth=64, seed=5).evaluate(study, params=names)
    axes = [fanova._Axis.of(parameter, trials) for parameter in parameters]
    method = fanova._Fanova(4, 64, 2, 1, 5)
    every = np.arange(len(trials))
    columns = np.hstack([axis.columns(every, np.random.default_rng(0)) for axis in axes])
    limits = np.array([ends for axis in axes for ends in axis.limits])
    method.fit(columns, np.array([trial.score for trial in trials]), limits, [np.array([0]), np.array([1])])
    ours = {name: method.get_importance(place)[0] for place, name in enumerate(names)}
    assert ours == pytest.approx(theirs)
