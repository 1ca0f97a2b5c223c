"""What a trial gained over the baseline, with its interval wherever the scores of single images can be had."""

from __future__ import annotations

import dataclasses
import math

from pneumo_core.errors import PneumoError
from tuning.analysis.gain import Gain, gain_over
from tuning.analysis.score_tables import ScoreTables
from tuning.ranking import objective_of
from tuning.record import StudyRecord, TrialRecord

_DRAWS = 500


def paired_gain(record: StudyRecord, best: TrialRecord, baseline: TrialRecord, tables: ScoreTables) -> Gain | None:
    """Compares the best trial with the baseline, on the same images where their score tables can be had.

    Args:
        record: of the study.
        best: its best trial.
        baseline: what it is measured against, a completed trial.
        tables: of the study.

    Returns:
        The gain in the objective; None if they are the same trial.
    """
    gain = None if best is baseline else gain_over(best, baseline, objective_of(record))
    if gain is None or gain.of == "confirmed":
        return gain
    return dataclasses.replace(gain, ends=_ends(record, best, baseline, tables))


def _ends(
    record: StudyRecord, best: TrialRecord, baseline: TrialRecord, tables: ScoreTables
) -> tuple[float, float] | None:
    """Of the difference of the two in the search; None where the score tables cannot be had."""
    from pneumo_core.intervals import paired_spreads

    try:
        spreads = paired_spreads(tables.of(best), tables.of(baseline), draws=_DRAWS)
    except PneumoError:
        return None
    spread = spreads.get(record.started.objective.removeprefix("val_"))
    interval = spread.interval() if spread else None
    if interval is None or not math.isfinite(interval.low):
        return None
    sign = 1 if record.started.direction == "max" else -1
    low, high = sorted((sign * interval.low, sign * interval.high))
    return (low, high)
