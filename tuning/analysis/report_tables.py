"""What a report tells in tables: what was searched, on which images, and the trials that count side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pneumo_core.operating_point import OperatingPoint
from search_spaces import ChoiceParameter, Parameter, SearchSpace
from tuning.analysis.report_facts import ReportFacts
from tuning.analysis.report_words import UNKNOWN, metric_label, number, with_ends
from tuning.confirmed import confirmed_by
from tuning.document import Block, Table, Text
from tuning.events import TrialConfirmed
from tuning.protocol import images_in_words
from tuning.ranking import format_value
from tuning.record import StudyRecord, TrialRecord

_PAIR = ("", "")
_LEADERS = 5
_DIGITS = 12
_UNDEFINED = (None, None, None)

Column = Mapping[str, Sequence[float | None]]
"""Value and interval of each metric."""


def searched(facts: ReportFacts) -> Iterator[Block]:
    """Yields the space, with what the leaders took of it, and the data."""
    record = facts.record
    leading = _leading(record)
    count = len(record.started.parameters)
    if not count:
        yield Text("Nothing was searched: the space fixes every setting.")
        yield Table(_PAIR, [*_data(record)])
        return
    parameters = f"{count} parameter{'' if count == 1 else 's'}"
    yield Text(
        f"Searched by {record.started.algorithm}: {parameters}. The last column is what the leading trials took "
        f"({len(leading)} of them): a narrow span in a wide range was found, not given."
        if leading
        else f"Searched by {record.started.algorithm}: {parameters}."
    )
    space = _space(record)
    if space is None:
        yield Text("The space is of another version of this program; its ranges cannot be shown.", "warning")
    else:
        header = ("parameter", "range", "scale", "searched where", "leaders took")
        yield Table(header, [_row(parameter, leading) for parameter in space.parameters])
    yield Table(_PAIR, [*_data(record)])


def side_by_side(facts: ReportFacts) -> Iterator[Block]:
    """Yields metrics and configuration of the trials that count."""
    roles = _roles(facts)
    if not roles:
        yield Text("No trial has completed.")
        return
    yield Text(
        "In brackets 95 % intervals over patients. A score in the search flatters the trial that was chosen for it; "
        "one of a confirmation, by other seeds, does not. Threshold and temperature were chosen on the same images."
    )
    columns = [*_columns(facts, roles)]
    names = dict.fromkeys(name for _, _, column in columns for name in column)
    rows = [["", *(what for _, what, _ in columns)]]
    for name in names:
        rows.append([metric_label(name), *(with_ends(column.get(name, _UNDEFINED)) for _, _, column in columns)])
    yield Table(("metric", *(heading for heading, _, _ in columns)), rows)
    trials = [facts.record.trials[name] for name in roles]
    if differing := [*_differing(trials)]:
        yield Text("What differs in their configurations:")
        yield Table(("setting", *roles), differing)


def operating_table(place: TrialRecord | TrialConfirmed, point: OperatingPoint) -> Table:
    """Returns the operating point of a trial, searched or confirmed, and what it comes to there."""
    said = ("sensitivity", "specificity", "ppv", "npv", "brier", "ece")
    values = {name: place.metrics.get(f"val_{name}") for name in said}
    shown = [(metric_label(name), number(_value(value))) for name, value in values.items() if value is not None]
    return Table(_PAIR, [("threshold", number(point.threshold)), ("temperature", number(point.temperature)), *shown])


def _value(value: float | Sequence[float | None]) -> float | None:
    """Of a metric alone, or with the ends of its interval."""
    return value if isinstance(value, float) else value[0]


def _space(record: StudyRecord) -> SearchSpace | None:
    try:
        return SearchSpace.model_validate(record.started.definition)
    except ValueError:  # of another version of this program
        return None


def _leading(record: StudyRecord) -> list[TrialRecord]:
    """The confirmed trials, or the best of the search."""
    completed = [trial for trial in record.ranked() if trial.status == "completed"]
    return [trial for trial in completed if trial.confirmed] or completed[:_LEADERS]


def _row(parameter: Parameter, leading: Sequence[TrialRecord]) -> list[str]:
    where = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in parameter.when.items())
    if isinstance(parameter, ChoiceParameter):
        extent = ", ".join(map(format_value, parameter.values))
        scale = "ordered" if parameter.ordered else "kinds"
    else:
        extent = f"{format_value(parameter.min)} to {format_value(parameter.max)}"
        scale = "logarithmic" if parameter.log else f"steps of {parameter.step:g}" if parameter.step else "even"
    return [parameter.name, extent, scale, where or "always", _taken(parameter, leading)]


def _taken(parameter: Parameter, leading: Sequence[TrialRecord]) -> str:
    values = [value for trial in leading if (value := trial.params.get(parameter.name)) is not None]
    if not values:
        return UNKNOWN
    if isinstance(parameter, ChoiceParameter):
        return ", ".join(format_value(value) for value in parameter.values if value in values)
    low, high = format_value(min(values)), format_value(max(values))
    return low if low == high else f"{low} to {high}"


def _data(record: StudyRecord) -> Iterator[tuple[str, str]]:
    settings = record.identity
    negative, positive = settings.class_names
    yield "images", f"{Path(settings.data_root).name}: {images_in_words(settings)}"
    yield "classes", f"{positive} (positive) against {negative}"
    folds = settings.folds
    yield "protocol", f"{folds} folds by patient" if folds > 1 else "a hold-out by patient"
    if record.confirm:
        wanted = record.confirm
        beside = " and the baseline" if wanted.get("baseline") else ""
        seeds = f"{wanted['seeds']} seed{'s' if wanted['seeds'] > 1 else ''}"
        yield "confirmation", f"of the first {wanted['top']}{beside}, {seeds} each"
    yield "digest of the images", settings.data_digest[:_DIGITS]
    yield "digest of the division", settings.split_digest[:_DIGITS]
    yield "test folder", "not opened: neither the search nor this report reads a test image's score"


def _roles(facts: ReportFacts) -> dict[str, list[str]]:
    """The trials that count, each once, and what they are."""
    best = "best, confirmed" if facts.best and facts.best.confirmed else "best"
    roles: dict[str, list[str]] = {}
    for trial, role in ((facts.best, best), (facts.leader, "leads the search"), (facts.baseline, "baseline")):
        if trial:
            roles.setdefault(trial.trial, []).append(role)
    return roles


def _columns(facts: ReportFacts, roles: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, Column]]:
    """Heading, what it is, and metrics: of each trial as the search scored it, and as its confirmation did."""
    whole = facts.record.confirmed
    for name, said in roles.items():
        trial = facts.record.trials[name]
        ends = {metric: trial.intervals.get(metric) or (None, None) for metric in trial.metrics}
        yield f"{name}, search", ", ".join(said), {m: (value, *ends[m]) for m, value in trial.metrics.items()}
        if trial.confirmed:
            yield f"{name}, confirmed", confirmed_by(whole.confirm) if whole else "", trial.confirmed.metrics


def _differing(trials: Sequence[TrialRecord]) -> Iterator[list[str]]:
    for name in dict.fromkeys(name for trial in trials for name in trial.config):
        values = [trial.config.get(name) for trial in trials]
        if len(set(map(repr, values))) > 1:
            yield [name, *map(format_value, values)]
