"""What follows a search: its leaders are trained again, and ranked by what that comes to.

The best of many trials looks better than it is, because it was chosen for its score. So the leaders get new seeds, and
grouped folds whatever the search had; their mean over both, with an interval over patients, is what is reported.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import integrate, stats

from pneumo_core.errors import StoreError
from search_spaces import Confirmation
from tuning.analysis.baseline import has_baseline_values
from tuning.events import StudyConfirmed, TrialConfirmed, TrialStarted, TrialUnconfirmed
from tuning.protocol import DEFAULT_FOLDS
from tuning.record import StudyRecord, TrialRecord


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
    aside = {"seed", "stop_after"} | ({"image_size"} if record.confirm.get("image_size") else set())
    completed = [trial for trial in record.searched if trial.status == "completed" and trial.score is not None]
    ranked = sorted(completed, key=lambda trial: (sign * (trial.score or 0.0), -trial.epochs, trial.number))
    found: dict[str, TrialRecord] = {}
    for trial in ranked:
        essence = {name: value for name, value in trial.config.items() if name not in aside}
        found.setdefault(repr(sorted(essence.items())), trial)
    return list(found.values())[:top]


def confirmed_ones(record: StudyRecord) -> list[TrialRecord]:
    """Returns the trials to be confirmed: as many leaders as are wanted, and after them the baseline if that is too."""
    if not record.confirm:
        return []
    wanted, candidates = Confirmation(**record.confirm), leaders(record, len(record.searched))
    others = [trial for trial in candidates[wanted.top :] if has_baseline_values(record, trial)]
    return candidates[: wanted.top] + (others if wanted.baseline else [])


def retrainings(record: StudyRecord, leading: Sequence[TrialRecord] | None = None) -> list[Retraining]:
    """Returns all trainings that confirm trials of a study, in their order: one of each, then the next one.

    Args:
        record: of the study.
        leading: the trials; those that are to be confirmed if None.
    """
    if not record.confirm:
        return []
    wanted = Confirmation(**record.confirm)
    leading = confirmed_ones(record) if leading is None else leading
    seeds = range(1, wanted.seeds + 1)
    return [_retraining(record, leader, wanted, seed) for seed in seeds for leader in leading]


def confirming_folds(wanted: Confirmation, searched: int) -> int:
    """Returns how many folds a training that confirms has, where those of the search have so many."""
    return wanted.folds or (searched if searched > 1 else DEFAULT_FOLDS)


def _retraining(record: StudyRecord, leader: TrialRecord, wanted: Confirmation, seed: int) -> Retraining:
    folds, size = confirming_folds(wanted, record.started.folds), wanted.image_size or leader.config["image_size"]
    config = leader.config | {"seed": leader.config["seed"] + seed, "image_size": size}
    since = f"-g{record.generation}" if record.generation else ""  # of other data, or by another program
    return Retraining(f"{leader.trial}-f{folds}-{size}px-s{seed}{since}", leader.trial, config, folds)


def next_retraining(record: StudyRecord, running: Collection[str]) -> TrialStarted | str | None:
    """Returns the next training that confirms a leader: to be begun, or to be taken up where it was left.

    Args:
        record: of the study; the search is over.
        running: trials in the making.

    Returns:
        The event that begins it; or the id of one that was begun; or None if all are running or over.
    """
    for planned in retrainings(record):
        begun = record.trials.get(planned.trial)
        if begun is None:
            number, params = len(record.trials) + 1, record.trials[planned.confirms].params
            return TrialStarted(
                planned.trial, number, params, planned.config, confirms=planned.confirms, folds=planned.folds
            )
        if not begun.over and begun.trial not in running:
            return begun.trial
    return None


def expected_s(record: StudyRecord) -> float:
    """Returns about how long confirming the leaders will take one worker, in seconds, by what epochs took so far."""
    if not (led := confirmed_ones(record)):
        return 0.0
    wanted = Confirmation(**record.confirm)
    trainings = wanted.seeds * len(led)
    return float(statistics.mean(map(training_s, [record] * len(led), led)) * trainings)


def training_s(record: StudyRecord, leader: TrialRecord) -> float:
    """Returns about how long a training that confirms a leader takes, in seconds."""
    wanted = Confirmation(**record.confirm)
    side = (wanted.image_size or leader.config["image_size"]) / leader.config["image_size"]
    folds = confirming_folds(wanted, record.started.folds) / record.started.folds
    return float(leader.training_s * folds * side**2)


def conclude(record: StudyRecord, folder: Path) -> Iterator[TrialConfirmed | TrialUnconfirmed | StudyConfirmed]:
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
    seeds = _seed_spread(places, objective)
    confirmed = [_confirmed(place, places, rank, objective, seeds) for rank, place in enumerate(places, start=1)]
    if confirmed and _is_only_beside(record, confirmed[-1]):
        confirmed[-1] = dataclasses.replace(confirmed[-1], leads=False)
    placed = {place.trial for place in places}
    yield from (TrialUnconfirmed(t.trial) for t in record.searched if t.confirmed and t.trial not in placed)
    yield from confirmed
    yield _whole(record, confirmed, left_out, sign)


def _is_only_beside(record: StudyRecord, last: TrialConfirmed) -> bool:
    """Whether the last of the confirmed ones is the baseline, which did not lead the search either."""
    leading = [trial.trial for trial in leaders(record, record.confirm["top"])]
    return last.trial not in leading and has_baseline_values(record, record.trials[last.trial])


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


@dataclasses.dataclass(frozen=True)
class _Place:
    """A leader with its retrainings and what their scores say."""

    trial: str
    runs: list[TrialRecord]
    tables: list[pd.DataFrame]
    report: Any


def _seed_spread(places: Sequence[_Place], objective: str) -> tuple[float, int]:
    """Variance, by the choice of seeds, of the difference of two means; and its degrees of freedom.

    Pooled over the leaders; nothing is known of it where each has one seed.
    """
    deviations = [place.report.seed_deviation.get(objective) for place in places]
    variances = [deviation**2 for deviation in deviations if deviation is not None]
    if not variances:
        return 0.0, 0
    seeds = len(places[0].runs)
    return 2 * statistics.mean(variances) / seeds, (seeds - 1) * len(variances)


def _confirmed(
    place: _Place, places: Sequence[_Place], rank: int, objective: str, seeds: tuple[float, int]
) -> TrialConfirmed:
    metrics = {name: _numbers(interval) for name, interval in place.report.metrics.items()}
    own, point = place.report.metrics[objective], place.report.operating_point
    ends = _difference(place, places, objective, seeds) if rank > 1 else [0.0, 0.0, 0.0]
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


def _difference(place: _Place, places: Sequence[_Place], objective: str, seeds: tuple[float, int]) -> list[float]:
    """The difference to the first, with ends that hold for all pairs at once (Bonferroni): the data chose the first.

    Other patients and other seeds are two causes of error that know nothing of each other; the degrees of freedom of
    their sum are Satterthwaite's (1946).
    """
    from pneumo_core.intervals import paired_spread

    spread = paired_spread(place.tables, places[0].tables, objective)
    variance, of_seeds = spread.error**2 + seeds[0], seeds[1]
    parts = spread.error**4 / spread.freedom + (seeds[0] ** 2 / of_seeds if of_seeds else 0.0)
    freedom = variance**2 / parts if parts else 1.0
    pairs = len(places) * (len(places) - 1) / 2
    reach = float(stats.t.ppf(1 - 0.05 / (2 * pairs), freedom)) * math.sqrt(variance)
    return [spread.value, spread.value - reach, spread.value + reach]


def _whole(
    record: StudyRecord, confirmed: Sequence[TrialConfirmed], left_out: dict[str, str], sign: int
) -> StudyConfirmed:
    compared, how = len(leaders(record, len(record.searched))), _settled(record)
    if not confirmed:
        return StudyConfirmed("", how, left_out, compared, None, None)
    first = leaders(record, 1)[0]
    again = next((place.score for place in confirmed if place.trial == first.trial), None)
    alike = how["folds"] == record.started.folds and how["image_size"] in (None, first.config["image_size"])
    observed = None if again is None or not alike else sign * ((first.score or 0.0) - again)
    expected = expected_optimism(first, record.started.objective, compared)
    return StudyConfirmed(confirmed[0].trial, how, left_out, compared, expected, observed)


def _settled(record: StudyRecord) -> dict[str, Any]:
    """How the leaders were confirmed, folds included."""
    return record.confirm | {"folds": confirming_folds(Confirmation(**record.confirm), record.started.folds)}


def expected_optimism(leader: TrialRecord, objective: str, compared: int) -> float | None:
    """Returns by how much the best of some equal configurations looks better than it is; None if not known.

    The standard error of a score times the mean of the largest of as many standard normal numbers. Trials are scored on
    the same images, so their errors are alike, which makes it less; and other seeds are not in it, which makes it more.

    Args:
        leader: best trial of the search.
        objective: name of its score.
        compared: how many configurations it is the best of.
    """
    low, high = leader.intervals.get(objective, [None, None])
    if low is None or high is None:
        return None
    if compared < 2:
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
