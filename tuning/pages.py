"""What is to be written to an MLflow run, as it follows from the events of a study: plain values, no MLflow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tuning.analysis.baseline import has_baseline_values
from tuning.confirmed import confirmed_by
from tuning.descriptions import study_description, trial_description
from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    StudyConfirmed,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialConfirmed,
    TrialFailed,
    TrialStarted,
    TrialUnconfirmed,
)
from tuning.journal import Entry
from tuning.record import StudyRecord, TrialRecord

RUN_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
"""MLflow's words for how a study ended."""

TEXT_LIMIT = 5000
"""Characters of a parameter or a reason; MLflow's own end is 6000."""

DESCRIPTION = "mlflow.note.content"
"""The tag that MLflow shows as a run's description, in Markdown."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A metric at a step, measured at a time in seconds since 1970."""

    name: str
    value: float
    step: int
    at: float


@dataclasses.dataclass
class Page:
    """What is to be written to a run.

    Attributes:
        opened: whether the run is new, and so lacks what never changes.
        params: by name.
        tags: by name.
        outdated_tags: those to be removed.
        points: of metrics.
        status: MLflow's name of it; empty to leave it.
        ended_at: when the run ended, in seconds since 1970, if it did.
    """

    opened: bool = False
    params: dict[str, Any] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    outdated_tags: list[str] = dataclasses.field(default_factory=list)
    points: list[Point] = dataclasses.field(default_factory=list)
    status: str = ""
    ended_at: float = 0.0

    @property
    def ends_well(self) -> bool:
        """Whether the run has a result."""
        return self.status == "FINISHED"

    def measure(self, values: Mapping[str, float], step: int, at: float) -> None:
        """Adds a point to each metric."""
        self.points += [Point(name, value, step, at) for name, value in values.items()]

    def end(self, status: str, at: float) -> None:
        """Ends the run."""
        self.status, self.ended_at = status, at


def study_tags(started: StudyStarted) -> dict[str, str]:
    """Returns the tags that a study's run and its trials' have in common."""
    return {
        "pneumo.study": started.study,
        "pneumo.study_id": started.study_id,
        "pneumo.space": started.space,
        "pneumo.space_digest": started.space_digest,
        "pneumo.data_digest": started.data_digest,
        "pneumo.split_digest": started.split_digest,
        "pneumo.git_commit": started.commit,
        "pneumo.threads": str(started.threads),
        "pneumo.algorithm": started.algorithm,
        "mlflow.source.name": "tune run",
        **({"pneumo.start_from": started.start_from["study"]} if started.start_from else {}),
        **{f"pneumo.version.{name}": version for name, version in started.versions.items()},
    }


def trial_page(record: StudyRecord, trial: TrialRecord, news: Sequence[Entry], losses: Mapping[int, str]) -> Page:
    """Returns what some entries of the journal add to a trial's run.

    Args:
        record: of the study.
        trial: as it is after them.
        news: the entries, all about the trial.
        losses: reasons of all attempts that were lost so far, by attempt.
    """
    page = Page()
    for entry in news:
        match entry.event:
            case TrialStarted(config=config):
                page.opened, page.params = True, config
            case AttemptStarted(attempt=attempt) if attempt > 1:
                page.tags["pneumo.attempts"] = str(attempt)
            case AttemptFailed():
                reasons = (f"{attempt}: {reason}" for attempt, reason in losses.items())
                page.tags["pneumo.lost_attempts"] = "\n".join(reasons)
            case EpochEnded(epoch=epoch, metrics=metrics, usage=usage):
                page.measure({f"epoch/{name}": value for name, value in metrics.items()}, epoch + 1, entry.at)
                page.measure({f"system/{name}": value for name, value in usage.items()}, epoch + 1, entry.at)
            case TrialCompleted():
                _complete(page, entry.event, entry.at)
            case TrialConfirmed():
                _confirm(page, entry.event, entry.at)
            case TrialUnconfirmed():
                page.tags |= {"pneumo.confirmed_rank": "none any more", "pneumo.confirmed_tied": ""}
            case TrialFailed(reason=reason):
                page.tags["pneumo.failure"] = reason[:TEXT_LIMIT]
                page.end("FAILED", entry.at)
            case StudyEnded():
                page.end("KILLED", entry.at)
            case StudyResumed():
                page.status = "RUNNING"
    if any(not isinstance(entry.event, EpochEnded) for entry in news):
        page.tags |= _standing(record, trial)
    return page


def _standing(record: StudyRecord, trial: TrialRecord) -> dict[str, str]:
    """What the list of runs can be filtered by, and what the trial was in a sentence."""
    tags = {"pneumo.status": trial.status, DESCRIPTION: trial_description(record, trial)[:TEXT_LIMIT]}
    return tags | ({"pneumo.baseline": "true"} if has_baseline_values(record, trial) else {})


