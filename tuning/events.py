"""What can happen in a study. Journal, MLflow and the view on the terminal all follow from these events."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, get_args

StudyStatus = Literal["finished", "failed", "interrupted"]

EXHAUSTED = "every configuration was tried"
"""Why a study ended, if its space holds fewer configurations than it was asked for."""


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
        confirm: how the leaders are confirmed, see `search_spaces.Confirmation`; empty for not at all.
        store: folder of the store; paths inside it move with it, see `tuning.relocation`.
        start_from: the other study whose leaders come first, see `tuning.analysis.leaders.StartFrom`; empty for none.
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
    confirm: dict[str, Any] = dataclasses.field(default_factory=dict)
    store: str = ""
    start_from: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StudyResumed:
    """A process takes the study up again.

    Attributes:
        trials: how many trials of the search are asked for from now on, those of before counted.
        forced: what had changed, and was accepted with `--force`.
        identity: what the study's data, space and program are from now on; see `tuning.identity.identity_of`.
        confirm: how the leaders are confirmed from now on; None for as before.
        search: whether the search goes on; else its leaders as they are now are confirmed.
    """

    kind: ClassVar[str] = "study_resumed"
    trials: int
    forced: list[str]
    identity: dict[str, Any] = dataclasses.field(default_factory=dict)
    confirm: dict[str, Any] | None = None
    search: bool = True


@dataclasses.dataclass(frozen=True)
class TrialStarted:
    """A trial begins: the oracle was asked and answered, or a leader of the search is trained once more.

    Attributes:
        trial: id, `t0001` and so on; `t0001-f5-64px-s1` for a training that confirms `t0001`.
        number: from 1, in the order of their start.
        params: what the oracle chose; None for a searched parameter whose condition does not hold.
        config: the whole configuration that follows.
        parent: trial whose training this one continues (a rung of Hyperband); empty for none.
        first_epoch: epochs that the parent has trained.
        prune_above: validation loss above which the trial ends early, by epochs trained (as text).
        confirms: trial of the search whose configuration this trains again; empty for a trial of the search itself.
        folds: that it is trained in; 0 for those of the study.
    """

    kind: ClassVar[str] = "trial_started"
    trial: str
    number: int
    params: dict[str, Any]
    config: dict[str, Any]
    parent: str = ""
    first_epoch: int = 0
    prune_above: dict[str, float] = dataclasses.field(default_factory=dict)
    confirms: str = ""
    folds: int = 0


@dataclasses.dataclass(frozen=True)
class AttemptStarted:
    """A trial is handed to a worker. Attempts are counted from 1; what an earlier one still says is stale."""

    kind: ClassVar[str] = "attempt_started"
    trial: str
    attempt: int


@dataclasses.dataclass(frozen=True)
class AttemptFailed:
    """An attempt was lost with its process: a crash, too little memory, a hang. The trial may be tried again.

    A `blameless` one, lost with the connection to a cluster, say, does not count against the trial.
    """

    kind: ClassVar[str] = "attempt_failed"
    trial: str
    attempt: int
    reason: str
    blameless: bool = False


@dataclasses.dataclass(frozen=True)
class RunLinked:
    """The study (`trial` is empty) or a trial has an MLflow run."""

    kind: ClassVar[str] = "run_linked"
    trial: str
    run_id: str


@dataclasses.dataclass(frozen=True)
class EpochEnded:
    """An epoch (counted from 0) of a trial was trained and validated. Each is told once, whatever was repeated.

    Attributes:
        trial: id.
        epoch: its number.
        metrics: the same whenever the epoch is trained, but for the time it took.
        usage: of processor and memory since the epoch before, see `tuning.usage`; empty if it was not measured.
    """

    kind: ClassVar[str] = "epoch_ended"
    trial: str
    epoch: int
    metrics: dict[str, float]
    usage: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrialCompleted:
    """A trial has its score; its files stand in the study's staging folder. A pruned one was ended early.

    Attributes:
        trial: id.
        score: the objective.
        metrics: `val_roc_auc` and the like, at the trial's own operating point.
        best_epoch: index of the epoch that counts.
        weights_digest: of the backbone it started from.
        duration_s: of the attempt that succeeded.
        activations_digest: of the cached activations it was scored on.
        variant_digests: of augmented variants.
        pruned: whether it ended early.
        intervals: lower and upper end of each metric's 95 % interval; None where undefined.
        threshold: of the operating point.
        temperature: of the operating point.
        worker: that made it, if it was not on the study's own machine.
    """

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
    intervals: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    threshold: float = 0.5
    temperature: float = 1.0
    worker: str = ""


@dataclasses.dataclass(frozen=True)
class TrialFailed:
    """A trial ended without a score."""

    kind: ClassVar[str] = "trial_failed"
    trial: str
    reason: str
    duration_s: float


@dataclasses.dataclass(frozen=True)
class TrialConfirmed:
    """A leader of the search has its place among the confirmed ones.

    Attributes:
        trial: of the search.
        rank: from 1, by the mean.
        score: mean of the objective over the trainings that confirm it, and over their folds.
        low: lower end of the score's 95 % interval.
        high: upper end.
        tied: whether it cannot be told from the first by these images and, if there are several, seeds.
        difference: of the score to that of the first, with the ends of its interval over patients and seeds; so wide
            that in 95 of 100 such confirmations all differences lie in theirs. Zeros for the first.
        deviation: standard deviation of the score over the seeds; None with one seed.
        metrics: every metric, `val_roc_auc` and the like, as value, low and high.
        runs: ids of the trainings that confirm it.
        threshold: that its scores choose, see `pneumo_core.operating_point`.
        temperature: likewise.
        leads: whether it is among the best; not so for a baseline that was confirmed only to be held against them.
    """

    kind: ClassVar[str] = "trial_confirmed"
    trial: str
    rank: int
    score: float
    low: float
    high: float
    tied: bool
    difference: list[float]
    deviation: float | None
    metrics: dict[str, list[float | None]]
    runs: list[str]
    threshold: float
    temperature: float
    leads: bool = True


@dataclasses.dataclass(frozen=True)
class TrialUnconfirmed:
    """A trial that was among the confirmed ones no longer is: others were confirmed, or it was in another way."""

    kind: ClassVar[str] = "trial_unconfirmed"
    trial: str


@dataclasses.dataclass(frozen=True)
class StudyConfirmed:
    """All leaders have been confirmed, or could not be.

    Attributes:
        best: the trial of the search with the highest mean.
        confirm: how they were confirmed, see `search_spaces.Confirmation`.
        left_out: why a leader has no place, by trial.
        compared: how many configurations of the search the first was the best of.
        expected_optimism: by how much the best of as many equal configurations looks better than it is, by the chance
            of the images alone; see `tuning.confirmation.expected_optimism`. None if that is not known.
        observed_optimism: the score of the search's leader in the search, less that of its confirmation, in the
            objective's direction. None if the two were not scored in the same way: other folds, another image size.
    """

    kind: ClassVar[str] = "study_confirmed"
    best: str
    confirm: dict[str, Any]
    left_out: dict[str, str]
    compared: int
    expected_optimism: float | None
    observed_optimism: float | None


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
    | TrialConfirmed
    | TrialUnconfirmed
    | StudyConfirmed
    | StudyEnded
)

EVENTS: dict[str, type[Event]] = {event.kind: event for event in get_args(Event)}
"""Event types by the name they have in the journal."""
