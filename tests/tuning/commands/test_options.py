"""What options are turned into."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumo_core.errors import ConfigError
from tuning import resume_study
from tuning.commands.options import given_work


def test_only_what_was_said_changes_how_a_study_is_run() -> None:
    """A resume keeps what was left out as it was; `none` as a budget is something said: no limit."""
    assert given_work(time=None, trial_timeout=None, workers=None, cluster=None, plots=None) == {}
    assert given_work(time="1h30m", trial_timeout="90s", cache_budget="none", workers=0, cluster=None, plots=False) == {
        "time_limit_s": 5400.0,
        "trial_timeout_s": 90.0,
        "cache_budget_bytes": None,
        "workers": 0,
        "plots": False,
    }
    with pytest.raises(ConfigError, match="--trial-timeout soon"):
        given_work(time=None, trial_timeout="soon", workers=None, cluster=None)


def test_workers_of_two_kinds_are_refused_in_python_too(tmp_path: Path) -> None:
    """Else a cluster would silently win over a number of workers; a study's record may hold both."""
    with pytest.raises(ConfigError, match="--workers: counts"):
        given_work(time=None, trial_timeout=None, workers=2, cluster="tcp://node1:8786")
    with pytest.raises(ConfigError, match="--workers: counts"):
        resume_study("s", store=tmp_path, workers=2, cluster="tcp://node1:8786")
