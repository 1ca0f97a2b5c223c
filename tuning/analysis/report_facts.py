"""All that a report is made from, gathered once; and the same as one document for scripts."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.errors import PneumoError
from search_spaces import SearchSpace
from tuning.analysis.advice import Advice, advise
from tuning.analysis.baseline import baseline
from tuning.analysis.failures import FailureRegion, failure_regions, failures_by_cause
from tuning.analysis.gain import Gain
from tuning.analysis.importance import Importances, importances
from tuning.analysis.paired_gain import paired_gain
from tuning.analysis.score_tables import ScoreTables
from tuning.analysis.spending import Spending, spending
from tuning.analysis.winner import picture_of_winner, why_unexplainable
from tuning.confirmation import leaders
from tuning.confirmed import confirmation_summary, trial_summary
from tuning.events import AttemptFailed
from tuning.journal import read_entries
from tuning.ranking import defined
from tuning.record import StudyRecord, TrialRecord, replay
from tuning.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """The score tables of a trial, and what they are, in words."""

    name: str
    tables: Sequence[pd.DataFrame]


@dataclasses.dataclass(frozen=True)
class FailureCause:
    """Trials that failed for the same reason, numbers in it aside.

    Attributes:
        reason: of the first of them.
        trials: their ids.
        region: values of a parameter that go with it beyond chance; None if none do.
    """

    reason: str
    trials: tuple[str, ...]
    region: FailureRegion | None


@dataclasses.dataclass(frozen=True, eq=False)
class ReportFacts:
    """What is known of a study.

    Attributes:
        record: its record.
        state: `finished`, `failed`, `interrupted`, `running`, or `killed` if its process died.
        at: when this was gathered, in seconds since 1970.
        best: its best trial, the best confirmed one if there are any; None if none completed.
        leader: the best by its score in the search.
        baseline: the trial of the notebook's recipe, if it has one that completed.
        gain: of the best over the baseline; None where they are one, or one is missing.
        importances: of the searched parameters.
        advice: what to search next.
        spending: the time and the disk that it took.
        failures: failed trials by cause.
        losses: why attempts were lost with their process, and how often.
        curves: score tables of the best trial, and of the baseline.
        no_curves: why there are none; empty if there are.
        picture: Grad-CAM of the best trial; None if there is none.
        no_picture: why there is none; empty if there is.
    """

    record: StudyRecord
    state: str
    at: float
    best: TrialRecord | None
    leader: TrialRecord | None
    baseline: TrialRecord | None
    gain: Gain | None
    importances: Importances
    advice: tuple[Advice, ...]
    spending: Spending
    failures: tuple[FailureCause, ...]
    losses: dict[str, int]
    curves: tuple[Curve, ...]
    no_curves: str
    picture: Path | None
    no_picture: str

    @property
    def made_at(self) -> str:
        """When the facts were gathered: date and time, UTC."""
        return datetime.datetime.fromtimestamp(self.at, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")

    def to_mapping(self) -> dict[str, Any]:
        """Returns the facts for a script: no NaN, but None."""
        record = self.record
        return {
            "study": record.started.study,
            "state": self.state,
            "objective": record.started.objective,
            "direction": record.started.direction,
            "trials": record.counts(),
            "best": self.best and trial_summary(self.best),
            "baseline": self.baseline and trial_summary(self.baseline),
            "gain": self.gain and self.gain.to_mapping(),
            "confirmation": confirmation_summary(record),
            "importances": {
                "parameters": [
                    {"name": one.name, "share": defined(one.share), "low": defined(one.low), "high": defined(one.high)}
                    for one in self.importances.parameters
                ],
                "trials": self.importances.trials,
                "method": self.importances.method,
                "reason": self.importances.reason or None,
                "warnings": list(self.importances.warnings),
            },
            "advice": [dataclasses.asdict(one) for one in self.advice],
            "spending": dataclasses.asdict(self.spending),
            "failures": [dataclasses.asdict(one) for one in self.failures],
            "lost_attempts": self.losses,
        }


def gather(store: Store, name: str, *, why_no_picture: str = "", clock: Callable[[], float] = time.time) -> ReportFacts:
    """Gathers the facts of a study, finished or not; reads its journal, and score tables where they can be had.

    Args:
        store: that holds the study.
        name: of the study.
        why_no_picture: why no Grad-CAM could be drawn just now; for the case that there is none of before.
        clock: wall clock, in seconds since 1970.

    Raises:
        StudyError: if there is no such study.
        StoreError: if its journal is damaged.
    """
    folder = store.existing().study(name)
    entries = list(read_entries(folder.journal))
    record = replay(entry.event for entry in entries)
    best, base = record.best(), baseline(record)
    mattered = importances(record)
    picture = picture_of_winner(folder, record)
    with ScoreTables(store, record) as tables:
        curves, no_curves = _curves(record, best, base, tables)
        gain = paired_gain(record, best, base, tables) if best and base else None
    return ReportFacts(
        record=record,
        state=record.ended.status if record.ended else "running" if folder.is_held() else "killed",
        at=clock(),
        best=best,
        leader=next(iter(leaders(record, 1)), None),
        baseline=base,
        gain=gain,
        importances=mattered,
        advice=tuple(advise(record, mattered)),
        spending=spending(store, folder, record, entries),
        failures=tuple(_failures(record)),
        losses=_losses(entry.event for entry in entries),
        curves=curves,
        no_curves=no_curves,
        picture=picture,
        no_picture="" if picture else why_unexplainable(record) or why_no_picture,
    )


def _failures(record: StudyRecord) -> Iterator[FailureCause]:
    with contextlib.suppress(ValueError):  # a space of another version of this program
        regions = {
            one.cause: one for one in failure_regions(record, SearchSpace.model_validate(record.started.definition))
        }
        for cause, trials in failures_by_cause(record).items():
            yield FailureCause(trials[0].reason or cause, tuple(trial.trial for trial in trials), regions.get(cause))


def _losses(events: Iterator[object]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for event in events:
        if isinstance(event, AttemptFailed):
            counted[event.reason] = counted.get(event.reason, 0) + 1
    return counted


def _curves(
    record: StudyRecord, best: TrialRecord | None, base: TrialRecord | None, tables: ScoreTables
) -> tuple[tuple[Curve, ...], str]:
    """Of the best trial, and of the baseline if that is another one and its scores can be had too."""
    if best is None:
        return (), "no trial completed"
    try:
        curves = [_curve(best, tables)]
    except PneumoError as error:
        return (), str(error)
    if base and base.trial != best.trial:
        with contextlib.suppress(PneumoError):
            curves.append(_curve(base, tables, " (baseline)"))
    return tuple(curves), ""


def _curve(trial: TrialRecord, tables: ScoreTables, remark: str = "") -> Curve:
    """Confirming trainings come first: nothing was chosen for their scores."""
    if trial.confirmed:
        return Curve(f"{trial.trial}{remark}, confirmed", tables.confirmed(trial))
    return Curve(f"{trial.trial}{remark}, in the search", tables.of(trial))
