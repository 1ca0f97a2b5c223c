"""Whether a model may become the champion: each requirement of a policy, what the model has of it, and the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.markup import escape
from rich.table import Table

from pneumo_core.comparison import ChangedCalls, Comparison
from pneumo_core.evaluation_report import EvaluationReport
from pneumo_core.intervals import Interval
from pneumo_core.metric_names import LOWER_IS_BETTER
from tuning.models.policy import OF_KIND, Policy, Requirement


@dataclasses.dataclass(frozen=True)
class Check:
    """One requirement, and how a model stands to it.

    Attributes:
        requirement: in words, such as `sensitivity`.
        value: what the model has, as shown, such as `0.952 (0.924 to 0.970)`.
        bound: what is asked for, such as `lower bound at least 0.9`.
        passed: whether it does.
    """

    requirement: str
    value: str
    bound: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.requirement}: {self.value}, required: {self.bound}"


@dataclasses.dataclass(frozen=True)
class Rivalry:
    """A model beside the version that holds the alias.

    Attributes:
        champion: that version, as `NAME/VERSION`.
        comparison: on the same test images; None if there is none.
        obstacle: why there is none, as a phrase; empty if there is one.
    """

    champion: str
    comparison: Comparison | None = None
    obstacle: str = ""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of a model that wants to become the champion.

    Attributes:
        confirmed: whether its trial was.
        latency_ms: for one image.
        size_mb: of its folder.
        test: of its scores on the test folder; None if there are none.
        rivalry: with the present champion; None if there is no champion.
    """

    confirmed: bool
    latency_ms: float
    size_mb: float
    test: EvaluationReport | None = None
    rivalry: Rivalry | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a policy says of a model.

    Attributes:
        policy: its name.
        checks: one for each requirement that was judged.
        notes: sentences about requirements that were not.
    """

    policy: str
    checks: Sequence[Check]
    notes: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether the model may become the champion."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why not, a phrase for each requirement that is not met."""
        return [str(check) for check in self.checks if not check.passed]


def judge(policy: Policy, evidence: Evidence) -> Verdict:
    """Holds a model against every requirement of a policy.

    Where the positive images of the test folder are of one kind, or their names tell none, requirements on kinds are
    left out, with a note. Where there are kinds but not the one asked for, the requirement is not met. Without scores
    on a test folder no requirement on it is met, and without a comparison none against a champion that is there.
    """
    asked, notes = _applicable(policy, evidence.test)
    checks = [
        *(_test_check(name, requirement, evidence.test) for name, requirement in asked.items()),
        *(_champion_checks(policy, evidence.rivalry) if evidence.rivalry else ()),
        *_own_checks(policy, evidence),
    ]
    return Verdict(policy.name, checks, notes)


def judge_beforehand(policy: Policy, evidence: Evidence) -> Verdict:
    """Holds a model against the requirements that need no test folder."""
    return Verdict(policy.name, list(_own_checks(policy, evidence)))


def checks_table(checks: Sequence[Check]) -> Table:
    """Returns the checks for a terminal."""
    table = Table("requirement", "value", "bound", "passed")
    for check in checks:
        cells = (check.requirement, check.value, check.bound)
        table.add_row(*(escape(cell) for cell in cells), "yes" if check.passed else "[bold red]NO[/bold red]")
    return table


def _applicable(policy: Policy, report: EvaluationReport | None) -> tuple[dict[str, Requirement], list[str]]:
    """The requirements on the test folder that can be asked, and a note about the others."""
    asked = dict(policy.test)
    of_kinds = [name for name in asked if name.startswith(OF_KIND)]
    if not of_kinds or report is None or report.subtype_sensitivity:
        return asked, []
    note = f"{', '.join(of_kinds)} not asked: the test folder does not have several kinds of positive images"
    return {name: asked[name] for name in asked if name not in of_kinds}, [note]


def _test_check(name: str, requirement: Requirement, report: EvaluationReport | None) -> Check:
    asked, least = requirement.at_least, requirement.at_least is not None
    limit = float(asked if asked is not None else requirement.at_most or 0.0)
    end = "" if requirement.end == "value" else f"{requirement.end} bound "
    bound = f"{end}at {'least' if least else 'most'} {limit:g}"
    if report is None:
        return Check(name, "no test folder", bound, False)
    interval = report.metrics.get(name) or report.subtype_sensitivity.get(name.removeprefix(OF_KIND))
    if interval is None:
        return Check(name, "no such images in the test folder", bound, False)
    number = {"lower": interval.low, "value": interval.value, "upper": interval.high}[requirement.end]
    return Check(name, _shown(interval), bound, bool(number >= limit if least else number <= limit))


