"""A comparison of trials as sections, for the terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumo_core.evaluation_report import METRIC_LABELS
from pneumo_core.metric_names import LOWER_IS_BETTER, METRIC_NAMES
from tuning.analysis.comparison import StudyComparison
from tuning.analysis.contrasts import FILE, Contrast
from tuning.analysis.paired_scores import PairedScores
from tuning.analysis.subjects import Subject
from tuning.document import Block, Items, Picture, Section, Table, Text
from tuning.ranking import format_value

_DIGEST_DIGITS = 12
_DIGESTS = {"images", "division", "space's digest", "commit"}
_SHOWN_FILES = 6


def sections_of(comparison: StudyComparison, curves: Path | None = None) -> list[Section]:
    """Returns what a comparison says.

    Args:
        comparison: of trials.
        curves: PNG file of their ROC curves, if there is one.
    """
    sections = [
        Section("In short", list(_in_short(comparison))),
        Section("What differs", list(_differing(comparison))),
        Section("Metrics", list(_metrics(comparison))),
    ]
    if comparison.pairs:
        title = f"Against {comparison.reference.name}, on the same validation images"
        sections.append(Section(title, list(_paired(comparison))))
    if curves is not None:
        scored = "the trainings that confirm each" if comparison.basis == "confirmed" else "the search"
        sections.append(Section("ROC curves", [Picture(curves, f"On validation images, by the scores of {scored}.")]))
    return sections


def title_of(comparison: StudyComparison) -> str:
    """Returns what a comparison is of."""
    return f"{', '.join(subject.name for subject in comparison.subjects[1:])} against {comparison.reference.name}"


def _in_short(comparison: StudyComparison) -> Iterator[Block]:
    """The answer first, then what makes it less sure."""
    yield Items(
        [
            *(_verdict(comparison, name, pair) for name, pair in comparison.pairs.items()),
            *(
                f"{name}: cannot be compared image by image, as {reason.removesuffix('.')}"
                for name, reason in comparison.unpaired.items()
            ),
        ]
    )
    yield from (Text(sentence, "warning") for sentence in comparison.reservations)
    yield from (Text(f"scores of {name}: {reason}", "warning") for name, reason in comparison.missing.items())


def _differing(comparison: StudyComparison) -> Iterator[Block]:
    names = [subject.name for subject in comparison.subjects]
    rows = [row for contrast in comparison.contrasts for row in _rows(contrast)]
    if rows:
        yield Table(["", *names], rows)
    yield from (Text(sentence) for contrast in comparison.contrasts for sentence in _files(contrast))
    yield Text(f"The same: {'; '.join(_in_common(contrast) for contrast in comparison.contrasts)}.")


def _rows(contrast: Contrast) -> list[list[str]]:
    """What differs, but for digests of files, of which there are too many."""
    return [
        [f"{contrast.title}: {name.replace('_', ' ')}", *(_value(name, value) for value in values)]
        for name, values in contrast.differing.items()
        if not name.startswith(FILE)
    ]


def _files(contrast: Contrast) -> Iterator[str]:
    files = [name.removeprefix(FILE) for name in contrast.differing if name.startswith(FILE)]
    if files:
        more = f" and {len(files) - _SHOWN_FILES} more" if len(files) > _SHOWN_FILES else ""
        yield f"Files of the program that differ: {', '.join(files[:_SHOWN_FILES])}{more}."


def _in_common(contrast: Contrast) -> str:
    same, count = len(contrast.same), len(contrast.same) + len(contrast.differing)
    whole = "all of" if same == count else f"{same} of {count} values of"
    return f"{whole} {contrast.title}"


def _value(name: str, value: Any) -> str:
    if name in _DIGESTS and isinstance(value, str):
        return value[:_DIGEST_DIGITS]
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_value(one)}" for key, one in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value)) or "–"
    return format_value(value)


def _metrics(comparison: StudyComparison) -> Iterator[Block]:
    subjects = comparison.subjects
    names = [subject.name for subject in subjects]
    rows = [
        ["status", *(subject.trial.status for subject in subjects)],
        ["epochs, best", *map(_epochs, subjects)],
        ["duration, s", *(format_value(subject.trial.duration_s) for subject in subjects)],
    ]
    yield Table(["one training", *names], [*rows, *_metric_rows([_in_one_training(subject) for subject in subjects])])
    if any(subject.trial.confirmed for subject in subjects):
        seeds = ["seeds", *(str(len(s.trial.confirmed.runs)) if s.trial.confirmed else "–" for s in subjects)]
        yield Table(["confirmed", *names], [seeds, *_metric_rows([_in_confirmation(subject) for subject in subjects])])
    yield Text("Values with 95 % intervals over patients, each trial at the threshold that its scores chose.")


def _epochs(subject: Subject) -> str:
    best = subject.trial.best_epoch
    return f"{subject.trial.epochs}, {'–' if best is None else best + 1}"


def _in_one_training(subject: Subject) -> dict[str, str]:
    metrics, intervals = subject.trial.metrics, subject.trial.intervals
    return {name: _estimate(value, *intervals.get(name, [None, None])) for name, value in metrics.items()}


def _in_confirmation(subject: Subject) -> dict[str, str]:
    place = subject.trial.confirmed
    return {name: _estimate(*numbers) for name, numbers in place.metrics.items()} if place else {}


def _metric_rows(sides: Sequence[dict[str, str]]) -> list[list[str]]:
    return [
        [METRIC_LABELS.get(name, name.replace("_", " ")), *(side.get(f"val_{name}", "–") for side in sides)]
        for name in METRIC_NAMES
        if any(f"val_{name}" in side for side in sides)
    ]


def _estimate(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or value != value:
        return "undefined"
    return f"{value:.4f}" if low is None or high is None else f"{value:.4f} ({low:.4f} to {high:.4f})"


def _paired(comparison: StudyComparison) -> Iterator[Block]:
    metrics = list(dict.fromkeys(name for pair in comparison.pairs.values() for name in pair.comparison.differences))
    rows = [[_label(name), *(_difference(pair, name) for pair in comparison.pairs.values())] for name in metrics]
    calls = [
        [f"{kind}, by patients", *(_calls(pair, kind) for pair in comparison.pairs.values())]
        for kind in ("sensitivity", "specificity")
    ]
    yield Table([f"less {comparison.reference.name}", *comparison.pairs], [*rows, *calls])
    yield Items(list(_how(comparison)))


def _label(name: str) -> str:
    if name.startswith("sensitivity_"):
        return f"sensitivity, {name.removeprefix('sensitivity_')}"
    return METRIC_LABELS.get(name, name.replace("_", " "))


def _difference(pair: PairedScores, name: str) -> str:
    one = pair.comparison.differences.get(name)
    if one is None or one.value != one.value:
        return "undefined"
    return f"{_signed(one.value)} ({_signed(one.low)} to {_signed(one.high)})"


def _signed(number: float) -> str:
    return f"{round(number, 4) + 0.0:+.4f}"  # no -0.0000


def _calls(pair: PairedScores, kind: str) -> str:
    changed = pair.comparison.changed[kind]
    p_value = f"p = {changed.p_value:.3f}" if changed.p_value >= 0.001 else "p < 0.001"
    return f"{changed.better} better, {changed.worse} worse, {p_value}"


def _verdict(comparison: StudyComparison, name: str, pair: PairedScores) -> str:
    """What the reference's objective says."""
    metric = comparison.reference.record.started.objective.removeprefix("val_")
    one = pair.comparison.differences[metric]
    said = f"{name}: {METRIC_LABELS.get(metric, metric)} {_difference(pair, metric)}"
    reference, images = comparison.reference.name, pair.comparison.images
    if not (one.low > 0 or one.high < 0):
        return f"{said}: {images} images cannot tell it from {reference}"
    better = (one.low > 0) != (metric in LOWER_IS_BETTER)
    limit = "" if comparison.basis == "confirmed" else ", as far as one training of each tells"
    return f"{said}: {'better' if better else 'worse'} than {reference} on {images} images{limit}"


def _how(comparison: StudyComparison) -> Iterator[str]:
    pairs = comparison.pairs.values()
    if comparison.basis == "confirmed":
        yield "means over the trainings that confirm each trial; intervals are over patients and seeds"
    else:
        yield "one training of each trial; intervals are over patients, and what another seed changes is not in them"
    for name, pair in comparison.pairs.items():
        if pair.left_out:
            yield f"{name}: {pair.left_out} images are left out, as not both have scored them in comparable folds"
    yield "by patients: of how many more, or fewer, images are called right; McNemar's exact test"
    if len(pairs) > 1:
        yield f"{len(pairs)} comparisons of many metrics: about one in 20 such intervals misses the truth by chance"
    yield (
        "thresholds were fitted and trials were chosen on these same images, which flatters whatever was chosen; the "
        "test folder is for `tune promote`"
    )
