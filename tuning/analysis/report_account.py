"""What a report says of the work itself: time and disk, failures, what to search next, and where it all comes from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from search_spaces import builtin_spaces
from tuning.analysis.narrowing import FEWEST_LEADERS
from tuning.analysis.report_facts import FailureCause, ReportFacts
from tuning.analysis.report_words import UNKNOWN, listed, sentence, size_in_words
from tuning.analysis.spending import KeptPass, Spending
from tuning.document import Block, Items, Table, Text
from tuning.events import StudyStarted
from tuning.output import duration

_PAIR = ("", "")
_CAUSES = 12
_DIGITS = 12


def account(facts: ReportFacts) -> Iterator[Block]:
    """Yields the time and the disk that were spent, and what the cache saved, with the arithmetic."""
    spent = facts.spending
    yield Text("Where the time went: of trials it is their own, summed over workers; the rest is by the clock.")
    lost = f"{duration(spent.lost_s)} in {spent.lost} attempts" if spent.lost else "nothing"
    artifacts = "kept by MLflow elsewhere" if spent.artifact_bytes is None else size_in_words(spent.artifact_bytes)
    rows = [
        ("by the clock", duration(spent.wall_s)),
        ("trials of the search", duration(spent.searching_s)),
        ("confirming the leaders", duration(spent.confirming_s)),
        ("lost with processes", lost),
        ("the study's folder", size_in_words(spent.study_bytes)),
        ("files of its runs", artifacts),
        ("activations it used, shared with other studies", size_in_words(sum(one.bytes for one in spent.passes))),
    ]
    yield Table(_PAIR, rows)
    yield from _saved(spent)


def failures(facts: ReportFacts) -> Iterator[Block]:
    """Yields why trials failed, the most frequent cause first."""
    if not facts.failures:
        yield Text("No trial failed.")
    else:
        yield Text(
            "Failed trials by cause. Values of a parameter are named where chance alone would seldom (in less than 1 "
            "of 100 studies) put so many of them there."
        )
        rows = [
            [str(len(cause.trials)), cause.reason, listed(cause.trials), _region(cause)]
            for cause in facts.failures[:_CAUSES]
        ]
        yield Table(("trials", "cause", "which", "where they gather"), rows)
        if len(facts.failures) > _CAUSES:
            yield Text(f"{len(facts.failures) - _CAUSES} rarer causes are left out; tune leaderboard has every trial.")
    if facts.losses:
        yield Text("Attempts that were lost with their process, and made again:")
        yield Items([f"{count} × {reason}" for reason, count in list(facts.losses.items())[:_CAUSES]])


def advice(facts: ReportFacts) -> Iterator[Block]:
    """Yields what to search next."""
    if not facts.best:
        yield Text("No trial completed, so there is nothing to go by: the failures come first.")
    elif facts.advice:
        yield Items([sentence(one.sentence) for one in facts.advice])
    else:
        yield Text("Nothing that the trials tell so far speaks for another space.")
    name, completed = facts.record.started.study, facts.record.count("completed")
    narrow = (
        f"tune spaces narrow {name}, or " if completed >= FEWEST_LEADERS and facts.record.started.parameters else ""
    )
    if completed:
        yield Text(f"To go on from here: {narrow}tune run --start-from {name}.")


def origin(facts: ReportFacts) -> Iterator[Block]:
    """Yields commit, versions, seeds and the command that makes the study again."""
    record, started = facts.record, facts.record.started
    if record.forced:
        yield Text("Data or program changed on the way, so no command makes the same study again.")
    else:
        yield Text("The same command, data and program give the same study, digit by digit with one worker.")
    command = run_command(started)
    if record.trials_wanted != started.trials:
        command += f"; then tune resume {started.study} --trials {record.trials_wanted}"
    yield Table(
        _PAIR,
        [
            ("command", command),
            ("study", f"{started.study}, {started.study_id[:_DIGITS] or UNKNOWN}"),
            ("space", f"{started.space}, digest {started.space_digest[:_DIGITS]}"),
            ("seed of the search", str(started.seed)),
            ("seeds of trainings", listed(sorted({str(trial.config.get("seed")) for trial in record.trials.values()}))),
            ("threads of an operation", str(started.threads)),
            ("commit", started.commit),
            ("versions", ", ".join(f"{name} {version}" for name, version in started.versions.items())),
            ("MLflow run of the study", record.run_id or "none yet"),
            ("this report", facts.made_at),
        ],
    )


def run_command(started: StudyStarted) -> str:
    """Returns the command that makes a study again; files and folders by their names, without their places."""
    shipped = started.space_source in builtin_spaces()
    source = Path(started.space_source).name
    space = started.space_source if shipped else source if "." in source else f"{started.space}.yaml"
    data = started.data if started.data in ("kaggle", "demo") else Path(started.data).name
    words = ["tune", "run", "--space", space, "--data", data, "--trials", str(started.trials)]
    words += ["--algorithm", started.algorithm, "--seed", str(started.seed), "--folds", str(started.folds)]
    words += ["--threads", str(started.threads)]
    if started.pruning != "none":
        words += ["--pruning", started.pruning]
    if tuple(started.class_names) != ("NORMAL", "PNEUMONIA"):
        words += ["--classes", ",".join(started.class_names)]
    if started.patient_pattern:
        words += ["--patient-pattern", started.patient_pattern]
    if started.skip_unreadable:
        words.append("--skip-unreadable")
    if not started.confirm:
        words.append("--no-confirm")
    if started.start_from:
        words += ["--start-from", f"{started.start_from['study']}:{len(started.start_from['trials'])}"]
    for name, value in started.overrides.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def _region(cause: FailureCause) -> str:
    found = cause.region
    if found is None:
        return UNKNOWN
    inside = f"{found.parameter} {found.where}: {found.failed} of {found.tried} trials there"
    return f"{inside}, {found.elsewhere} of {found.others} elsewhere"


def _saved(spent: Spending) -> Iterator[Block]:
    if not spent.passes:
        gone = f" ({spent.gone} are no longer in the cache)" if spent.gone else ""
        yield Text(f"What the cache saved is not known: no kept activations of this study are there to look at{gone}.")
        return
    timed = [one for one in spent.passes if one.image_s is not None and one.images]
    if timed:
        saved = sum(one.spared_s for one in timed)
        total = (
            f": without the cache the study would have taken about {duration(spent.wall_s + saved)} instead of "
            f"{duration(spent.wall_s)}"
            if spent.side_by_side <= 1
            else ", summed over the trials that ran side by side"
        )
        yield Text(
            f"Keeping what frozen layers give saved about {duration(max(saved, 0.0))}{total}. That is the images "
            "that trainings would have sent through these layers, times what an image took in the pass (to read it and "
            "to write its output included, so this is an estimate), less the passes that were made.",
            "good" if saved > 0 else "",
        )
    header = ("frozen layers", "images of all epochs", "an image", "would have taken", "the pass took", "on disk")
    yield Table(header, [_pass_row(one) for one in spent.passes])
    if any(one.image_s is None for one in spent.passes):
        yield Text(
            "A pass of unknown time was made by an earlier version of this program, or came along with a deeper one; "
            "it is not counted."
        )
    if spent.gone:
        yield Text(f"{spent.gone} more passes are no longer in the cache, and not counted.")


def _pass_row(one: KeptPass) -> list[str]:
    what = f"{one.image_size} px to block {one.blocks}{', augmented' if one.augmented else ''}"
    if one.image_s is None:
        return [what, f"{one.images:,}", UNKNOWN, UNKNOWN, "not known", size_in_words(one.bytes)]
    took = duration(one.pass_s) if one.pass_s else "came along" if one.along else "made before"
    would = duration(one.image_s * one.images)
    return [what, f"{one.images:,}", f"{one.image_s * 1000:.2f} ms", would, took, size_in_words(one.bytes)]
