"""What the trials of a study are ranked by, and their order by it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pneumo_core.errors import StudyError
from pneumo_core.metric_names import LOWER_IS_BETTER, METRIC_NAMES
from tuning.journal import read_journal
from tuning.record import StudyRecord, TrialRecord, replay
from tuning.store import Store

Ends = Sequence[float | None]
"""Lower and upper end of a 95 % interval; None where undefined."""


def load_record(store: Store, study: str) -> StudyRecord:
    """Reads a study's journal to its record.

    Raises:
        StudyError: if there is no such study.
        StoreError: if its journal is damaged.
    """
    return replay(read_journal(store.study(study).journal))


@dataclasses.dataclass(frozen=True)
class Criterion:
    """What trials are ranked by: the study's objective, or another metric of theirs.

    Attributes:
        metric: its name, `val_roc_auc` and the like.
        higher_is_better: whether more of it is better.
        is_objective: whether it is what the study optimizes.
    """

    metric: str
    higher_is_better: bool
    is_objective: bool

    def searched(self, trial: TrialRecord) -> float | None:
        """Returns its value in the search; None where there is none, or none that is defined."""
        return defined(trial.score if self.is_objective else trial.metrics.get(self.metric))

    def searched_ends(self, trial: TrialRecord) -> Ends:
        """Returns the ends of the interval of `searched`; nothing if there is none."""
        return trial.intervals.get(self.metric, [])

    def confirmed(self, trial: TrialRecord) -> float | None:
        """Returns its mean over the trainings that confirm the trial; None for a trial that is not confirmed."""
        return defined(self._confirmed(trial)[0])

    def confirmed_ends(self, trial: TrialRecord) -> Ends:
        """Returns the ends of the interval of `confirmed`; nothing if there is none."""
        return self._confirmed(trial)[1:] if trial.confirmed else []

    def _confirmed(self, trial: TrialRecord) -> Ends:
        if trial.confirmed is None:
            return [None]
        if self.is_objective:
            return [trial.confirmed.score, trial.confirmed.low, trial.confirmed.high]
        return trial.confirmed.metrics.get(self.metric, [None, None, None])


def objective_of(record: StudyRecord) -> Criterion:
    """Returns the study's objective as what its trials are ranked by."""
    return Criterion(record.started.objective, record.started.direction == "max", is_objective=True)


def criterion_of(record: StudyRecord, metric: str | None) -> Criterion:
    """Returns what a metric ranks by.

    Args:
        record: of the study.
        metric: its name, with `val_` or without; the objective if None.

    Raises:
        StudyError: if the trials do not have it; names those that they have.
    """
    objective = objective_of(record)
    known = metric_names(record)
    name = next((name for name in (metric, f"val_{metric}") if name in known), None)
    if metric is None or name == objective.metric:
        return objective
    if name is None:
        raise StudyError(f"study {record.started.study}: has no metric {metric}; there are: {', '.join(known)}.")
    return Criterion(name, name.removeprefix("val_") not in LOWER_IS_BETTER, is_objective=False)


def metric_names(record: StudyRecord) -> list[str]:
    """Returns the names of the metrics that trials of the search have, or will have if none is over yet."""
    names: dict[str, None] = {}
    for trial in record.searched:
        names.update(dict.fromkeys(trial.metrics))
    return list(names) or [f"val_{name}" for name in METRIC_NAMES]


def ranked(record: StudyRecord, criterion: Criterion) -> list[TrialRecord]:
    """Returns the trials of the search as `StudyRecord.ranked` does, by any criterion.

    Confirmed ones come first, by what their confirmation came to; then completed ones, pruned ones, those without a
    value.
    """
    if criterion.is_objective:
        return record.ranked()
    sign = -1 if criterion.higher_is_better else 1

    def key(trial: TrialRecord) -> tuple[bool, float, bool, float, int]:
        mean, value = criterion.confirmed(trial), criterion.searched(trial)
        return (
            trial.place is None,
            0.0 if trial.place is None else _or_last(mean, sign),
            trial.status != "completed",
            _or_last(value, sign),
            trial.number,
        )

    return sorted(record.searched, key=key)


def _or_last(value: float | None, sign: int) -> float:
    return math.inf if value is None else sign * value


def format_value(value: object) -> str:
    """Returns a value as people read it: at most 4 significant digits, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def defined(value: float | None) -> float | None:
    """Returns the value, or None for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None
