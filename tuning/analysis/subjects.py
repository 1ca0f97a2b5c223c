"""What a comparison compares: trials, each named by its study, or by its study and its id."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence

from pneumo_core.errors import StudyError
from tuning.analysis.baseline import baseline
from tuning.ranking import load_record
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store

BASELINE = "baseline"
"""Stands for the trial of the space's first known configuration, in place of its id."""

FEWEST, MOST = 2, 8
"""Of subjects side by side; more could not be told apart in a plot."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A trial with the study that it is of."""

    record: StudyRecord
    trial: TrialRecord

    @property
    def name(self) -> str:
        """The study's name and the trial's id, as the user may write them."""
        return f"{self.record.started.study}/{self.trial.trial}"


def find_subjects(store: Store, names: Sequence[str]) -> list[Subject]:
    """Returns the trials that names stand for.

    Args:
        store: that holds the studies.
        names: `STUDY` for its best trial, the best confirmed one if there are any; `STUDY/t0007`; `STUDY/baseline`.

    Raises:
        StudyError: if one is not there, has no trial to show yet, is named twice, or there are too few or too many.
    """
    if not FEWEST <= len(names) <= MOST:
        with_itself = f"; its best against its baseline: {names[0]}/baseline {names[0]}" if len(names) == 1 else ""
        raise StudyError(
            f"comparison: expected {FEWEST} to {MOST} studies or trials, such as vgg16-1 or vgg16-1/t0007; got "
            f"{len(names)}{with_itself}."
        )
    records: dict[str, StudyRecord] = {}
    subjects = []
    for name in names:
        study, _, trial = name.partition("/")
        if study not in records:
            records[study] = _record(store, study)
        subjects.append(Subject(records[study], _trial(records[study], trial) if trial else _best(records[study])))
    _refuse_twins(subjects)
    return subjects


def _record(store: Store, study: str) -> StudyRecord:
    known = store.existing().study_names()
    if known and study not in known:
        raise StudyError(f"study {study}: not found in {store.root}; {_hint(study, known, 'studies there')}.")
    return load_record(store, study)


def _trial(record: StudyRecord, name: str) -> TrialRecord:
    study = record.started.study
    if name == BASELINE:
        found = baseline(record)
        if found is None:
            raise StudyError(
                f"study {study}: has no baseline, as its space knows no first configuration or its trial did not "
                "complete; name a trial."
            )
        return found
    if name not in record.trials:
        raise StudyError(f"study {study}: has no trial {name}; {_hint(name, record.trials, 'it has')}.")
    return record.trials[name]


def _best(record: StudyRecord) -> TrialRecord:
    best = record.best()
    if best is None:
        raise StudyError(
            f"study {record.started.study}: has no completed trial yet; name one that is shown by `tune leaderboard`."
        )
    return best


def _hint(name: str, known: Iterable[str], otherwise: str) -> str:
    listed = list(known)
    if close := difflib.get_close_matches(name, listed, n=3):
        return f"did you mean {' or '.join(close)}?".removesuffix("?")
    return f"{otherwise}: {', '.join(listed[:MOST])}{', …' if len(listed) > MOST else ''}"


def _refuse_twins(subjects: Sequence[Subject]) -> None:
    names = [subject.name for subject in subjects]
    if twins := sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"comparison: expected different trials, got {', '.join(twins)} more than once; name others.")
