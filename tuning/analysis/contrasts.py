"""In what trials differ, beside their scores: configuration, data, program and search."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pneumo_core.config import TrialConfig
from tuning.analysis.subjects import Subject

FILE = "file "
"""Begins the names of values that are digests of files of the program."""


@dataclasses.dataclass(frozen=True)
class Contrast:
    """One respect in which trials are compared.

    Attributes:
        title: `configuration`, `data`, `program` or `search`.
        differing: name of a value → what it is for each trial; None where it is not known.
        same: names of the values that all have in common.
    """

    title: str
    differing: dict[str, list[Any]]
    same: tuple[str, ...]


def contrasts(subjects: Sequence[Subject]) -> list[Contrast]:
    """Returns in what trials differ.

    Data and program are those with which a study was last taken up.
    """
    respects: dict[str, Callable[[Subject], Mapping[str, Any]]] = {
        "configuration": _configuration,
        "data": _data,
        "program": _program,
        "search": _search,
    }
    return [_contrast(title, [values(subject) for subject in subjects]) for title, values in respects.items()]


def _contrast(title: str, sides: Sequence[Mapping[str, Any]]) -> Contrast:
    names = list(dict.fromkeys(name for side in sides for name in side))
    found = {name: [side.get(name) for side in sides] for name in names}
    differing = {name: values for name, values in found.items() if any(value != values[0] for value in values)}
    return Contrast(title, differing, tuple(name for name in names if name not in differing))


def _configuration(subject: Subject) -> dict[str, Any]:
    """All settings; those that a journal of an earlier version lacks are at their defaults."""
    return TrialConfig().to_mapping() | subject.trial.config


def _data(subject: Subject) -> dict[str, Any]:
    identity = subject.record.identity
    return {
        "images": identity.data_digest,
        "division": identity.split_digest,
        "folds": subject.trial.folds,
        "training images": identity.images.get("training"),
        "validation images": identity.images.get("validation"),
        "classes": identity.class_names,
        "folder": identity.data_root,
        "patient pattern": identity.patient_pattern,
    }


def _program(subject: Subject) -> dict[str, Any]:
    identity = subject.record.identity
    return {
        "commit": identity.commit,
        "threads": identity.threads,
        **{f"package {name}": version for name, version in identity.versions.items()},
        **{f"{FILE}{name}": digest for name, digest in identity.code.items()},
    }


def _search(subject: Subject) -> dict[str, Any]:
    record, identity = subject.record, subject.record.identity
    return {
        "space": identity.space,
        "space's digest": identity.space_digest,
        "searched": identity.parameters,
        "overrides": identity.overrides,
        "objective": identity.objective,
        "direction": identity.direction,
        "algorithm": identity.algorithm,
        "pruning": identity.pruning,
        "seed": identity.seed,
        "trials": record.trials_wanted,
        "confirmation": record.confirm,
    }
