"""Trials side by side: in what they differ, their metrics, and whether chance explains the difference of these."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from pneumo_core.errors import PneumoError, StudyError
from pneumo_core.operating_point import OperatingPoint
from tuning.analysis.contrasts import Contrast, contrasts
from tuning.analysis.fairness import reservations
from tuning.analysis.paired_scores import PairedScores, ScoredTrial, compare_scores
from tuning.analysis.score_tables import ScoreTables
from tuning.analysis.subjects import Subject, find_subjects
from tuning.confirmed import confirmed_summary
from tuning.ranking import defined
from tuning.store import Store


@dataclasses.dataclass(frozen=True)
class StudyComparison:
    """What `compare_trials` found.

    Attributes:
        subjects: the trials; the first is the reference.
        contrasts: in what they differ.
        reservations: sentences about what makes the comparison less than fair.
        basis: which scores are compared image by image: `confirmed` where all trials are, else `search`.
        scores: of each trial whose scores could be had, by its name.
        missing: why there are none, by the name of a trial.
        pairs: what each other trial's metrics are less the reference's, by its name.
        unpaired: why that cannot be said, by the name of a trial.
    """

    subjects: Sequence[Subject]
    contrasts: Sequence[Contrast]
    reservations: Sequence[str]
    basis: str
    scores: dict[str, ScoredTrial]
    missing: dict[str, str]
    pairs: dict[str, PairedScores]
    unpaired: dict[str, str]

    @property
    def reference(self) -> Subject:
        """The trial that the others are compared with."""
        return self.subjects[0]

    def comparable_scores(self) -> dict[str, ScoredTrial]:
        """Returns the scores of the trials that have the reference's images, by name."""
        images = self.reference.record.identity.data_digest
        alike = [s.name for s in self.subjects if s.record.identity.data_digest == images]
        return {name: scored for name, scored in self.scores.items() if name in alike}

    def to_mapping(self) -> dict[str, Any]:
        """Returns all of it for JSON: no NaN, but None."""
        return {
            "reference": self.reference.name,
            "trials": [_summary(subject) for subject in self.subjects],
            "differing": {each.title: each.differing for each in self.contrasts},
            "same": {each.title: list(each.same) for each in self.contrasts},
            "reservations": list(self.reservations),
            "basis": self.basis,
            "less_reference": {name: pair.to_mapping() for name, pair in self.pairs.items()},
            "unpaired": self.unpaired,
            "missing_scores": self.missing,
        }


def compare_trials(store: Store, names: Sequence[str], *, tracking_uri: str | None = None) -> StudyComparison:
    """Compares trials of one study or of several.

    Args:
        store: that holds the studies.
        names: see `tuning.analysis.subjects.find_subjects`; the first is the reference.
        tracking_uri: of the MLflow that has the scores; where each study was logged if None.

    Raises:
        StudyError: if a name stands for no trial, or there are too few or too many.
        StoreError: if a study's journal cannot be read.
    """
    subjects = find_subjects(store, names)
    basis = "confirmed" if all(subject.trial.confirmed for subject in subjects) else "search"
    scores, missing = _scores(store, subjects, basis, tracking_uri)
    pairs, unpaired = _pairs(subjects, scores, missing)
    return StudyComparison(
        subjects, contrasts(subjects), reservations(subjects), basis, scores, missing, pairs, unpaired
    )


def _scores(
    store: Store, subjects: Sequence[Subject], basis: str, tracking_uri: str | None
) -> tuple[dict[str, ScoredTrial], dict[str, str]]:
    scores, missing = {}, {}
    with contextlib.ExitStack() as stack:
        records = {subject.record.started.study: subject.record for subject in subjects}
        tables = {
            study: stack.enter_context(ScoreTables(store, record, tracking_uri)) for study, record in records.items()
        }
        for subject in subjects:
            try:
                scores[subject.name] = _scored(subject, tables[subject.record.started.study], basis)
            except PneumoError as error:
                missing[subject.name] = str(error)
    return scores, missing


def _scored(subject: Subject, tables: ScoreTables, basis: str) -> ScoredTrial:
    trial = subject.trial
    place = trial.confirmed if basis == "confirmed" else None
    if place is not None:
        return ScoredTrial(tables.confirmed(trial), OperatingPoint(place.threshold, place.temperature))
    found = tables.of(trial)
    if trial.threshold is None or trial.temperature is None:
        raise StudyError(f"trial {subject.name}: its operating point is not recorded; compare another one.")
    return ScoredTrial(found, OperatingPoint(trial.threshold, trial.temperature))


def _pairs(
    subjects: Sequence[Subject], scores: dict[str, ScoredTrial], missing: dict[str, str]
) -> tuple[dict[str, PairedScores], dict[str, str]]:
    pairs, unpaired = {}, {}
    reference = subjects[0]
    for subject in subjects[1:]:
        lacking = [name for name in (reference.name, subject.name) if name in missing]
        if subject.record.identity.data_digest != reference.record.identity.data_digest:
            unpaired[subject.name] = f"it was scored on other images than {reference.name}"
        elif lacking:
            unpaired[subject.name] = f"the scores of {' and '.join(lacking)} cannot be had"
        else:
            try:
                pairs[subject.name] = compare_scores(scores[subject.name], scores[reference.name])
            except PneumoError as error:
                unpaired[subject.name] = str(error)
    return pairs, unpaired


def _summary(subject: Subject) -> dict[str, Any]:
    trial = subject.trial
    return {
        "name": subject.name,
        "study": subject.record.started.study,
        "trial": trial.trial,
        "status": trial.status,
        "run_id": trial.run_id,
        "objective": subject.record.started.objective,
        "score": trial.score,
        "params": trial.params,
        "epochs": trial.epochs,
        "duration_s": trial.duration_s,
        "metrics": {name: defined(value) for name, value in trial.metrics.items()},
        "intervals": trial.intervals,
        "threshold": trial.threshold,
        "temperature": trial.temperature,
        "confirmed": trial.confirmed and confirmed_summary(trial.confirmed),
    }