def _complete(page: Page, event: TrialCompleted, at: float) -> None:
    marks = {"best_epoch": event.best_epoch + 1.0, "duration_s": event.duration_s}
    ends = {name: values for name, values in event.intervals.items() if name in event.metrics}
    page.measure(event.metrics | marks | _ends(ends), 0, at)
    page.measure({"threshold": event.threshold, "temperature": event.temperature}, 0, at)
    page.tags["pneumo.weights_digest"] = event.weights_digest
    page.tags["pneumo.activations_digest"] = event.activations_digest
    if event.variant_digests:
        page.tags["pneumo.variant_digests"] = " ".join(event.variant_digests)
    if event.pruned:
        page.tags["pneumo.pruned"] = "true"
    if event.worker:
        page.tags["pneumo.worker"] = event.worker
    page.end("FINISHED", at)


def _confirm(page: Page, event: TrialConfirmed, at: float) -> None:
    """On the leader's own run: what the trainings that confirm it came to."""
    means = {name: values[0] for name, values in event.metrics.items() if values[0] is not None}
    ends = {name: values[1:] for name, values in event.metrics.items()}
    page.measure({f"confirmed_{name}": value for name, value in (means | _ends(ends)).items()}, 0, at)
    page.tags |= {"pneumo.confirmed_rank": str(event.rank), "pneumo.confirmed_tied": str(event.tied).lower()}


def _ends(intervals: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """Lower and upper ends of intervals as metrics of their own."""
    named = (
        (f"{name}_{end}", value)
        for name, ends in intervals.items()
        for end, value in zip(("low", "high"), ends, strict=True)
    )
    return {name: value for name, value in named if value is not None}


def study_page(record: StudyRecord, news: Sequence[Entry]) -> Page:
    """Returns what some entries of the journal add to a study's run.

    Args:
        record: of the study, as it is after them.
        news: the entries, all about the study as a whole.
    """
    page = Page()
    for entry in news:
        match entry.event:
            case StudyStarted():
                page.opened, page.params = True, _settings(entry.event)
            case StudyResumed(trials=trials):
                page.status, page.outdated_tags = "RUNNING", ["pneumo.failure", "pneumo.ended"]
                page.tags["pneumo.trials_wanted"] = str(trials)
                if record.forced:
                    page.tags["pneumo.forced"] = "\n".join(record.forced)
            case StudyConfirmed() if entry.event.best:
                page.tags |= {"pneumo.confirmed_best": entry.event.best}
                optimism = {"expected": entry.event.expected_optimism, "observed": entry.event.observed_optimism}
                known = {f"{name}_optimism": value for name, value in optimism.items() if value is not None}
                page.measure(known, 0, entry.at)
                page.tags["pneumo.confirmed_by"] = confirmed_by(entry.event.confirm)
            case StudyEnded() if entry.event is record.ended:  # not one that the study went on after
                _end(page, record, entry.event, entry.at)
    if news:
        page.tags[DESCRIPTION] = study_description(record)[:TEXT_LIMIT]
    return page


def _settings(event: StudyStarted) -> dict[str, Any]:
    return {
        "objective": event.objective,
        "direction": event.direction,
        "algorithm": event.algorithm,
        "trials": event.trials,
        "seed": event.seed,
        "searched": ", ".join(event.parameters),
        "folds": event.folds,
        "confirm": json.dumps(event.confirm),
        "data": event.data,
        **{f"{role}_images": count for role, count in event.images.items()},
    }


def _end(page: Page, record: StudyRecord, event: StudyEnded, at: float) -> None:
    best = record.best()
    if best is not None:
        page.measure({f"best_{name}": value for name, value in best.metrics.items()}, 0, at)
        if best.confirmed:
            place, objective = best.confirmed, record.started.objective
            means = {objective: place.score} | _ends({objective: [place.low, place.high]})
            page.measure({f"confirmed_{name}": value for name, value in means.items()}, 0, at)
        page.tags |= {"pneumo.best_trial": best.trial, "pneumo.best_run": best.run_id or ""}
        values = {f"pneumo.best.{name}": value for name, value in best.params.items()}
        page.tags |= {name: str(value) for name, value in values.items() if value is not None}
        page.outdated_tags += [name for name, value in values.items() if value is None]  # of the best one before
    if event.reason:
        name = "pneumo.ended" if event.status == "finished" else "pneumo.failure"
        page.tags[name] = event.reason[:TEXT_LIMIT]
        page.outdated_tags = [outdated for outdated in page.outdated_tags if outdated != name]
    page.end(RUN_STATUS[event.status], at)
