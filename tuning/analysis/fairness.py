"""What makes a comparison of trials less than fair."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from tuning.analysis.subjects import Subject
from tuning.confirmation import expected_optimism, leaders


def reservations(subjects: Sequence[Subject]) -> list[str]:
    """Returns a sentence for everything but the configuration that may make one trial look better than another."""
    return [
        *_other_conditions(subjects),
        *_repeated(subjects),
        *_chosen(subjects),
        *_unfinished(subjects),
        *_forced(subjects),
    ]


def _other_conditions(subjects: Sequence[Subject]) -> list[str]:
    if _groups(subjects, lambda subject: subject.record.identity.data_digest) > 1:
        return ["they learned from and were scored on other images: the numbers cannot be compared"]
    sentences = []
    if _groups(subjects, lambda subject: tuple(subject.record.identity.class_names)) > 1:
        sentences.append("they tell other classes apart")
    if len({subject.trial.folds for subject in subjects}) > 1:
        sentences.append(f"they were trained in other folds ({_folds(subjects)}), so on more or fewer images each")
    elif _groups(subjects, lambda subject: subject.record.identity.split_digest) > 1:
        sentences.append("the images were divided otherwise: other patients trained and scored each of them")
    if _groups(subjects, _program_of) > 1:
        sentences.append("they were made by different versions of the program or its packages")
    return sentences


def _repeated(subjects: Sequence[Subject]) -> list[str]:
    """A leader that a next study began with is not a second finding."""
    alike: dict[Hashable, list[str]] = {}
    for subject in subjects:
        identity = subject.record.identity
        learned_from = (identity.data_digest, identity.split_digest, subject.trial.folds)
        alike.setdefault((learned_from, repr(sorted(subject.trial.config.items()))), []).append(subject.name)
    return [
        f"{' and '.join(names)} are one training made again: same configuration, seed and images"
        for names in alike.values()
        if len(names) > 1
    ]


def _chosen(subjects: Sequence[Subject]) -> list[str]:
    confirmed = [subject.name for subject in subjects if subject.trial.confirmed]
    others = [subject.name for subject in subjects if not subject.trial.confirmed]
    if not others:
        return []
    sentences = [sentence for subject in subjects if (sentence := _flattered(subject))]
    if confirmed:
        sentences.append(
            f"{', '.join(confirmed)} {_is(confirmed)} confirmed, {', '.join(others)} {_is(others)} not: only one "
            "training of each can be compared"
        )
    return sentences


def _flattered(subject: Subject) -> str:
    """By how much being chosen for its score makes the best trial of a search look better."""
    record, objective = subject.record, subject.record.started.objective
    leading = leaders(record, len(record.searched))
    if len(leading) < 2 or leading[0].trial != subject.trial.trial:
        return ""
    by = expected_optimism(leading[0], objective, len(leading))
    much = "" if by is None else f" by about {by:.4f} of {objective}, the chance of the images alone"
    return f"{subject.name} was chosen as the best of {len(leading)} configurations, which flatters it{much}"


def _unfinished(subjects: Sequence[Subject]) -> list[str]:
    how = {"pruned": "was ended early", "running": "is still running", "interrupted": "was interrupted"}
    unfinished = [
        f"{subject.name} {how.get(subject.trial.status, 'failed')}"
        for subject in subjects
        if subject.trial.status != "completed"
    ]
    return [*unfinished, *_stopped(subjects)]


def _stopped(subjects: Sequence[Subject]) -> list[str]:
    """Rungs of Hyperband: a configuration that was trained further is ahead by that alone."""
    allowed = {subject.name: subject.trial.config.get("stop_after") or 0 for subject in subjects}
    if len(set(allowed.values())) < 2:
        return []
    return [f"{name} was stopped by Hyperband after {epochs} epochs" for name, epochs in allowed.items() if epochs]


def _forced(subjects: Sequence[Subject]) -> list[str]:
    forced = {s.record.started.study: len(s.record.forced) for s in subjects if s.record.forced}
    return [f"study {study} went on although data or program had changed ({n} changes)" for study, n in forced.items()]


def _folds(subjects: Sequence[Subject]) -> str:
    numbers = sorted({subject.trial.folds for subject in subjects})
    names = {folds: [subject.name for subject in subjects if subject.trial.folds == folds] for folds in numbers}
    return "; ".join(f"{folds}: {', '.join(names[folds])}" for folds in numbers)


def _groups(subjects: Sequence[Subject], key: Callable[[Subject], Hashable]) -> int:
    return len({key(subject) for subject in subjects})


def _program_of(subject: Subject) -> Hashable:
    identity = subject.record.identity

    def sorted_items(mapping: dict[str, Any]) -> Hashable:
        return tuple(sorted(mapping.items()))

    return sorted_items(identity.code), sorted_items(identity.versions)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
