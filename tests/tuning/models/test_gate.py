"""The gate is a pure function of policy and evidence; every requirement is judged, and a tie keeps the champion."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.special import expit

from pneumo_core.comparison import compare
from pneumo_core.evaluation_report import evaluate
from pneumo_core.operating_point import OperatingPoint
from tuning.models.gate import Check, Evidence, Rivalry, checks_table, judge, judge_beforehand, numbers_of
from tuning.models.policy import AgainstChampion, Limits, Policy, Requirement, open_policy

HALF = OperatingPoint(0.5)


def _scores(distance: float, seed: int = 0, patients: int = 600, kinds: tuple[str, ...] = ("bacteria", "virus")):  # type: ignore[no-untyped-def]
    """Scores of as many patients, an image each, whose classes lie so many standard deviations apart."""
    labels = np.arange(patients) % 2
    logits = 2 * np.random.default_rng(seed).normal(distance * (labels - 0.5), 1.0)
    kind = np.array(kinds)[np.arange(patients) // 2 % len(kinds)]
    return pd.DataFrame(
        {
            "path": [f"{row}.png" for row in range(patients)],
            "group": np.arange(patients),
            "label": labels,
            "subtype": np.where(labels == 0, "normal", kind),
            "logit": logits,
            "probability": expit(logits),
        }
    )


def _better(table: pd.DataFrame, by: float) -> pd.DataFrame:
    logits = table["logit"] + by * (table["label"] - 0.5)
    return table.assign(logit=logits, probability=expit(logits))


def _evidence(challenger: pd.DataFrame, champion: pd.DataFrame | None = None) -> Evidence:
    rivalry = None if champion is None else Rivalry("m/1", compare(challenger, champion, (HALF, HALF), draws=300))
    report = evaluate(challenger, operating_point=HALF, draws=300)
    return Evidence(confirmed=True, latency_ms=40.0, size_mb=60.0, test=report, rivalry=rivalry)


def _failed(checks: object) -> list[str]:
    return [check.requirement for check in checks if not check.passed]  # type: ignore[attr-defined]


def test_a_good_first_model_passes_the_default_policy_and_each_requirement_is_shown() -> None:
    """Value with interval, bound in words, yes; nothing is said of a champion that is not there."""
    verdict = judge(open_policy("default"), _evidence(_scores(4.0)))
    assert verdict.passed
    assert not verdict.reasons
    names = [check.requirement for check in verdict.checks]
    assert names == [
        "roc_auc",
        "sensitivity",
        "specificity",
        "sensitivity_bacteria",
        "sensitivity_virus",
        "brier",
        "ece",
        "latency of one image",
        "size",
        "trial",
    ]
    assert verdict.checks[1].bound == "lower bound at least 0.9"
    assert verdict.checks[6].bound == "at most 0.1"
    assert verdict.checks[7] == Check("latency of one image", "40 ms", "at most 2000 ms", True)


def test_the_end_of_the_interval_decides_and_not_the_value() -> None:
    """A sensitivity of 0.93 on 60 patients is not shown to be at least 0.9; on 3,000 it is."""
    policy = Policy(name="mine", test={"sensitivity": Requirement(at_least=0.9, bound="lower")})
    few, many = (_evidence(_scores(2.95, patients=patients)) for patients in (60, 6000))
    assert few.test is not None
    assert few.test.metrics["sensitivity"].value > 0.9
    assert not judge(policy, few).passed
    assert judge(policy, many).passed
    assert judge(Policy(name="mine", test={"sensitivity": Requirement(at_least=0.9, bound="value")}), few).passed


def test_what_is_not_met_is_named_with_what_was_asked() -> None:
    """Each by itself: test folder, latency, size, confirmation."""
    weak = dataclasses.replace(_evidence(_scores(1.5)), confirmed=False, latency_ms=3000.0, size_mb=900.0)
    verdict = judge(open_policy("default"), weak)
    assert {"roc_auc", "sensitivity", "brier", "latency of one image", "size", "trial"} <= set(_failed(verdict.checks))
    assert "trial: not confirmed, required: confirmed" in verdict.reasons
    assert "size: 900.0 MB, required: at most 500 MB" in verdict.reasons
    beforehand = judge_beforehand(open_policy("default"), weak)
    assert _failed(beforehand.checks) == ["latency of one image", "size", "trial"]


def test_a_better_model_replaces_the_champion_a_tie_and_a_worse_one_do_not() -> None:
    """Superior by the paired difference's lower end; the same scores but for noise are a tie."""
    default, champion = open_policy("default"), _scores(3.5)
    assert judge(default, _evidence(_better(champion, 3.0), champion)).passed
    shaken = champion["logit"] + np.random.default_rng(1).normal(0, 0.2, len(champion))
    tie = judge(default, _evidence(champion.assign(logit=shaken, probability=expit(shaken)), champion))
    assert _failed(tie.checks) == ["roc_auc, better than m/1"]
    worse = judge(default, _evidence(champion, _better(champion, 3.0)))
    assert _failed(worse.checks) == [
        "roc_auc, better than m/1",
        "sensitivity, not worse than m/1",
        "sensitivity, calls beside m/1 (McNemar)",
        "specificity, calls beside m/1 (McNemar)",
    ]
    assert any("lower bound over -0.03" in reason for reason in worse.reasons)


