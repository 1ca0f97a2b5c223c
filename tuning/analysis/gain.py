"""By how much a study's best trial is ahead of its baseline, and whether chance explains that."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pneumo_core.errors import PneumoError
from tuning.analysis.score_tables import ScoreTables
from tuning.record import StudyRecord, TrialRecord

_DRAWS = 500


@dataclasses.dataclass(frozen=True)
class Gain:
    """A difference of two scores in the objective, positive where the best trial is ahead.

    Attributes:
        value: the difference.
        low: lower end of its 95 % interval; None if that could not be had.
        high: upper end.
        basis: what was compared, in words.
        flattered: whether the best trial's score is the one that it was chosen for.
    """

    value: float
    low: float | None
    high: float | None
    basis: str
    flattered: bool

    @property
    def is_sure(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low is not None and self.low > 0

    def in_words(self) -> str:
        """Returns `+0.0123 (0.0040 to 0.0210)`."""
        ends = "" if self.low is None or self.high is None else f" ({self.low:.4f} to {self.high:.4f})"
        return f"{self.value:+.4f}{ends}"

    def to_mapping(self) -> dict[str, Any]:
        """Returns the fields, for JSON."""
        return dataclasses.asdict(self)


def gain_over(record: StudyRecord, best: TrialRecord, baseline: TrialRecord, tables: ScoreTables) -> Gain | None:
    """Compares the best trial with the baseline, on the same images where their score tables can be had.

    Args:
        record: of the study.
        best: its best trial.
        baseline: what it is measured against, a completed trial.
        tables: of the study.

    Returns:
        The gain; None if they are the same trial.
    """
    if best.trial == baseline.trial:
        return None
    ours, theirs = best.confirmed, baseline.confirmed
    if ours and theirs and ours.rank == 1:
        value, low, high = (-number for number in theirs.difference)
        return Gain(value, high, low, "both confirmed, on the same images and seeds", flattered=False)
    sign = 1 if record.started.direction == "max" else -1
    value = sign * ((best.score or 0.0) - (baseline.score or 0.0))
    ends = _ends(record, best, baseline, tables)
    if ends is None:
        return Gain(value, None, None, "scores in the search", flattered=True)
    low, high = sorted(sign * end for end in ends)
    return Gain(value, low, high, "scores in the search, on the same validation images", flattered=True)


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
    return (interval.low, interval.high) if interval and math.isfinite(interval.low) else None
