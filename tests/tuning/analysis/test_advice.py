"""Advice says what was seen with its numbers, and says nothing where nothing was seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from made import record_of, sampled, trial_of
from synthetic import synthetic_space

from tuning.analysis.advice import Advice, advise, fixed_value
from tuning.analysis.importance import Importances, ParameterImportance
from tuning.events import TrialConfirmed
from tuning.record import StudyRecord

SPACE = synthetic_space()


def _importances(record: StudyRecord, mattering: tuple[str, ...]) -> Importances:
    """What the method would find where only some parameters matter."""
    found = [
        ParameterImportance(p.name, *((0.5, 0.4, 0.6, True) if p.name in mattering else (0.01, 0.0, 0.02, False)))
        for p in SPACE.parameters
    ]
    return Importances(tuple(found), record.count("completed"), "made up", "", (), 0.02)


def _advice(record: StudyRecord, *mattering: str) -> dict[tuple[str, str], str]:
    found: list[Advice] = advise(record, _importances(record, mattering))
    return {(one.kind, one.parameter): one.sentence for one in found}


def _rising(values: dict[str, Any]) -> float:
    return 0.8 + 0.0003 * values["head_units"] - (0.2 if values["class_weighting"] == "sqrt" else 0)


def test_leaders_at_an_edge_say_so_only_where_it_matters() -> None:
    """The best lies beyond 512 units; for a parameter that does nothing the same crowd means nothing."""
    record = sampled(SPACE, _rising, 100)  # type: ignore[arg-type]
    sentence = _advice(record, "head_units")["edge", "head_units"]
    assert "10 of the 10 leaders lie at 512, its largest value" in sentence
    assert sentence.endswith("search to 1024.")
    assert ("edge", "head_units") not in _advice(record, "dropout")


def test_a_value_that_is_never_good_is_told() -> None:
    """Tried often enough to come among the best third by chance, and never there."""
    record = sampled(SPACE, _rising, 100)  # type: ignore[arg-type]
    advice = _advice(record, "class_weighting")
    assert "sqrt was tried" in advice["never_good", "class_weighting"]
    assert [key for key in advice if key[0] == "never_good"] == [("never_good", "class_weighting")]


def test_dead_parameters_are_fixed_as_the_baseline_has_them() -> None:
    """With the numbers; not from few trials, and not what is only uncertain."""
    record = sampled(SPACE, _rising, 100)  # type: ignore[arg-type]
    sentence = _advice(record, "head_units", "class_weighting")["dead", "dropout"]
    assert "1.0% of the differences (at most 2.0%)" in sentence
    assert "fix it at 0.5, as in the first known configuration" in sentence
    few = sampled(SPACE, _rising, 60)  # type: ignore[arg-type]
    assert not [key for key in _advice(few, "head_units") if key[0] == "dead"]
    uncertain = _importances(record, ())
    wide = tuple(dataclasses.replace(one, high=0.4) for one in uncertain.parameters)
    assert "dead" not in {one.kind for one in advise(record, dataclasses.replace(uncertain, parameters=wide))}


def test_a_dead_parameter_that_the_baseline_lacks_is_fixed_as_in_the_best() -> None:
    """In the best trial in which it is active, in two digits."""
    record = sampled(SPACE, _rising, 20)  # type: ignore[arg-type]
    parameter = SPACE.parameters[3]
    active = [trial for trial in record.ranked() if trial.params[parameter.name] is not None]
    value, whose = fixed_value(SPACE, parameter, record.ranked())
    assert value == pytest.approx(active[0].params[parameter.name], rel=0.05)
    assert whose == f"as in {active[0].trial}"


def test_failures_of_a_region_are_told_with_their_cause() -> None:
    """A high learning rate diverges; numbers in a reason do not split its cause."""
    record = sampled(SPACE, _rising, 80)  # type: ignore[arg-type]
    for trial in record.trials.values():
        if trial.params["learning_rate"] > 4e-3:
            trial.status, trial.score, trial.reason = "failed", None, f"loss became nan in epoch {trial.number}"
    sentence = _advice(record)["failures", "learning_rate"]
    assert sentence.startswith("learning_rate from 0.004")
    assert "loss became nan in epoch …" in sentence
    assert "0 of" in sentence


def test_failures_all_over_are_no_region() -> None:
    """Every eighth trial fails, whatever its values."""
    record = sampled(SPACE, _rising, 80)  # type: ignore[arg-type]
    for trial in list(record.trials.values())[::8]:
        trial.status, trial.score, trial.reason = "failed", None, "out of memory"
    assert not [key for key in _advice(record) if key[0] == "failures"]


@pytest.mark.parametrize(("best", "kind"), [(5, "exhausted"), (38, "improving")])
def test_says_whether_the_end_still_gained(best: int, kind: str) -> None:
    """By where the best trial came."""
    values = SPACE.complete(SPACE.start_with[0])
    scores = [0.9 + 0.0001 * number + (0.05 if number == best else 0) for number in range(1, 41)]
    changed = [dict(values) | {"learning_rate": 1e-3 + 1e-5 * n} for n in range(40)]
    trials = [trial_of(SPACE, n + 1, changed[n], score) for n, score in enumerate(scores)]
    advice = _advice(record_of(SPACE, trials))
    assert (kind, "") in advice
    assert f"t00{best:02d}" in advice[kind, ""]


def test_tied_leaders_are_to_be_confirmed_again() -> None:
    """With more seeds than before; without a confirmation, where others lie within the best one's interval."""
    values = dict(SPACE.complete(SPACE.start_with[0]))
    trials = [trial_of(SPACE, n, values | {"learning_rate": 1e-3 * n}, 0.9 + 0.001 * n) for n in (1, 2, 3)]
    trials[2].intervals = {"val_roc_auc": [0.9015, 0.92]}
    record = record_of(SPACE, trials)
    assert "1 other trial scored within the 95 % interval of the best, t0003" in _advice(record)["tied", ""]
    fields = {field.name: None for field in dataclasses.fields(TrialConfirmed)}
    for rank, trial in enumerate(trials[1:], start=1):
        trial.confirmed = TrialConfirmed(**fields | {"trial": trial.trial, "rank": rank, "tied": rank == 2})  # type: ignore[arg-type]
    record.confirm = {"seeds": 2}
    sentence = _advice(record)["tied", ""]
    assert sentence.startswith("t0002, t0003: the confirmation could not tell them apart")
    assert "--top 2 --seeds 4" in sentence