def test_where_less_is_better_the_upper_end_counts() -> None:
    """A Brier score has to fall by more than the margin, and may not rise by more than it."""
    champion = _scores(2.0)
    better = _evidence(_better(champion, 1.5), champion)

    def passes(against: AgainstChampion, evidence: Evidence = better) -> bool:
        return judge(Policy(name="mine", champion=against), evidence).passed

    assert passes(AgainstChampion(superior={"brier": 0.0}))
    assert not passes(AgainstChampion(superior={"brier": 0.2}))
    assert passes(AgainstChampion(not_inferior={"brier": 0.0}))
    worse = _evidence(champion, _better(champion, 1.5))
    assert not passes(AgainstChampion(not_inferior={"brier": 0.001}), worse)
    assert passes(AgainstChampion(not_inferior={"brier": 0.3}), worse)


def test_kinds_that_the_data_does_not_tell_are_not_asked_and_missing_ones_are_not_met() -> None:
    """Names without kinds: a note. Kinds without the one asked for: no proof, so no."""
    default = open_policy("default")
    untold = judge(default, _evidence(_scores(4.0, kinds=("pneumonia",))))
    assert untold.passed
    assert untold.notes == [
        "sensitivity_bacteria, sensitivity_virus not asked: the test folder does not have several kinds of positive "
        "images"
    ]
    missing = judge(default, _evidence(_scores(4.0, kinds=("bacteria", "fungus"))))
    assert missing.reasons == [
        "sensitivity_virus: no such images in the test folder, required: lower bound at least 0.85"
    ]


def test_without_test_folder_or_comparison_what_needs_them_is_not_met() -> None:
    """Said in the table; a policy that asks nothing of the champion needs no comparison."""
    bare = Evidence(confirmed=True, latency_ms=1.0, size_mb=1.0, rivalry=Rivalry("m/1", obstacle="its files are gone"))
    verdict = judge(open_policy("default"), bare)
    assert verdict.checks[0] == Check("roc_auc", "no test folder", "lower bound at least 0.95", False)
    assert "comparison with m/1: its files are gone, required: scores on the same test images" in verdict.reasons
    assert judge(Policy(name="mine", limits=Limits(size_mb=2)), bare).passed


def test_the_numbers_of_a_decision_are_finite_and_named() -> None:
    """Test metrics, paired differences with their ends, costs; a PPV without calls is left out."""
    champion = _scores(2.0)
    numbers = numbers_of(_evidence(_better(champion, 1.0), champion))
    assert {"test_roc_auc", "difference_roc_auc", "difference_roc_auc_low", "latency_ms", "size_mb"} <= set(numbers)
    silent = champion.assign(logit=-9.0, probability=float(expit(-9.0)))
    assert "test_ppv" not in numbers_of(_evidence(silent))


def test_the_checks_are_a_table_for_people() -> None:
    """Requirement, value, bound, passed; brackets are text."""
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(checks_table([Check("size", "9 [red]MB", "at most 5 MB", False), Check("trial", "a", "a", True)]))
    rows = [line.split("│") for line in console.export_text().splitlines() if "│" in line]
    assert [[cell.strip() for cell in row[1:-1]] for row in rows] == [
        ["size", "9 [red]MB", "at most 5 MB", "NO"],
        ["trial", "a", "a", "yes"],
    ]


@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_the_demo_policy_lets_a_random_network_through_but_not_one_shown_to_be_worse_than_a_coin(
    distance: float,
) -> None:
    """As much as drawn chests and random weights can prove."""
    demo = open_policy("demo")
    assert judge(demo, _evidence(_scores(distance, patients=60))).passed
    assert _failed(judge(demo, _evidence(_scores(-2.0))).checks) == ["roc_auc", "brier"]
