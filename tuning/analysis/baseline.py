"""The trial that the others are measured against."""

from __future__ import annotations

from typing import Any

from search_spaces import SearchSpace
from tuning.events import StudyStarted
from tuning.record import StudyRecord, TrialRecord


def baseline(record: StudyRecord) -> TrialRecord | None:
    """Returns the completed trial of the space's first known configuration, which in shipped spaces is the notebook's.

    Of several with its values (rungs of Hyperband) it is the one that was trained longest. None if the space knows no
    configuration, or its trial did not complete.
    """
    known = known_values(record.started)
    if known is None:
        return None
    same = [trial for trial in record.searched if trial.status == "completed" and tried_values(trial) == known]
    return max(same, key=lambda trial: (trial.epochs, -trial.number), default=None)


def trained_shorter(baseline: TrialRecord, trial: TrialRecord) -> bool:
    """Returns whether the baseline was stopped by Hyperband after fewer epochs than a trial was allowed.

    What the trial is ahead is then also, or only, what more epochs gave it.
    """
    ours, theirs = (int(one.config.get("stop_after") or 0) for one in (baseline, trial))
    return 0 < ours < (theirs or int(trial.config.get("epochs") or 0))


def has_baseline_values(record: StudyRecord, trial: TrialRecord) -> bool:
    """Returns whether a trial of the search, over or not, is one of the space's first known configuration."""
    return not trial.confirms and tried_values(trial) == known_values(record.started)


def known_values(started: StudyStarted) -> dict[str, Any] | None:
    """Returns the values of the first known configuration of a study's space; None if it has none."""
    try:
        space = SearchSpace.model_validate(started.definition)
    except ValueError:  # of another version of this program
        return None
    return dict(space.complete(space.start_with[0])) if space.start_with else None


def tried_values(trial: TrialRecord) -> dict[str, Any]:
    """Returns the values of a trial's active parameters, without what Hyperband adds."""
    return {name: value for name, value in trial.params.items() if value is not None and name != "stop_after"}
