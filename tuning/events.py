"""What can happen in a study. Journal, MLflow and the view on the terminal all follow from these events."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

StudyStatus = Literal["finished", "failed", "interrupted"]


@dataclasses.dataclass(frozen=True)
class StudyStarted:
    """The first event of every study: all that was decided before the first trial.

    Attributes:
        study: name.
        space: name of the search space.
        space_digest: SHA-256 of the space with overrides applied.
        definition: the space as a mapping, overrides applied.
        objective: name of the metric that is optimized.
        direction: `max` or `min`.
        algorithm: name of the oracle.
        trials: how many were asked for.
        seed: of the search.
        parameters: names of the searched parameters.
        data: what was given as `--data`.
        data_root: where the images were found.
        data_digest: SHA-256 over the images' paths, contents and labels.
        split_digest: SHA-256 over who is in training and validation.
        class_names: of label 0 and label 1.
        images: number of training and validation images.
        commit: of this program.
        versions: of packages.
        threads: of one TensorFlow operation.
        tracking_uri: MLflow's.
    """

    kind: ClassVar[str] = "study_started"
    study: str
    space: str
    space_digest: str
    definition: dict[str, Any]
    objective: str
    direction: Literal["max", "min"]
    algorithm: str
    trials: int
    seed: int
    parameters: list[str]
    data: str
    data_root: str
    data_digest: str
    split_digest: str
    class_names: list[str]
    images: dict[str, int]
    commit: str
    versions: dict[str, str]
    threads: int
    tracking_uri: str


@dataclasses.dataclass(frozen=True)
class TrialStarted:
    """A trial begins: the values the oracle chose and the whole configuration that follows from them."""

    kind: ClassVar[str] = "trial_started"
    trial: str
    number: int
    params: dict[str, Any]
    config: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RunLinked:
    """The study (`trial` is empty) or a trial has an MLflow run."""

    kind: ClassVar[str] = "run_linked"
    trial: str
    run_id: str


@dataclasses.dataclass(frozen=True)
class EpochEnded:
    """An epoch of a trial was trained and validated."""

    kind: ClassVar[str] = "epoch_ended"
    trial: str
    epoch: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class TrialCompleted:
    """A trial has its score; its files stand in the study's staging folder."""

    kind: ClassVar[str] = "trial_completed"
    trial: str
    score: float
    metrics: dict[str, float]
    best_epoch: int
    weights_digest: str
    duration_s: float
    activations_digest: str = ""
    variant_digests: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class TrialFailed:
    """A trial ended without a score."""

    kind: ClassVar[str] = "trial_failed"
    trial: str
    reason: str
    duration_s: float


@dataclasses.dataclass(frozen=True)
class StudyEnded:
    """The study is over, or its process was told to stop."""

    kind: ClassVar[str] = "study_ended"
    status: StudyStatus
    reason: str
    wall_s: float


Event = StudyStarted | TrialStarted | RunLinked | EpochEnded | TrialCompleted | TrialFailed | StudyEnded

EVENTS: dict[str, type[Event]] = {
    event.kind: event
    for event in (StudyStarted, TrialStarted, RunLinked, EpochEnded, TrialCompleted, TrialFailed, StudyEnded)
}
"""Event types by the name they have in the journal."""
