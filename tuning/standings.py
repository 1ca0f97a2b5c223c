"""The trials of a study side by side: ranked, held against the baseline, and filtered."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuning.analysis.baseline import baseline
from tuning.analysis.gain import Gain, gain_over
from tuning.confirmed import confirmed_summary
from tuning.ranking import Criterion, criterion_of, defined, metric_names, ranked
from tuning.record import StudyRecord, TrialRecord
from tuning.trial_filter import Facts, parse_conditions

STATUSES = ("completed", "pruned", "failed", "running", "interrupted")


@dataclasses.dataclass(frozen=True)
class Row:
    """A trial with its place in the whole study, from 1, and what it gained; None if nothing can be said."""

    rank: int
    trial: TrialRecord
    gain: Gain | None


@dataclasses.dataclass(frozen=True)
class Leaderboard:
    """Trials of a study, best first.

    Attributes:
        record: of the study.
        criterion: what they are ranked by.
        rows: those that fulfil the conditions.
        baseline: row of the trial that others are held against, whether or not it fulfils them; None if there is none.
        conditions: as they were given.
    """

    record: StudyRecord
    criterion: Criterion
    rows: list[Row]
    baseline: Row | None
    conditions: tuple[str, ...] = ()


def make_leaderboard(record: StudyRecord, metric: str | None = None, where: Iterable[str] = ()) -> Leaderboard:
    """Ranks the trials of a study's search.

    Args:
        record: of the study.
        metric: what they are ranked by, with `val_` or without; the objective if None.
        where: conditions, see `tuning.trial_filter`; only trials that fulfil all of them get a row.

    Raises:
        StudyError: if the trials lack the metric, or a condition cannot be read.
    """
    criterion, reference, where = criterion_of(record, metric), baseline(record), tuple(where)
    rows = [
        Row(rank, trial, None if reference is None else gain_over(trial, reference, criterion))
        for rank, trial in enumerate(ranked(record, criterion), start=1)
    ]
    own = next((row for row in rows if row.trial is reference), None)
    return Leaderboard(record, criterion, _filtered(record, rows, criterion, where), own, where)


def _filtered(record: StudyRecord, rows: list[Row], criterion: Criterion, where: Sequence[str]) -> list[Row]:
    if not where or not rows:
        return rows
    names = parameter_names(record)
    metrics = metric_names(record)
    facts = [_facts(row, criterion, metrics, names) for row in rows]
    conditions = parse_conditions(where, facts, {"status": STATUSES} | _choices(record))
    return [row for row, fact in zip(rows, facts, strict=True) if all(each.holds(fact) for each in conditions)]


def _facts(row: Row, criterion: Criterion, metrics: Sequence[str], parameters: Sequence[str]) -> Facts:
    """What conditions can be about; a parameter goes before anything else of its name."""
    trial = row.trial
    return {
        "trial": trial.trial,
        "status": trial.status,
        "score": trial.score,
        "confirmed": criterion.confirmed(trial),
        "gain": row.gain and row.gain.value,
        "duration_s": trial.duration_s,
        "epochs": trial.epochs,
        **{name: defined(trial.metrics.get(name, math.nan)) for name in metrics},
        **{name: trial.params.get(name) for name in parameters},
    }


def _choices(record: StudyRecord) -> dict[str, Sequence[object]]:
    """The values of parameters that have a list of them."""
    parameters: Sequence[Mapping[str, Any]] = record.started.definition.get("parameters", [])
    return {each["name"]: each["values"] for each in parameters if each.get("values")}


def parameter_names(record: StudyRecord) -> list[str]:
    """Returns the searched parameters, and `stop_after` where Hyperband set it."""
    rungs = any("stop_after" in trial.params for trial in record.trials.values())
    return [*record.started.parameters, *(["stop_after"] if rungs else [])]


def leaderboard_rows(record: StudyRecord, metric: str | None = None, where: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Returns a mapping for each trial of the search, best first, as `documents` does.

    Arguments are those of `make_leaderboard`.

    Raises:
        StudyError: as `make_leaderboard`.
    """
    return documents(make_leaderboard(record, metric, where))


def documents(board: Leaderboard, top: int | None = None) -> list[dict[str, Any]]:
    """Returns a mapping for each of the first rows, all if `top` is None.

    It holds trial, status, score (in the search), interval, confirmed (None, or see `confirmed_summary`), metrics,
    intervals, params, run_id, duration_s, reason, rank (in the whole study), baseline (whether others are held against
    it), gain (over the baseline, in the metric ranked by; positive is better) and gain_of (`confirmed` or `search`: the
    scores whose difference that is). What is undefined (PPV where nothing was called positive) is None.
    """
    return [_document(board, row) for row in board.rows[:top]]


def _document(board: Leaderboard, row: Row) -> dict[str, Any]:
    trial = row.trial
    return {
        "trial": trial.trial,
        "status": trial.status,
        "score": trial.score,
        "interval": trial.intervals.get(board.record.started.objective),
        "confirmed": trial.confirmed and confirmed_summary(trial.confirmed),
        "metrics": {name: defined(value) for name, value in trial.metrics.items()},
        "intervals": trial.intervals,
        "params": trial.params,
        "run_id": trial.run_id,
        "duration_s": trial.duration_s,
        "reason": trial.reason,
        "rank": row.rank,
        "baseline": board.baseline is not None and trial is board.baseline.trial,
        "gain": row.gain and row.gain.value,
        "gain_of": row.gain and row.gain.of,
    }


def flat_rows(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows of `leaderboard_rows` without nesting: metrics, ends of their intervals, and parameters as keys."""
    return [_flat(row) for row in rows]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    nested = ("interval", "confirmed", "metrics", "intervals", "params")
    ends = {
        f"{name}_{end}": value
        for name, interval in row["intervals"].items()
        for end, value in zip(("low", "high"), interval, strict=True)
    }
    place = {}
    if mean := row["confirmed"]:
        low, high = mean["interval"]
        place = {"rank": mean["rank"], "score": mean["score"], "low": low, "high": high}
    head = {key: value for key, value in row.items() if key not in nested}
    confirmed = {f"confirmed_{name}": value for name, value in place.items()}
    return {**head, **confirmed, **row["metrics"], **ends, **row["params"]}


def rows_as_csv(board: Leaderboard, top: int | None = None) -> str:
    """Returns the first rows of a leaderboard as CSV, with a line of names; what has no value is empty.

    The columns are those of all trials of the study, whatever the conditions.
    """
    everyone = flat_rows(_document(board, Row(0, trial, None)) for trial in ranked(board.record, board.criterion))
    names = dict.fromkeys(name for row in sorted(everyone, key=len, reverse=True) for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat_rows(documents(board, top)))
    return text.getvalue()
