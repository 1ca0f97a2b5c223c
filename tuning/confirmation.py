"""What follows a search: its leaders are trained again, and ranked by what that comes to.

The best of many trials looks better than it is, because it was chosen for its score. So the leaders get new seeds, and
grouped folds whatever the search had; their mean over both, with an interval over patients, is what is reported.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from search_spaces import Confirmation
from tuning.events import StudyConfirmed, TrialConfirmed, TrialStarted
from tuning.record import StudyRecord, TrialRecord

_NEVER_THE_SAME = ("seed", "stop_after")


@dataclasses.dataclass(frozen=True)
class Retraining:
    """A training that confirms a leader.

    Attributes:
        trial: id.
        confirms: the leader.
        config: of the training: the leader's with another seed, and perhaps another image size.
        folds: that it is trained in.
    """

    trial: str
    confirms: str
    config: dict[str, Any]
    folds: int


def leaders(record: StudyRecord, top: int) -> list[TrialRecord]:
    """Returns the best completed trials of the search, by their score in it, no configuration twice."""
    sign = -1 if record.started.direction == "max" else 1
    completed = [trial for trial in record.searched if trial.status == "completed" and trial.score is not None]
    ranked = sorted(completed, key=lambda trial: (sign * (trial.score or 0.0), -trial.epochs, trial.number))
    found: dict[str, TrialRecord] = {}
    for trial in ranked:
        essence = {name: value for name, value in trial.config.items() if name not in _NEVER_THE_SAME}
        found.setdefault(repr(sorted(essence.items())), trial)
    return list(found.values())[:top]


def retrainings(record: StudyRecord) -> list[Retraining]:
    """Returns all trainings that confirm the leaders of a search, in their order: a seed of each, then the next seed."""
    wanted = Confirmation(**record.confirm) if record.confirm else Confirmation(top=0)
    return [
        _retraining(leader, wanted, seed)
        for seed in range(1, wanted.seeds + 1)
        for leader in leaders(record, wanted.top)
    ]


def _retraining(leader: TrialRecord, wanted: Confirmation, seed: int) -> Retraining:
    size = wanted.image_size or leader.config["image_size"]
    config = leader.config | {"seed": leader.config["seed"] + seed, "image_size": size}
    return Retraining(f"{leader.trial}-f{wanted.folds}-{size}px-s{seed}", leader.trial, config, wanted.folds)


def next_retraining(record: StudyRecord) -> TrialStarted | None:
    """Returns the next training that confirms a leader; None if all have started. What was trained once is not again."""
    for planned in retrainings(record):
        if planned.trial not in record.trials:
            params = record.trials[planned.confirms].params
            return TrialStarted(
                planned.trial,
                len(record.trials) + 1,
                params,
                planned.config,
                confirms=planned.confirms,
                folds=planned.folds,
            )
    return None


def expected_s(record: StudyRecord) -> float:
    """Returns about how long confirming the leaders will take one worker, in seconds, by how long trials took so far."""
    if not record.confirm or not (led := leaders(record, record.confirm["top"])):
        return 0.0
    wanted = Confirmation(**record.confirm)
    side = (wanted.image_size or led[0].config["image_size"]) / led[0].config["image_size"]
    fits = 1.25 if record.started.folds == 1 and wanted.folds > 1 else 1.0  # a fold trains on as much as a hold-out
    trial_s = statistics.mean(trial.duration_s or 0.0 for trial in led)
    return trial_s * wanted.top * wanted.seeds * wanted.folds / record.started.folds * side**2 * fits


def conclude(record: StudyRecord, folder: Path) -> Iterator[TrialConfirmed | StudyConfirmed]:
    """Yields each leader's place, best mean first, and then what became of the whole.

    Args:
        record: of the study; all retrainings are over.
        folder: that holds the score table of each completed one, as `<id>.csv`.
    """
    from pneumo_core.evaluation_report import evaluate

    planned, places, left_out = retrainings(record), [], {}
    for leader in dict.fromkeys(retraining.confirms for retraining in planned):
        runs = [record.trials[retraining.trial] for retraining in planned if retraining.confirms == leader]
        if failed := [run for run in runs if run.status != "completed"]:
            left_out[leader] = f"{failed[0].trial} {failed[0].status}: {failed[0].reason}"
            continue
        tables = [pd.read_csv(folder / f"{run.trial}.csv", keep_default_na=False) for run in runs]
        places.append(_Place(leader, runs, tables, evaluate(tables)))
    objective, sign = record.started.objective.removeprefix("val_"), 1 if record.started.direction == "max" else -1
    places.sort(key=lambda place: -sign * place.report.metrics[objective].value)
    confirmed = [_confirmed(place, places[0], rank, objective) for rank, place in enumerate(places, start=1)]
    yield from confirmed
    yield _whole(record, places, confirmed, left_out, sign)


@dataclasses.dataclass(frozen=True)
class _Place:
    """A leader with its retrainings and what their scores say."""

    trial: str
    runs: list[TrialRecord]
    tables: list[pd.DataFrame]
    report: Any


def _confirmed(place: _Place, first: _Place, rank: int, objective: str) -> TrialConfirmed:
    from pneumo_core.intervals import paired_difference

    metrics = {name: _numbers(interval) for name, interval in place.report.metrics.items()}
    own, point = place.report.metrics[objective], place.report.operating_point
    difference = paired_difference(place.tables, first.tables, objective) if rank > 1 else None
    ends = [0.0, 0.0, 0.0] if difference is None else [difference.value, difference.low, difference.high]
    return TrialConfirmed(
        trial=place.trial,
        rank=rank,
        score=own.value,
        low=own.low,
        high=own.high,
        tied=rank > 1 and ends[1] <= 0 <= ends[2],
        difference=ends,
        deviation=place.report.seed_deviation.get(objective),
        metrics={f"val_{name}": values for name, values in metrics.items()},
        runs=[run.trial for run in place.runs],
        threshold=point.threshold,
        temperature=point.temperature,
    )


def _whole(
    record: StudyRecord,
    places: Sequence[_Place],
    confirmed: Sequence[TrialConfirmed],
    left_out: dict[str, str],
    sign: int,
) -> StudyConfirmed:
    compared = len(leaders(record, len(record.searched)))
    if not places:
        return StudyConfirmed("", record.confirm, left_out, compared, 0.0, 0.0)
    best = record.trials[places[0].trial]
    return StudyConfirmed(
        best=best.trial,
        confirm=record.confirm,
        left_out=left_out,
        compared=compared,
        expected_optimism=0.0,
        observed_optimism=sign * ((best.score or 0.0) - confirmed[0].score),
    )


def _numbers(interval: Any) -> list[float | None]:
    return list(interval.to_mapping().values())