def _champion_checks(policy: Policy, rivalry: Rivalry) -> Iterator[Check]:
    asked, champion, comparison = policy.champion, rivalry.champion, rivalry.comparison
    if not (asked.superior or asked.not_inferior or asked.mcnemar):
        return
    if comparison is None:
        yield Check(f"comparison with {champion}", rivalry.obstacle, "scores on the same test images", False)
        return
    margins = [(name, margin, True) for name, margin in asked.superior.items()]
    margins += [(name, 0.0 - margin, False) for name, margin in asked.not_inferior.items()]
    for name, margin, superior in margins:
        yield _difference_check(name, margin, superior, champion, comparison)
    for name, changed in comparison.changed.items() if asked.mcnemar else ():
        yield _mcnemar_check(name, changed, asked.mcnemar or 0.0, champion)


def _difference_check(name: str, margin: float, superior: bool, champion: str, comparison: Comparison) -> Check:
    """Asks whether a difference, at its unfavourable end, is over a margin; under it, where less is better."""
    relation = f"{name}, {'better' if superior else 'not worse'} than {champion}"
    less = name in LOWER_IS_BETTER
    limit = 0.0 - margin if less else margin + 0.0
    bound = f"{'upper bound under' if less else 'lower bound over'} {limit:g}"
    interval = comparison.differences.get(name)
    if interval is None:
        return Check(relation, "no such images in the test folder", bound, False)
    passed = interval.high < limit if less else interval.low > limit
    return Check(relation, _shown(interval, "+"), bound, bool(passed))


def _mcnemar_check(name: str, changed: ChangedCalls, level: float, champion: str) -> Check:
    return Check(
        f"{name}, calls beside {champion} (McNemar)",
        f"better for {changed.better}, worse for {changed.worse} patients, p {changed.p_value:.3g}",
        f"not worse with p under {level:g}",
        not changed.is_worse(level),
    )


def _own_checks(policy: Policy, evidence: Evidence) -> Iterator[Check]:
    limits = policy.limits
    if limits.latency_ms is not None:
        passed = evidence.latency_ms <= limits.latency_ms
        yield Check(
            "latency of one image", f"{evidence.latency_ms:.0f} ms", f"at most {limits.latency_ms:g} ms", passed
        )
    if limits.size_mb is not None:
        passed = evidence.size_mb <= limits.size_mb
        yield Check("size", f"{evidence.size_mb:.1f} MB", f"at most {limits.size_mb:g} MB", passed)
    if policy.confirmed:
        yield Check("trial", "confirmed" if evidence.confirmed else "not confirmed", "confirmed", evidence.confirmed)


def _shown(interval: Interval, sign: str = "") -> str:
    if np.isnan(interval.value):
        return "undefined"
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


def numbers_of(evidence: Evidence) -> dict[str, float]:
    """Returns what a decision rests on by name: test metrics, differences from the champion, latency and size.

    Metrics and differences come with the ends of their intervals, `…_low` and `…_high`.
    """
    numbers = {"latency_ms": evidence.latency_ms, "size_mb": evidence.size_mb}
    if evidence.test:
        kinds = {f"{OF_KIND}{name}": one for name, one in evidence.test.subtype_sensitivity.items()}
        numbers |= _with_ends("test", evidence.test.metrics | kinds)
    if evidence.rivalry and evidence.rivalry.comparison:
        comparison = evidence.rivalry.comparison
        numbers |= _with_ends("difference", comparison.differences)
        for name, changed in comparison.changed.items():
            numbers |= {f"mcnemar_{name}_{key}": number for key, number in dataclasses.asdict(changed).items()}
    return {name: number for name, number in numbers.items() if not np.isnan(number)}


def _with_ends(prefix: str, intervals: Mapping[str, Interval]) -> dict[str, float]:
    numbers = dict[str, float]()
    for name, one in intervals.items():
        numbers |= {f"{prefix}_{name}": one.value, f"{prefix}_{name}_low": one.low, f"{prefix}_{name}_high": one.high}
    return numbers
