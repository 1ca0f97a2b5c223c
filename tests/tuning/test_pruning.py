"""Hopeless trials end early, by rules that can be worked out on paper."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from pneumo_core.errors import ConfigError
from pneumo_core.seeds import generator
from tuning.pruning import PRUNING_RULES, checked_rule, is_hopeless, pruning_thresholds

NAN = math.nan


def _trial(*losses: float) -> dict[int, float]:
    return dict(enumerate(losses, start=1))


FIVE = [
    _trial(0.9, 0.5, 0.6, 0.4),
    _trial(0.8, 0.7, 0.3, 0.2),
    _trial(0.7, 0.6, 0.5, 0.1),
    _trial(0.6, 0.8, 0.9, 0.9),
    _trial(0.5, 0.4, 0.2, 0.3),
]


def test_without_a_rule_all_go_on() -> None:
    """Pruning is an option."""
    assert pruning_thresholds("none", FIVE, 4) == {}


def test_median_by_hand() -> None:
    """Lowest so far after 2 epochs: .5 .7 .6 .6 .4; after 3: .5 .3 .5 .6 .2. Not after the first, nor the last."""
    assert pruning_thresholds("median", FIVE, 4) == {2: 0.6, 3: 0.5}


def test_median_of_an_even_number_lies_between_two() -> None:
    """With a sixth trial at 0.1, the middle after 2 epochs is between 0.5 and 0.6."""
    assert pruning_thresholds("median", [*FIVE, _trial(0.3, 0.1)], 3) == {2: pytest.approx(0.55)}


def test_median_waits_for_five_trials_that_came_as_far() -> None:
    """Four say too little; a trial that ended after two epochs says nothing about the third."""
    assert pruning_thresholds("median", FIVE[:4], 4) == {}
    assert pruning_thresholds("median", [*FIVE[:4], _trial(0.5, 0.4)], 4) == {2: 0.6}


def test_halving_by_hand() -> None:
    """After 1 epoch .5 .6 .7 .8 .9, after 3 epochs .2 .3 .5 .5 .6; with the new one six each, of which two go on."""
    assert pruning_thresholds("halving", FIVE, 10) == {1: 0.6, 3: 0.3}


@pytest.mark.parametrize(("epochs", "rungs"), [(1, []), (2, [1]), (3, [1]), (4, [1, 3]), (9, [1, 3]), (10, [1, 3, 9])])
def test_halving_decides_after_powers_of_three(epochs: int, rungs: list[int]) -> None:
    """Never after the last epoch, when there is nothing left to save."""
    assert list(pruning_thresholds("halving", [_trial(*[0.5] * 10)] * 5, epochs)) == rungs


def test_halving_begins_with_the_third_at_a_rung() -> None:
    """Two before it and itself are three, of which the best goes on; among two there is no third."""
    assert pruning_thresholds("halving", FIVE[:1], 3) == {}
    assert pruning_thresholds("halving", FIVE[:2], 3) == {1: 0.8}


@pytest.mark.parametrize("rule", ["median", "halving"])
def test_losses_that_are_no_numbers_are_ignored(rule: str) -> None:
    """Within a trial, and a trial that has no others."""
    clean = [_trial(0.9, 0.9, 0.4), *FIVE]
    marred = [_trial(0.9, NAN, 0.4), *FIVE, _trial(NAN, NAN, NAN, NAN), _trial()]
    assert pruning_thresholds(rule, marred, 4) == pruning_thresholds(rule, clean, 4)


@pytest.mark.parametrize("rule", ["median", "halving"])
def test_the_order_of_the_trials_does_not_matter(rule: str) -> None:
    """Workers end in any order."""
    for order in itertools.permutations(FIVE):
        assert pruning_thresholds(rule, order, 4) == pruning_thresholds(rule, FIVE, 4)


def test_a_trial_is_judged_by_its_lowest_loss() -> None:
    """A bad epoch after a good one ends nothing, and the threshold itself is good enough."""
    thresholds = {"2": 0.6, "3": 0.5}
    assert not is_hopeless([0.9], thresholds)
    assert is_hopeless([0.9, 0.7], thresholds)
    assert not is_hopeless([0.9, 0.6], thresholds)
    assert not is_hopeless([0.5, 0.9, 0.9], thresholds)
    assert is_hopeless([0.9, 0.6, 0.55], thresholds)
    assert not is_hopeless([0.9, 0.9, 0.9, 0.9], thresholds)


def test_a_loss_that_is_no_number_is_not_hopeless() -> None:
    """That the training diverged is another matter, reported elsewhere."""
    assert not is_hopeless([NAN, NAN], {"2": 0.6})
    assert is_hopeless([NAN, 0.7], {"2": 0.6})
    assert not is_hopeless([], {"2": 0.6})


def test_thresholds_survive_the_journal() -> None:
    """JSON makes text of the epochs; the judgement is the same after it."""
    thresholds = pruning_thresholds("median", FIVE, 4)
    recorded = json.loads(json.dumps({str(epochs): loss for epochs, loss in thresholds.items()}))
    assert is_hopeless([0.9, 0.61], recorded)
    assert not is_hopeless([0.9, 0.59], recorded)


def test_halving_lets_about_a_third_go_on() -> None:
    """Of 300 trials that end one after another with random losses, far fewer than half and more than a fifth."""
    finished: list[dict[int, float]] = []
    kept = 0
    for loss in generator(0, "losses").random(300):
        thresholds = {str(e): t for e, t in pruning_thresholds("halving", finished, 3).items()}
        kept += not is_hopeless([loss], thresholds)
        finished.append(_trial(loss))
    assert 0.2 < kept / 300 < 0.45


@pytest.mark.parametrize("rule", PRUNING_RULES)
def test_rules_are_known_by_name(rule: str) -> None:
    """What the command line offers is there."""
    assert checked_rule(rule) == rule
    assert isinstance(pruning_thresholds(rule, FIVE, 4), dict)


def test_an_unknown_rule_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(ConfigError, match="--pruning hyperband: expected one of none, median, halving"):
        checked_rule("hyperband")
