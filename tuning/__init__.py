"""Studies: search spaces in, MLflow runs and leaderboards out. The Python API for notebooks is in `tuning.api`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.api import confirm_study, leaderboard, report, resume_study, run_study

__all__ = ["confirm_study", "leaderboard", "report", "resume_study", "run_study"]


def __getattr__(name: str) -> Any:
    """Imports the API when it is used, so that `tune --help` does not wait for it."""
    if name in __all__:
        from tuning import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
