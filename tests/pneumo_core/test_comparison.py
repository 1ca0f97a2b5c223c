"""Two models on the same images: differences are paired, and calls are counted by patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

from pneumo_core.comparison import ChangedCalls, changed_calls, compare, score_interval
from pneumo_core.errors import PneumoError
from pneumo_core.evaluation import compute_metrics
from pneumo_core.operating_point import OperatingPoint

HALF = OperatingPoint(0.5)


def _table(patients: int = 80, seed: int = 0, distance: float = 2.0, images_each: int = 1) -> pd.DataFrame:
    group = np.repeat(np.arange(patients), images_each)
    labels = group % 2
    logits = np.random.default_rng(seed).normal(distance * (labels - 0.5), 1.0)
    return pd.DataFrame(
        {
            "path": [f"{row}.png" for row in range(len(group))],
            "group": group,
            "label": labels,
            "subtype": np.where(labels == 0, "normal", np.where(group % 4 == 1, "bacteria", "virus")),
            "logit": logits,
            "probability": expit(logits),
        }
    )


def test_differences_are_those_of_the_metrics_at_each_models_own_threshold() -> None:
    """Challenger less champion, for every metric and kind; a champion of another threshold is called from there."""
    ours, theirs = _table(seed=1), _table(seed=2)
    found = compare(ours, theirs, (OperatingPoint(0.4), OperatingPoint(0.6)), draws=100)
    values = compute_metrics(ours, 0.4), compute_metrics(theirs, 0.6)
    for name, value in values[0].items():
        assert found.differences[name].value == pytest.approx(value - values[1][name]), name
    bacterial = [
        (table[table["subtype"] == "bacteria"]["probability"] >= threshold).mean()
        for table, threshold in ((ours, 0.4), (theirs, 0.6))
    ]
    assert found.differences["sensitivity_bacteria"].value == pytest.approx(bacterial[0] - bacterial[1])
    assert (found.images, found.patients) == (80, 80)


def test_a_better_model_is_told_from_chance_and_a_tie_is_not() -> None:
    """The interval of the AUC's difference is over 0 for the one, and holds 0 for the other."""
    weak = _table(400, seed=3, distance=1.0)
    strong = weak.assign(logit=weak["logit"] + 1.5 * (weak["label"] - 0.5))
    strong["probability"] = expit(strong["logit"])
    assert compare(strong, weak, (HALF, HALF)).differences["roc_auc"].low > 0
    tie = compare(_table(400, seed=4), _table(400, seed=5), (HALF, HALF)).differences["roc_auc"]
    assert tie.low < 0 < tie.high
    same = compare(weak, weak, (HALF, HALF))
    assert (same.differences["roc_auc"].low, same.differences["roc_auc"].high) == (0, 0)
    assert same.changed["sensitivity"] == ChangedCalls(0, 0, 1.0)


def test_mcnemar_by_hand() -> None:
    """Of the positive images 6 are fixed and 1 broken: 2 × (1 + 7) / 2^7; negative ones are counted apart."""
    champion = _table(40).assign(probability=0.9)
    champion["logit"] = np.log(9.0)
    positive, negative = (np.flatnonzero(champion["label"] == label) for label in (1, 0))
    challenger = champion.copy()
    champion.loc[positive[:6], "logit"] = -1.0
    challenger.loc[positive[6], "logit"] = -1.0
    challenger.loc[negative[:5], "logit"] = -1.0
    for table in (champion, challenger):
        table["probability"] = expit(table["logit"])
    found = compare(challenger, champion, (HALF, HALF), draws=50).changed
    assert found["sensitivity"] == ChangedCalls(6, 1, pytest.approx(2 * 8 / 2**7))
    assert found["specificity"] == ChangedCalls(5, 0, pytest.approx(2 / 2**5))
    reverse = compare(champion, challenger, (HALF, HALF), draws=50).changed
    assert (reverse["specificity"].better, reverse["specificity"].worse) == (0, 5)
    assert not reverse["specificity"].is_worse(0.05)
    assert reverse["specificity"].is_worse(0.1)
    assert not found["specificity"].is_worse(0.1)


