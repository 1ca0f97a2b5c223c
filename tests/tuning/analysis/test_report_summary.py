"""The summary of a report says what a study showed, and no more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from synthetic import synthetic_space, write_study

from tuning.analysis.gain import Gain
from tuning.analysis.report_account import account, advice
from tuning.analysis.report_charts import Charts
from tuning.analysis.report_facts import ReportFacts, gather
from tuning.analysis.report_summary import summary
from tuning.document import Section, Text, as_markdown
from tuning.store import Store

RECIPE = "name: recipe\ntrials: 1\nfixed: {weights: random, dropout: 0.5}\n"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> ReportFacts:
    """Of ten trials, with the baseline behind the best."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    write_study(store, "s", trials=10, failed=0.0, pruned=0.0, surface=_surface)
    return gather(store, "s")


def _surface(values: Mapping[str, Any]) -> float:
    return 0.8 + 0.1 * (values["dropout"] < 0.5)


def _said(facts: ReportFacts) -> str:
    return as_markdown("s", [Section("Summary", [*summary(facts)]), Section("What next", [*advice(facts)])])


def test_a_study_of_one_trial_was_no_search(tmp_path: Path) -> None:
    """Nothing was chosen, nothing can be narrowed, and a space without parameters has no baseline to speak of."""
    store = Store.at(tmp_path)
    write_study(store, "recipe", trials=1, space=synthetic_space(RECIPE), surface=lambda values: 0.9)
    write_study(store, "one", trials=1)
    recipe, one = _said(gather(store, "recipe")), _said(gather(store, "one"))
    for said in (recipe, one):
        assert "The one trial that completed: t0001" in said
        assert "chosen" not in said
        assert "narrow" not in said
    assert "the space has no first known configuration" in recipe
    assert "no other trial completed" in one


def test_a_gain_over_a_baseline_that_was_stopped_earlier_is_called_unfair(facts: ReportFacts) -> None:
    """Hyperband may have dropped the recipe in its first rung."""
    assert "not fair" not in _said(facts)
    assert facts.baseline is not None
    config = facts.baseline.config | {"stop_after": 1}
    stopped = dataclasses.replace(facts, baseline=dataclasses.replace(facts.baseline, config=config, epochs=1))
    assert "Hyperband stopped the baseline after 1 epoch, and trained" in _said(stopped)
    assert "train both again" not in _said(stopped)  # a confirmation would stop it as early


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (Gain(-0.02, "search", (-0.03, -0.01)), "Behind the baseline"),
        (Gain(0.02, "search", (0.01, 0.03)), "Ahead of the baseline"),
        (Gain(0.02, "search", (-0.01, 0.05)), "Not to be told from the baseline"),
        (Gain(0.0, "search"), "Level with the baseline"),
    ],
)
def test_the_verdict_is_what_the_interval_says(facts: ReportFacts, gain: Gain, verdict: str) -> None:
    """A loss is a loss, and what confirms the gain trains the baseline again too."""
    said = _said(dataclasses.replace(facts, gain=gain))
    assert verdict in said
    assert "train both again: tune confirm s" in said


def test_time_saved_is_taken_from_the_clock_only_if_trials_ran_one_by_one(facts: ReportFacts) -> None:
    """Seconds of trials side by side are no seconds by the clock."""
    from tuning.analysis.spending import KeptPass

    kept = KeptPass(64, 5, False, 1000, 0.01, 0.0, 100_000)
    for at_once, said in ((1, "would have taken about 33 min instead of 17 min"), (2, "ran side by side")):
        spending = dataclasses.replace(facts.spending, wall_s=1000.0, passes=(kept,), side_by_side=at_once)
        assert said in as_markdown("s", [Section("Time", [*account(dataclasses.replace(facts, spending=spending))])])


def test_a_baseline_that_another_study_led_is_called_that(facts: ReportFacts) -> None:
    """Where a space knows no configuration the first leader comes first, and it is no recipe."""
    assert facts.baseline is not None
    source = {"study": "first", "trials": ["t0003"], "configurations": [facts.baseline.config]}
    started = dataclasses.replace(facts.record.started, start_from=source)
    begun = dataclasses.replace(facts, record=dataclasses.replace(facts.record, started=started))
    said = "has the configuration of a leader of the study first"
    assert said in _said(begun)
    assert said not in _said(facts)


def test_charts_of_unequal_trainings_say_so(facts: ReportFacts) -> None:
    """A later rung of Hyperband is ahead by its epochs alone."""
    assert not [block for block in Charts(facts).history() if isinstance(block, Text)]
    first, *others = facts.record.trials.values()
    short = dataclasses.replace(first, config=first.config | {"stop_after": 1})
    record = dataclasses.replace(facts.record, trials={trial.trial: trial for trial in (short, *others)})
    text = next(iter(Charts(dataclasses.replace(facts, record=record)).history()))
    assert isinstance(text, Text)
    assert "for 1, 3 epochs at most" in text.text
