"""What a report says first: what was found, by how much, whether it is real, what mattered, what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tuning.analysis.baseline import known_values, trained_shorter, tried_values
from tuning.analysis.gain import Gain
from tuning.analysis.report_facts import ReportFacts
from tuning.analysis.report_words import ends, metric_label, number, sentence
from tuning.confirmed import confirmation_sentences
from tuning.document import Block, Items, KeyFigures, Text
from tuning.output import duration
from tuning.ranking import format_value
from tuning.record import StudyRecord, TrialRecord

_NAMED = 3


def summary(facts: ReportFacts) -> Iterator[Block]:
    """Yields the summary of a study, half-done or not."""
    yield from _state(facts)
    yield KeyFigures([*_figures(facts)])
    yield Items([sentence(said) for said in (*_found(facts), *_mattered(facts), *_next(facts))])


def _state(facts: ReportFacts) -> Iterator[Text]:
    record = facts.record
    done, wanted = sum(trial.over for trial in record.searched), record.trials_wanted
    so_far = f"{done} of {wanted} trials are over. What follows is as of {facts.made_at}."
    resume = f"tune resume {record.started.study}"
    match facts.state:
        case "running":
            yield Text(f"The study is running: {so_far}", "warning")
        case "killed":
            yield Text(f"The process of the study died: {so_far} To go on: {resume}", "warning")
        case "interrupted":
            yield Text(f"The study was interrupted: {so_far} To go on: {resume}", "warning")
        case "failed":
            reason = record.ended.reason if record.ended else ""
            yield Text(f"The study failed ({reason}): {so_far}", "bad")
        case _ if record.ended and record.ended.reason:
            yield Text(sentence(f"the study ended before its last trial: {record.ended.reason}; {so_far}"))
    if facts.best is None:
        yield Text("No trial has completed; there is nothing to compare yet.", "bad")
    if record.forced:
        yield Text(
            "The study was resumed although something had changed, so its trials are not all of one kind: "
            + "; ".join(record.forced),
            "warning",
        )


def _figures(facts: ReportFacts) -> Iterator[tuple[str, str, str]]:
    record, best, gain = facts.record, facts.best, facts.gain
    label = metric_label(record.started.objective)
    if best and best.confirmed:
        place = best.confirmed
        yield f"{label}, confirmed", number(place.score), f"{best.trial}; {ends(place.low, place.high)}"
    elif best:
        interval = best.intervals.get(record.started.objective, [None, None])
        yield f"{label}, not confirmed", number(best.score), f"{best.trial}; {ends(*interval)}"
    if gain:
        yield "gain over the baseline", f"{gain.value:+.4f}", f"{ends(*(gain.ends or (None, None)))}; {_basis(gain)}"
    counts = record.counts()
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count or status == "completed")
    yield "trials", str(len(record.searched)), f"{said}; {facts.state}"
    spent = facts.spending
    confirming = f"; {duration(spent.confirming_s)} of trainings to confirm leaders" if spent.confirming_s else ""
    yield "time", duration(spent.wall_s), f"by the clock{confirming}"


def _found(facts: ReportFacts) -> Iterator[str]:
    record, best, base, gain = facts.record, facts.best, facts.baseline, facts.gain
    if best is None:
        return
    values = ", ".join(f"{name} {format_value(value)}" for name, value in best.params.items() if value is not None)
    alone = record.count("completed") == 1
    yield f"{'the one trial that completed' if alone else 'best configuration'}: {best.trial}" + (
        f" ({values})" if values else ""
    )
    if record.confirmed or not alone:
        yield from confirmation_sentences(record)
    if base and record.started.start_from and _is_leader_of_another(record, base):
        other = record.started.start_from["study"]
        yield f"the baseline {base.trial} has the configuration of a leader of the study {other}"
    if known_values(record.started) is None:
        yield "there is no baseline: the space has no first known configuration"
    elif base is None:
        yield "there is no baseline: no trial of the space's first known configuration completed"
    elif gain is None:
        nothing = "no other trial completed" if alone else "the search found nothing better"
        yield f"the best trial is the baseline itself ({base.trial}): {nothing}"
    else:
        yield _verdict(base.trial, gain) + f": {gain.in_words()}, {_basis(gain)}"
        yield from _reservations(record, best, base, gain)


def _is_leader_of_another(record: StudyRecord, base: TrialRecord) -> bool:
    """Whether the study began with it; so it is where the space had no known configuration of its own."""
    there: list[Mapping[str, Any]] = record.started.start_from["configurations"]
    return any(all(config.get(name) == value for name, value in tried_values(base).items()) for config in there)


def _reservations(record: StudyRecord, best: TrialRecord, base: TrialRecord, gain: Gain) -> Iterator[str]:
    """What makes a gain less than it seems."""
    if trained_shorter(base, best):
        yield (
            f"the comparison is not fair: Hyperband stopped the baseline after {base.epochs} epoch"
            f"{'' if base.epochs == 1 else 's'}, and trained {best.trial} for {best.epochs}; more epochs alone may be "
            "the gain, and tune confirm keeps these epochs"
        )
        return
    if not gain.is_flattered:
        return
    said = (
        "the winner was confirmed and the baseline was not, so only their single scores in the search can be compared"
        if best.confirmed
        else "the winner was chosen for this score, so the gain looks larger than it is"
    )
    yield (
        f"{said}, and what another seed would change is in no interval of one training; to know, train both again: "
        f"tune confirm {record.started.study}"
    )


def _verdict(base: str, gain: Gain) -> str:
    if gain.ends is None:
        how = "ahead of" if gain.value > 0 else "behind" if gain.value < 0 else "level with"
        return f"{how} the baseline {base}, by how much for sure is not known"
    if gain.ends[1] < 0:
        return f"behind the baseline {base}"
    return (
        f"ahead of the baseline {base}" if gain.is_sure else f"not to be told from the baseline {base} by these images"
    )


def _basis(gain: Gain) -> str:
    if gain.of == "confirmed":
        return "both confirmed, on the same images and seeds"
    return "scores in the search" + (", on the same validation images" if gain.ends else "")


def _mattered(facts: ReportFacts) -> Iterator[str]:
    found = facts.importances
    if not found.parameters:
        yield f"what mattered is not known: {found.reason}"
        return
    named = [
        f"{one.name} ({one.share:.0%} of the differences between scores, {one.low:.0%} to {one.high:.0%})"
        for one in found.parameters[:_NAMED]
        if one.matters
    ]
    yield "what mattered most: " + ", ".join(named) if named else "no parameter mattered beyond what chance would bring"


def _next(facts: ReportFacts) -> Iterator[str]:
    if facts.advice:
        yield f"next: {facts.advice[0].sentence}"