def test_a_conditional_parameter_that_hardly_was_active_is_told() -> None:
    """Nothing can be said of it, and how to change that."""
    record = sampled(SPACE, _rising, 60)  # type: ignore[arg-type]
    for trial in list(record.trials.values())[4:]:
        trial.params["backbone_lr_fraction"] = None
    sentence = _advice(record)["starved", "backbone_lr_fraction"]
    assert "was active in" in sentence
    assert "fix unfrozen_layers where it is active" in sentence


def test_few_trials_are_told_and_an_empty_study_says_no_more() -> None:
    """Advice never fails, whatever there is."""
    assert "ten" not in (found := _advice(record_of(SPACE, [])))
    assert set(found) == {("few_trials", "")}


def test_the_end_of_a_search_of_rungs_or_of_all_configurations_says_nothing_of_more_trials() -> None:
    """Trials of Hyperband differ in length, and a finite space has no more trials to give."""
    record = sampled(SPACE, _rising, 40)  # type: ignore[arg-type]
    assert {"exhausted", "improving"} & {kind for kind, _ in _advice(record)}
    for trial in record.trials.values():
        trial.config["stop_after"] = 1
    assert not {"exhausted", "improving"} & {kind for kind, _ in _advice(record)}
    text = "name: small\nfixed: {weights: random}\nparameters:\n  head_units: {type: int, min: 1, max: 20}\n"
    small = synthetic_space(text)
    tried = [trial_of(small, units, {"head_units": units}, 0.9 + 0.001 * units) for units in range(1, 21)]
    found = {
        one.kind: one.sentence for one in advise(record_of(small, tried), _importances(record_of(small, tried), ()))
    }
    assert "all 20 configurations of the space were tried" in found["exhausted"]
    assert "improving" not in found


def test_an_end_of_a_descending_list_is_called_what_it_is() -> None:
    """The first of 512, 256, 128, 64 is the largest."""
    space = synthetic_space(
        "name: down\nfixed: {weights: random}\nparameters:\n"
        "  head_units: {type: choice, values: [512, 256, 128, 64], ordered: true}\n"
        "  dropout: {type: float, min: 0.0, max: 0.5}\n"
    )
    record = sampled(space, lambda values: 0.001 * values["head_units"], 60)
    found = Importances((ParameterImportance("head_units", 0.9, 0.8, 1.0),), 60, "made up", "", ())
    assert "at 512, its largest value" in next(one.sentence for one in advise(record, found) if one.kind == "edge")
