"""What a model card says of results, and of what a policy made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pneumo_core.evaluation_report import METRIC_LABELS, EvaluationReport
from pneumo_core.intervals import Interval
from pneumo_core.metric_names import METRIC_NAMES
from tuning.document import Block, Table, Text
from tuning.models.card_facts import Approval, CardFacts, ScoreFacts

FEW_PATIENTS = 30
"""With fewer a proportion of 0.9 has an interval of more than 0.2 (Wilson), and says little."""

LABELS = METRIC_LABELS | {"ece": "expected calibration error"}


def with_interval(interval: Interval) -> str:
    """Returns `0.952 (0.924 to 0.970)`; `undefined` for NaN."""
    if math.isnan(interval.value):
        return "undefined"
    if math.isnan(interval.low):
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def approval_sentence(approval: Approval) -> str:
    """Returns what became of a policy's requirements, as a sentence."""
    policy = f"Policy {approval.policy}" if approval.policy else "Without a policy"
    failed = [check.requirement for check in approval.checks if not check.passed]
    forced = f" Registered all the same, by force: {approval.forced}" if approval.forced else ""
    if not approval.checks:
        return f"{policy}: no requirement was checked.{forced}"
    met = f"{len(approval.checks) - len(failed)} of {len(approval.checks)} requirements fulfilled"
    return f"{policy}: {met}{'; not: ' + '; '.join(failed) if failed else ''}.{forced}"


def results(facts: CardFacts) -> Iterator[Block]:
    """Yields metrics with intervals, counts of calls, openings of the test folder, the former champion beside it."""
    test, columns = facts.test, _columns(facts)
    if not columns:
        yield Text("No result is known.", "warning")
        return
    names = dict.fromkeys(name for column in columns.values() for name in column)
    cells = [[name, *(_cell(column.get(name)) for column in columns.values())] for name in names]
    yield Table(["metric", *columns], cells)
    yield Text(
        "In brackets 95 % intervals over patients; they take model and threshold as given. Validation scores chose "
        "threshold and temperature, which flatters them; the test folder chose neither these nor the configuration. "
        "PPV and NPV hold for the share of positive images here. The expected calibration error of a sample is larger "
        "than the true one."
    )
    if facts.is_refit:
        yield Text(
            "Validation scores are of other trainings of the same configuration, on images that each had not seen; the "
            "model itself was then trained on all of these images."
        )
    if test is None:
        yield Text("It was not scored on a test folder: how it does on new patients is not known.", "warning")
    else:
        yield _openings(test)
    for what, report in (("test folder", test and test.report), ("validation", facts.validation)):
        if report:
            yield from _counts(what, report, facts.settings.class_names)
    yield from _comparison(facts)


def _columns(facts: CardFacts) -> dict[str, dict[str, Interval]]:
    """Metric → interval, for each set of scores; confirming scores that are the validation scores are not repeated."""
    columns = {"test folder": _rows_of(facts.test.report)} if facts.test else {}
    confirmed = {_label(name): one for name, one in facts.search.confirmed.items()} if facts.search else {}
    validation = _rows_of(facts.validation) if facts.validation else {}
    same = bool(confirmed) and all(validation.get(name) == one for name, one in confirmed.items())
    if confirmed and not same:
        columns["confirmation"] = confirmed
    if validation:
        columns["validation, confirmed" if same else "validation"] = validation
    return columns


def _rows_of(report: EvaluationReport) -> dict[str, Interval]:
    rows = {_label(name): report.metrics[name] for name in METRIC_NAMES if name in report.metrics}
    return rows | {_label(f"sensitivity_{name}"): one for name, one in report.subtype_sensitivity.items()}


def _label(name: str) -> str:
    kind = name.removeprefix("sensitivity_")
    return LABELS.get(name, name) if kind == name else f"sensitivity, {kind}"


def _cell(interval: Interval | None) -> str:
    return "" if interval is None else with_interval(interval)


def _counts(what: str, report: EvaluationReport, class_names: tuple[str, str]) -> Iterator[Block]:
    """Who was scored, and how they were called."""
    sizes, means = report.sizes, []
    if report.folds > 1:
        means.append(f"{report.folds} folds")
    if report.seeds > 1:
        means.append(f"{report.seeds} seeds")
    over = f" Metrics are means over {' and '.join(means)}, counts are over all of them." if means else ""
    yield Text(f"Calls, {what}: {sizes['images']:,} images of {sizes['patients']:,} patients.{over}")
    of_class = (sizes["negative"], sizes["positive"])
    rows = [
        (f"true {name}", f"{size['images']:,}", f"{size['patients']:,}", f"{calls[0]:,}", f"{calls[1]:,}")
        for name, size, calls in zip(class_names, of_class, report.confusion, strict=True)
    ]
    yield Table(("", "images", "patients", *(f"called {name}" for name in class_names)), rows)


def _openings(test: ScoreFacts) -> Block:
    times = "once" if test.openings == 1 else f"{test.openings} times"
    reused = "; these scores are of an earlier opening" if test.reused else ""
    if test.openings > test.spent_after:
        return Text(f"These test images were opened {times} and are spent: their numbers flatter{reused}.", "warning")
    return Text(f"These test images were opened {times} so far (spent after {test.spent_after}){reused}.")


def _comparison(facts: CardFacts) -> Iterator[Block]:
    rivalry, new = facts.rivalry, facts.test.report if facts.test else None
    if rivalry is None:
        return
    if rivalry.comparison is None or not new:
        reason = f": {rivalry.obstacle}" if rivalry.obstacle else ""
        yield Text(f"Not compared with {rivalry.champion}, which it replaces{reason}.", "warning")
        return
    yield Text(f"Beside {rivalry.champion}, which it replaces, on the same test images:")
    own = _rows_of(new)
    rows = [
        (label, _cell(own.get(label)), _cell(difference))
        for label, difference in ((_label(name), one) for name, one in rivalry.comparison.differences.items())
    ]
    yield Table(("metric", "this model", f"difference to {rivalry.champion}"), rows)


def judgement(facts: CardFacts) -> Iterator[Block]:
    """Yields what the policy asked for, and what the model has of it."""
    approval = facts.approval
    if approval is None:
        return
    failed = any(not check.passed for check in approval.checks)
    tone = "bad" if failed or approval.forced else "good" if approval.checks else "warning"
    yield Text(approval_sentence(approval), tone)
    rows = [(check.requirement, check.value, check.bound, "yes" if check.passed else "no") for check in approval.checks]
    if rows:
        tones = ["" if check.passed else "bad" for check in approval.checks]
        yield Table(("requirement", "value", "bound", "passed"), rows, tones)


def small_groups(facts: CardFacts) -> list[str]:
    """A sentence for each set of images with a class or kind of few patients."""
    sentences = []
    for what, report in (("test folder", facts.test and facts.test.report), ("validation", facts.validation)):
        if not report:
            continue
        names = dict(zip(("negative", "positive"), facts.settings.class_names, strict=True))
        groups = {names[key]: report.sizes[key] for key in names}
        groups |= {name: report.sizes["subtypes"][name] for name in report.subtype_sensitivity}
        few = [f"{size['patients']} {name}" for name, size in groups.items() if size["patients"] < FEW_PATIENTS]
        if few:
            sentences.append(f"{what}: patients are few ({', '.join(few)}), and what rests on them is hardly known")
    return sentences