def test_few_patients_whose_calls_did_not_change_show_no_small_difference() -> None:
    """The score interval by hand: z²/(n + z²) to either side where nothing changed; mirrored for the other order."""
    for patients in (5, 20, 400):
        reach = 1.959964**2 / (patients + 1.959964**2)
        assert score_interval(0, 0, patients) == pytest.approx((-reach, reach), abs=1e-5)
    low, high = score_interval(6, 2, 50)
    assert score_interval(2, 6, 50) == (-high, -low)
    assert low < 0.08 < high
    assert score_interval(10, 0, 10)[1] == 1.0
    table = _table(20)
    alike = compare(table, table, (OperatingPoint(0.5), OperatingPoint(0.5)), draws=50).differences["sensitivity"]
    assert (alike.value, alike.low) == (0.0, score_interval(0, 0, table["label"].sum())[0])


def test_a_loss_as_large_as_the_margin_is_not_taken_for_none() -> None:
    """In at most one of forty comparisons it should be; by the draws alone, with 50 patients, it was one in five."""
    rng, passed = np.random.default_rng(0), 0
    for _ in range(2000):
        champion = rng.random(50) < 0.95
        lost = int((champion & (rng.random(50) < 0.03 / 0.95)).sum())
        passed += score_interval(0, lost, 50)[0] > -0.03
    assert passed / 2000 <= 0.025


def test_many_changed_images_of_one_patient_are_one_observation() -> None:
    """Thirty broken images of one child do not make a model worse; one each of ten children do."""
    one_child = changed_calls(np.repeat(-1, 30), np.zeros(30, int))
    assert (one_child.worse, one_child.p_value) == (1, 1.0)
    ten = changed_calls(np.repeat(-1, 10), np.arange(10))
    assert ten.is_worse(0.05)
    undecided = changed_calls(np.array([1, -1, -1]), np.array([0, 0, 1]))
    assert (undecided.better, undecided.worse) == (0, 1)


def test_the_test_by_patients_keeps_its_level_where_that_by_images_does_not() -> None:
    """2,000 comparisons of equally good models whose patients' images change together: at most 5 % are called worse."""
    rng = np.random.default_rng(0)
    alarms = {"patients": 0, "images": 0}
    for _ in range(2000):
        patients = np.repeat(np.arange(40), rng.geometric(0.3, 40))
        gained = rng.choice([-1, 0, 0, 1], 40)[patients] * (rng.random(len(patients)) < 0.8)
        alarms["patients"] += changed_calls(gained, patients).p_value < 0.05
        fixed, broken = int((gained > 0).sum()), int((gained < 0).sum())
        alarms["images"] += fixed + broken > 0 and stats.binomtest(fixed, fixed + broken).pvalue < 0.05
    assert alarms["patients"] / 2000 <= 0.05
    assert alarms["images"] / 2000 > 0.15


def test_scores_of_other_images_are_not_compared() -> None:
    """One evaluation only."""
    with pytest.raises(PneumoError, match="same images"):
        compare(_table(40), _table(42), (HALF, HALF), draws=10)


def test_the_comparison_is_plain_json() -> None:
    """What is undefined, as the PPV of a model that calls nothing, is None."""
    silent = _table().assign(logit=-9.0, probability=float(expit(-9.0)))
    found = compare(_table(), silent, (HALF, HALF), draws=50).to_mapping()
    assert found["differences"]["ppv"] == {"value": None, "low": None, "high": None}
    assert set(found["changed"]["sensitivity"]) == {"better", "worse", "p_value"}


def _seeds(distance: float, spread: float, seeds: int = 3) -> list[pd.DataFrame]:
    """Tables of a model whose trainings separate the classes by so much, and differ by so much in that."""
    return [_table(200, seed=9, distance=distance + spread * (number - 1)) for number in range(seeds)]


