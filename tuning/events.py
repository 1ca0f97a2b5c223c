"""What can happen in a study. Journal, MLflow and the view on the terminal all follow from these events."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, get_args

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
        split_digest: SHA-256 over who trains and who is scored.
        class_names: of label 0 and label 1.
        images: number of training and validation images.
        commit: of this program.
        versions: of packages.
        threads: of one TensorFlow operation.
        tracking_uri: MLflow's, without its password.
        study_id: random, so that the study is told from another of the same name in the same MLflow.
        space_source: the shipped space's name or the file's absolute path.
        overrides: settings that `--set` fixed.
        skip_unreadable: whether unreadable images were left out.
        pruning: the rule that ends hopeless trials early; `none` if they may all go on.
        code: digest of each file that determines a trial, by its name.
        work: how the study is run, see `tuning.settings.WorkSettings.to_mapping`.
        folds: that every trial is trained in; 1 for a hold-out.
        patient_pattern: regular expression that finds the patient in an image's path; empty for the data set's names.
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
    study_id: str = ""
    space_source: str = ""
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    skip_unreadable: bool = False
    pruning: str = "none"
    code: dict[str, str] = dataclasses.field(default_factory=dict)
    work: dict[str, Any] = dataclasses.field(default_factory=dict)
    folds: int = 1
    patient_pattern: str = ""


@dataclasses.dataclass(frozen=True)
class StudyResumed:
    """A process takes the study up again.

    Attributes:
        trials: how many are asked for from now on, those of before counted.
        forced: what had changed, and was accepted with `--force`.
        identity: what the study's data, space and program are from now on; see `tuning.identity.identity_of`.
    """

    kind: ClassVar[str] = "study_resumed"
    trials: int
    forced: list[str]
    identity: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrialStarted:
    """The oracle was asked and answered: a trial begins.

    Attributes:
        trial: id, `t0001` and so on.
        number: from 1, in the order of the asks.
        params: what the oracle chose; None for a searched parameter whose condition does not hold.
        config: the whole configuration that follows.
        parent: trial whose training this one continues (a rung of Hyperband); empty for none.
        first_epoch: epochs that the parent has trained.
        prune_above: validation loss above which the trial ends early, by epochs trained (as text).
    """

    kind: ClassVar[str] = "trial_started"
    trial: str
    number: int
    params: dict[str, Any]
    config: dict[str, Any]
    parent: str = ""
    first_epoch: int = 0
    prune_above: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AttemptStarted:
    """A trial is handed to a worker. Attempts are counted from 1; what an earlier one still says is stale."""

    kind: ClassVar[str] = "attempt_started"
    trial: str
    attempt: int


@dataclasses.dataclass(frozen=True)
class AttemptFailed:
    """An attempt was lost with its process: a crash, too little memory, a hang. The trial may be tried again."""

    kind: ClassVar[str] = "attempt_failed"
    trial: str
    attempt: int
    reason: str


@dataclasses.dataclass(frozen=True)
class RunLinked:
    """The study (`trial` is empty) or a trial has an MLflow run."""

    kind: ClassVar[str] = "run_linked"
    trial: str
    run_id: str


@dataclasses.dataclass(frozen=True)
class EpochEnded:
    """An epoch (counted from 0) of a trial was trained and validated. Each is told once, whatever was repeated."""

    kind: ClassVar[str] = "epoch_ended"
    trial: str
    epoch: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class TrialCompleted:
    """A trial has its score; its files stand in the study's staging folder. A pruned one was ended early."""

    kind: ClassVar[str] = "trial_completed"
    trial: str
    score: float
    metrics: dict[str, float]
    best_epoch: int
    weights_digest: str
    duration_s: float
    activations_digest: str = ""
    variant_digests: list[str] = dataclasses.field(default_factory=list)
    pruned: bool = False


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


Event = (
    StudyStarted
    | StudyResumed
    | TrialStarted
    | AttemptStarted
    | AttemptFailed
    | RunLinked
    | EpochEnded
    | TrialCompleted
    | TrialFailed
    | StudyEnded
)

EVENTS: dict[str, type[Event]] = {event.kind: event for event in get_args(Event)}
"""Event types by the name they have in the journal."""
