"""Where trials fail: a cause, and the values of a parameter that go with it."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import hypergeom

from search_spaces import Parameter, SearchSpace
from tuning.analysis.coding import coordinate, is_categorical, value_at
from tuning.ranking import format_value
from tuning.record import StudyRecord, TrialRecord

_FEWEST = 3
_CHANCE = 0.01


@dataclasses.dataclass(frozen=True)
class FailureRegion:
    """Values of a parameter at which trials failed far more often than elsewhere.

    Attributes:
        cause: in words, without the numbers that differ between trials.
        parameter: name.
        where: its values, in words.
        failed: trials that failed there for this cause.
        tried: trials there.
        elsewhere: trials that failed elsewhere for this cause.
        others: trials elsewhere.
    """

    cause: str
    parameter: str
    where: str
    failed: int
    tried: int
    elsewhere: int
    others: int


def failures_by_cause(record: StudyRecord) -> dict[str, list[TrialRecord]]:
    """Returns the failed trials of the search by cause, the most frequent first."""
    causes: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in record.searched:
        if trial.status == "failed":
            causes[_cause(trial.reason or "no reason is recorded")].append(trial)
    return dict(sorted(causes.items(), key=lambda item: -len(item[1])))


def failure_regions(record: StudyRecord, space: SearchSpace) -> list[FailureRegion]:
    """Returns for each cause the parameter that goes with it most, if that is more than chance would do.

    Of the regions of a parameter (a value without an order, or all values from one on upwards or downwards) the one
    with the least probability by the hypergeometric distribution counts; the probability times the number of regions
    that were looked at must lie below 1 %.
    """
    over = [trial for trial in record.searched if trial.over]
    found = []
    for cause, failed in failures_by_cause(record).items():
        if len(failed) >= _FEWEST:
            names = {trial.trial for trial in failed}
            regions = [region for p in space.parameters for region in _regions(p, over, names, cause)]
            chance, region = min(regions, key=lambda item: item[0], default=(1.0, None))
            if region is not None and chance * len(regions) < _CHANCE:
                found.append(region)
    return found


def _cause(reason: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?", "…", reason)).strip()


def _regions(
    parameter: Parameter, over: Sequence[TrialRecord], failed: set[str], cause: str
) -> Iterator[tuple[float, FailureRegion]]:
    active = [trial for trial in over if trial.params.get(parameter.name) is not None]
    at = np.array([coordinate(parameter, trial.params[parameter.name]) for trial in active])
    is_hit = np.array([trial.trial in failed for trial in active], dtype=bool)
    total = int(is_hit.sum())
    for where, inside in _cuts(parameter, at, np.unique(at[is_hit])):
        tried, hits = int(inside.sum()), int(is_hit[inside].sum())
        if tried < len(active):
            chance = float(hypergeom.sf(hits - 1, len(active), total, tried))
            others = len(active) - tried
            yield chance, FailureRegion(cause, parameter.name, where, hits, tried, total - hits, others)


def _cuts(parameter: Parameter, at: np.ndarray, ends: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The regions of a parameter that begin or end at the value of a failed trial, and which trials lie in them."""
    for end in ends:
        value = format_value(value_at(parameter, end))
        if is_categorical(parameter):
            yield value, at == end
        else:
            yield f"from {value}", at >= end
            yield f"up to {value}", at <= end
