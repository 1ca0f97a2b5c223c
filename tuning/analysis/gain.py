"""What a trial gained over the baseline."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from tuning.events import TrialConfirmed
from tuning.ranking import Criterion
from tuning.record import TrialRecord

Kind = Literal["confirmed", "search"]


@dataclasses.dataclass(frozen=True)
class Gain:
    """How much better a trial is than the baseline.

    Attributes:
        value: in units of the metric; positive is better, also where less of the metric is.
        of: the kind of score that was compared: that of both confirmations, or that of both in the search.
        ends: of the 95 % interval of `value`; None if that is not known.
    """

    value: float
    of: Kind
    ends: tuple[float, float] | None = None

    @property
    def is_sure(self) -> bool:
        """Whether its interval is known and lies above 0."""
        return self.ends is not None and self.ends[0] > 0

    @property
    def is_flattered(self) -> bool:
        """Whether the scores are those that leaders were chosen for."""
        return self.of == "search"

    def in_words(self) -> str:
        """Returns `+0.0123 (+0.0040 to +0.0210, 95 %)`."""
        return f"{self.value:+.4f}" + (f" ({self.ends[0]:+.4f} to {self.ends[1]:+.4f}, 95 %)" if self.ends else "")

    def to_mapping(self) -> dict[str, Any]:
        """Returns it for JSON: value, interval (None if that is not known) and what it is of."""
        return {"value": self.value, "interval": self.ends and list(self.ends), "of": self.of}


def gain_over(trial: TrialRecord, baseline: TrialRecord, criterion: Criterion) -> Gain | None:
    """Returns what a trial gained over the baseline; None if one of them has no value.

    Confirmed scores are compared if both have one, else scores of the search: a mean over new seeds and folds is not
    held against the one score for which a leader was chosen. The interval is known where the objective's confirmation
    compared the two, which is so if one of them is its first; see `TrialConfirmed.difference`.
    """
    sign = 1 if criterion.higher_is_better else -1
    one, other = criterion.confirmed(trial), criterion.confirmed(baseline)
    if one is not None and other is not None:
        ends = _ends(trial.confirmed, baseline.confirmed, sign) if criterion.is_objective else None
        return Gain(sign * (one - other), "confirmed", ends)
    one, other = criterion.searched(trial), criterion.searched(baseline)
    return None if one is None or other is None else Gain(sign * (one - other), "search")


def _ends(trial: TrialConfirmed | None, baseline: TrialConfirmed | None, sign: int) -> tuple[float, float] | None:
    """From the recorded difference of the later one to the first, turned round if the trial is the first."""
    if trial is None or baseline is None or trial is baseline or 1 not in (trial.rank, baseline.rank):
        return None
    later, turned = (baseline, -sign) if trial.rank == 1 else (trial, sign)
    low, high = sorted(turned * end for end in later.difference[1:])
    return (low, high) if math.isfinite(low + high) else None
