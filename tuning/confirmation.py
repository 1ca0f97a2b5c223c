"""What follows a search: its leaders are trained again, and ranked by what that comes to.

The best of many trials looks better than it is, because it was chosen for its score. So the leaders get new seeds, and
grouped folds whatever the search had; their mean over both, with an interval over patients, is what is reported.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import integrate, stats

from pneumo_core.errors import StoreError
from search_spaces import Confirmation
from tuning.events import StudyConfirmed, TrialConfirmed, TrialStarted
from tuning.protocol import DEFAULT_FOLDS
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


def retrainings(record: StudyRecord, leading: Sequence[TrialRecord] | None = None) -> list[Retraining]:
    """Returns all trainings that confirm a study's leaders, in their order: one of each, then the next one.

    Args:
        record: of the study.
        leading: the leaders; as many of the search's best as are to be confirmed if None.
    """
    if not record.confirm:
        return []
    wanted = Confirmation(**record.confirm)
    folds = confirming_folds(wanted, record.started.folds)
    leading = leaders(record, wanted.top) if leading is None else leading
    seeds = range(1, wanted.seeds + 1)
    return [_retraining(leader, wanted.image_size, folds, seed) for seed in seeds for leader in leading]


def confirming_folds(wanted: Confirmation, searched: int) -> int:
    """Returns how many folds a training that confirms has, where those of the search have so many."""
    return wanted.folds or (searched if searched > 1 else DEFAULT_FOLDS)


def _retraining(leader: TrialRecord, image_size: int | None, folds: int, seed: int) -> Retraining:
    size = image_size or leader.config["image_size"]
    config = leader.config | {"seed": leader.config["seed"] + seed, "image_size": size}
    return Retraining(f"{leader.trial}-f{folds}-{size}px-s{seed}", leader.trial, config, folds)


def next_retraining(record: StudyRecord) -> TrialStarted | None:
    """Returns the next training that confirms a leader; None if all have started. None is made twice."""
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
    """Returns about how long confirming the leaders will take one worker, in seconds, by what trials took so far."""
    if not record.confirm or not (led := leaders(record, record.confirm["top"])):
        return 0.0
    wanted = Confirmation(**record.confirm)
    side = (wanted.image_size or led[0].config["image_size"]) / led[0].config["image_size"]
    folds = confirming_folds(wanted, record.started.folds) / record.started.folds
    durations_s = [trial.duration_s or 0.0 for trial in led]
    return float(statistics.mean(durations_s) * wanted.top * wanted.seeds * folds * side**2)


def conclude(record: StudyRecord, folder: Path) -> Iterator[TrialConfirmed | StudyConfirmed]:
    """Yields each leader's place, best mean first, and then what became of the whole.

    Args:
        record: of the study; all retrainings are over.
        folder: that holds the score table of each completed one, as `<id>.csv`.

    Raises:
        StoreError: if a score table is gone or damaged.
    """
    from pneumo_core.evaluation_report import evaluate

    places, left_out = [], {}
    for leader, runs in _retrained(record).items():
        if failed := [run for run in runs if run.status != "completed"]:
            left_out[leader] = f"{failed[0].trial} {failed[0].status}: {failed[0].reason}"
            continue
        tables = [_scores_of(run, folder) for run in runs]
        places.append(_Place(leader, runs, tables, evaluate(tables)))
    objective, sign = record.started.objective.removeprefix("val_"), 1 if record.started.direction == "max" else -1
    places.sort(key=lambda place: -sign * place.report.metrics[objective].value)
    error = _seed_error(places, objective)
    confirmed = [_confirmed(place, places[0], rank, objective, error) for rank, place in enumerate(places, start=1)]
    yield from confirmed
    yield _whole(record, places, confirmed, left_out, sign)


def _retrained(record: StudyRecord) -> dict[str, list[TrialRecord]]:
    """The trainings that confirm each leader, and those of earlier leaders that were trained in the same way."""
    candidates = leaders(record, len(record.searched))
    planned = retrainings(record, candidates)
    ids = {leader.trial: [run.trial for run in planned if run.confirms == leader.trial] for leader in candidates}
    return {
        leader: [record.trials[run] for run in runs]
        for leader, runs in ids.items()
        if all(run in record.trials and record.trials[run].over for run in runs)
    }


def _scores_of(run: TrialRecord, folder: Path) -> pd.DataFrame:
    path = folder / f"{run.trial}.csv"
    try:
        return pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"scores {path}: cannot be read ({error}); bring the file back.") from error


def _seed_error(places: Sequence[_Place], objective: str) -> float:
    """Standard error, by the choice of seeds, of the difference of two means; pooled over the leaders."""
    deviations = [place.report.seed_deviation.get(objective) for place in places]
    variances = [deviation**2 for deviation in deviations if deviation is not None]
    return math.sqrt(2 * statistics.mean(variances) / len(places[0].runs)) if variances else 0.0


@dataclasses.dataclass(frozen=True)
class _Place:
    """A leader with its retrainings and what their scores say."""

    trial: str
    runs: list[TrialRecord]
    tables: list[pd.DataFrame]
    report: Any


def _confirmed(place: _Place, first: _Place, rank: int, objective: str, seed_error: float) -> TrialConfirmed:
    from pneumo_core.intervals import paired_difference

    metrics = {name: _numbers(interval) for name, interval in place.report.metrics.items()}
    own, point = place.report.metrics[objective], place.report.operating_point
    ends = [0.0, 0.0, 0.0]
    if rank > 1:
        difference = paired_difference(place.tables, first.tables, objective)
        # Other patients and other seeds are two causes of error that know nothing of each other.
        reach = math.hypot(difference.high - difference.value, stats.norm.ppf(0.975) * seed_error)
        ends = [difference.value, difference.value - reach, difference.value + reach]
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
        return StudyConfirmed("", _settled(record), left_out, compared, 0.0, 0.0)
    best = record.trials[places[0].trial]
    return StudyConfirmed(
        best=best.trial,
        confirm=_settled(record),
        left_out=left_out,
        compared=compared,
        expected_optimism=expected_optimism(leaders(record, 1)[0], record.started.objective, compared),
        observed_optimism=sign * ((best.score or 0.0) - confirmed[0].score),
    )


def _settled(record: StudyRecord) -> dict[str, Any]:
    """How the leaders were confirmed, folds included."""
    return record.confirm | {"folds": confirming_folds(Confirmation(**record.confirm), record.started.folds)}


def expected_optimism(leader: TrialRecord, objective: str, compared: int) -> float:
    """Returns by how much the best of some equal configurations looks better than it is, by chance.

    The standard error of a score times the mean of the largest of as many standard normal numbers. Trials are scored on
    the same images, so their errors are alike, which makes it less; and other seeds are not in it, which makes it more.

    Args:
        leader: best trial of the search.
        objective: name of its score.
        compared: how many configurations it is the best of.
    """
    low, high = leader.intervals.get(objective, [None, None])
    if low is None or high is None or compared < 2:
        return 0.0
    standard_error = (high - low) / (2 * stats.norm.ppf(0.975))
    return float(standard_error * _mean_of_largest(compared))


@functools.cache
def _mean_of_largest(count: int) -> float:
    """Of so many standard normal numbers."""
    normal = stats.norm

    def weighted(x: float) -> float:
        return float(x * count * normal.pdf(x) * normal.cdf(x) ** (count - 1))

    return float(integrate.quad(weighted, -9, 9)[0])


def _numbers(interval: Any) -> list[float | None]:
    return list(interval.to_mapping().values())
