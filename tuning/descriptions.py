"""What MLflow shows as the description of a study and of each of its trials, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from tuning.analysis.baseline import baseline
from tuning.analysis.gain import gain_over
from tuning.confirmed import confirmation_sentences
from tuning.document import Block, Items, Section, Table, Text, as_markdown, markdown_text
from tuning.protocol import images_in_words
from tuning.ranking import format_value, objective_of
from tuning.record import StudyRecord, TrialRecord

_REASON_LIMIT = 300
_DIGEST_LENGTH = 12


def trial_description(record: StudyRecord, trial: TrialRecord) -> str:
    """Returns in a few sentences what a trial was; nothing of it becomes untrue when there are more trials."""
    return markdown_text(" ".join(_sentences(record, trial)))


def study_description(record: StudyRecord) -> str:
    """Returns what came of a study so far, what was searched, and on what; the first lines are what MLflow shows."""
    sections = [Section("Searched", list(_searched(record))), Section("Images", [Text(_images(record))])]
    best = record.best()
    if best is None:
        return as_markdown("", sections)
    found = Section("Found", [Items(list(_found(record, best)))])
    return f"{markdown_text(_summary(record, best))}\n\n{as_markdown('', [found, *sections])}"


def _sentences(record: StudyRecord, trial: TrialRecord) -> Iterator[str]:
    study, values = record.started.study, _values(trial.params)
    if trial.confirms:
        size, seed = (trial.config.get(name, "?") for name in ("image_size", "seed"))
        how = f"{trial.folds} fold{'s' if trial.folds > 1 else ''}, {size} px, seed {seed}"
        yield f"Training that confirms trial {trial.confirms} of study {study} ({how}): {values}."
    else:
        yield f"Trial {trial.number} of study {study}: {values}."
    if trial.parent:
        yield f"Continues trial {trial.parent} after epoch {trial.first_epoch}."
    if trial.score is not None:
        objective = record.started.objective
        ends = _interval(*trial.intervals.get(objective, [None, None]))
        yield f"{objective} {trial.score:.4f}{ends}, best after epoch {(trial.best_epoch or 0) + 1} of {trial.epochs}."
    if trial.status == "pruned":
        yield f"Ended early after epoch {trial.epochs}, as hopeless."
    if trial.status == "failed":
        yield f"Failed: {(trial.reason or 'for an unknown reason')[:_REASON_LIMIT]}."
    if trial.confirmed:
        place = trial.confirmed
        tie = ", not told apart from the first" if place.tied else ""
        yield (
            f"Trained again to confirm it: {place.score:.4f}{_interval(place.low, place.high)}, place {place.rank} of "
            f"those confirmed{tie}."
        )


def _searched(record: StudyRecord) -> Iterator[Block]:
    started = record.started
    folds = f"{started.folds} folds by patient" if started.folds > 1 else "a hold-out"
    aim = "highest" if started.direction == "max" else "lowest"
    yield Text(
        f"Space {started.space}, {record.trials_wanted} trials, proposed by {started.algorithm} with seed "
        f"{started.seed}, for the {aim} {started.objective} on validation images in {folds}."
    )
    domains = [(parameter["name"], _domain(parameter)) for parameter in started.definition.get("parameters", [])]
    if domains:
        yield Table(("parameter", "values"), domains)


def _images(record: StudyRecord) -> str:
    started = record.started
    classes = " and ".join(started.class_names)
    folder = PurePath(started.data_root).name
    words = f"{folder} ({classes}): {images_in_words(started)}; none of the test folder."
    return f"{words} Digest {started.data_digest[:_DIGEST_LENGTH]}."


def _summary(record: StudyRecord, best: TrialRecord) -> str:
    objective, searched = record.started.objective, len(record.searched)
    words = f"Best of {searched} trials: {best.trial} ({_values(best.params)}), {_scored(best, objective)}"
    if best.confirmed is None:
        return f"{words}."
    place = best.confirmed
    return f"{words}, confirmed with {place.score:.4f}{_interval(place.low, place.high)}."


def _found(record: StudyRecord, best: TrialRecord) -> Iterator[str]:
    objective, first = record.started.objective, baseline(record)
    counts = ", ".join(f"{count} {status}" for status, count in record.counts().items())
    yield f"Trials so far: {counts}."
    for sentence in confirmation_sentences(record):
        yield f"{sentence[0].upper()}{sentence[1:]}."
    if first is not None:
        yield f"Baseline, {first.trial}: {_values(first.params)}; {_scored(first, objective)}."
    gain = None if first is None or best is first else gain_over(best, first, objective_of(record))
    if gain is not None:
        basis = "both confirmed" if gain.of == "confirmed" else "in the search, which flatters its best"
        yield f"Gain of the best over the baseline: {gain.in_words()}, {basis}."


def _scored(trial: TrialRecord, objective: str) -> str:
    ends = _interval(*trial.intervals.get(objective, [None, None]))
    return f"{objective} {trial.score:.4f}{ends} in the search"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.4f} to {high:.4f}, 95 %)"


def _values(params: Mapping[str, Any]) -> str:
    """The active parameters; of a space without any, that there are none."""
    words = (f"{name} {format_value(value)}" for name, value in params.items() if value is not None)
    return ", ".join(words) or "nothing was searched"


def _domain(parameter: Mapping[str, Any]) -> str:
    """The values of a parameter as the space has it, be it of another version of this program."""
    if "values" in parameter:
        words = ", ".join(map(format_value, parameter["values"]))
    else:
        words = f"{format_value(parameter.get('min'))} to {format_value(parameter.get('max'))}"
        words += f" in steps of {format_value(parameter['step'])}" if parameter.get("step") else ""
        words += ", logarithmic" if parameter.get("log") else ""
    needed = parameter.get("when") or {}
    conditions = [f"{name} is {' or '.join(map(format_value, values))}" for name, values in needed.items()]
    return words + (f"; where {' and '.join(conditions)}" if conditions else "")