def test_one_seed_in_a_list_is_as_the_table_alone() -> None:
    """The comparison of a promotion and that of trials are the same one."""
    ours, theirs = _table(seed=1), _table(seed=2)
    assert compare([ours], [theirs], (HALF, HALF), draws=50) == compare(ours, theirs, (HALF, HALF), draws=50)


def test_values_are_means_over_seeds_and_their_spread_widens_the_intervals() -> None:
    """What another seed would change is part of the error; without a spread nothing is added."""
    alike, unlike = (compare(_seeds(2.0, spread), [_table(200, seed=8)] * 2, (HALF, HALF)) for spread in (0.0, 1.0))
    plain = compare(_table(200, seed=9), _table(200, seed=8), (HALF, HALF))
    widths = [found.differences["roc_auc"].high - found.differences["roc_auc"].low for found in (plain, alike, unlike)]
    assert widths[1] == pytest.approx(widths[0])
    assert widths[2] > 1.5 * widths[1]
    mean = np.mean([compute_metrics(table)["roc_auc"] for table in _seeds(2.0, 1.0)])
    other = compute_metrics(_table(200, seed=8))["roc_auc"]
    assert unlike.differences["roc_auc"].value == pytest.approx(mean - other)


def test_a_model_of_one_seed_is_taken_to_vary_as_the_other_does() -> None:
    """Its own spread is not known, which is no reason to call it none: the variance is 1 + 1/3 of the other's."""
    several, single = _seeds(2.0, 1.0), _table(200, seed=9)
    one, three = (compare(several, side, (HALF, HALF)).differences["roc_auc"] for side in ([single], [single] * 3))
    assert one.high - one.low > three.high - three.low


def test_no_difference_of_rates_reaches_beyond_one() -> None:
    """Two seeds that have nothing in common tell nothing, not more than nothing."""
    wild = [_table(40, seed=1), _table(40, seed=1).assign(logit=-9.0, probability=0.0001)]
    found = compare(wild, [_table(40, seed=2)] * 2, (HALF, HALF), draws=50).differences
    for name in ("sensitivity", "specificity", "balanced_accuracy"):
        assert -1 <= found[name].low <= found[name].high <= 1, name


def test_a_patient_whose_seeds_disagree_counts_by_their_sum() -> None:
    """Fixed in one training and broken in another: as often better as worse, so it says nothing."""
    gained = np.array([1 / 3, 1 / 3, -2 / 3, 1 / 3, -1 / 3])
    assert changed_calls(gained, np.array([0, 0, 0, 1, 2])) == ChangedCalls(1, 1, 1.0)


@pytest.mark.slow  # 200 comparisons
@pytest.mark.parametrize(("seeds", "least", "most"), [(1, 0.0, 0.6), (2, 0.86, 1.0), (3, 0.88, 1.0)])
def test_intervals_over_seeds_hold_no_difference_where_there_is_none(seeds: int, least: float, most: float) -> None:
    """Of trainings whose separation varies by a quarter. Of one seed each most intervals are wrong: none is known."""
    held = []
    for simulation in range(200):
        rng = np.random.default_rng([simulation, seeds])
        shared = rng.normal(size=160)

        def side(rng: np.random.Generator = rng, shared: np.ndarray = shared) -> list[pd.DataFrame]:
            group = np.arange(160)
            trainings = [
                rng.normal(2, 0.5) * (group % 2 - 0.5) + shared + rng.normal(0, 0.5, 160) for _ in range(seeds)
            ]
            columns = {"path": group.astype(str), "group": group, "label": group % 2}
            return [pd.DataFrame(columns | {"logit": one, "probability": expit(one)}) for one in trainings]

        difference = compare(side(), side(), (HALF, HALF), draws=200).differences["roc_auc"]
        held.append(difference.low <= 0 <= difference.high)
    assert least <= np.mean(held) <= most
