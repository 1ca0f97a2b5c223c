"""What the commands do, as functions for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.arguments import DEFAULT_CACHE_BUDGET_BYTES
from tuning.ranking import leaderboard_rows, load_record
from tuning.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from tuning.study import StudyResult


def run_study(
    space: str,
    data: str | Path = "kaggle",
    *,
    study: str | None = None,
    trials: int | None = None,
    algorithm: str | None = None,
    time_limit_s: float | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    store: str | Path = "mlruns",
    tracking_uri: str | None = None,
    class_names: tuple[str, str] = ("NORMAL", "PNEUMONIA"),
    skip_unreadable: bool = False,
    cache: str | Path | None = None,
    cache_budget_bytes: int | None = DEFAULT_CACHE_BUDGET_BYTES,
    threads: int = 0,
    progress: bool = True,
) -> StudyResult:
    """Runs a study, as `tune run` does.

    Args:
        space: a shipped space's name or a YAML file.
        data: `kaggle`, `demo`, or a folder.
        study: its name; chosen if None.
        trials: how many configurations to try; the space's own number if None.
        algorithm: `tpe`, `random`, `grid`, `bayesian` or `hyperband`; the space's own if None.
        time_limit_s: no trial is started after this many seconds.
        overrides: settings fixed for all trials, by `TrialConfig` field.
        seed: of the search and of every training; the space's own if None.
        store: folder of studies, MLflow database and artifacts.
        tracking_uri: MLflow server or database; the store's own if None.
        class_names: folder names of the negative and the positive class.
        skip_unreadable: leave unreadable images out instead of refusing the data.
        cache: folder of activations; the store's own if None.
        cache_budget_bytes: size that this folder is kept to; None for no limit.
        threads: of one TensorFlow operation; 0 for one a processor.
        progress: show what happens.

    Returns:
        The finished study: `summary()` as a mapping, `record` in full.

    Raises:
        PneumoError: for bad input before the first trial, or if the work failed as a whole.
        SpaceError: if the space is not found or has mistakes.

    Side effects:
        Writes the study, its MLflow runs and artifacts to the store.
    """
    from tuning.launch import StudySettings, launch_study
    from tuning.progress import PatientConsole, ProgressView
    from tuning.spaces import open_space

    settings = StudySettings(
        space=open_space(space, overrides).replace(trials=trials, algorithm=algorithm, seed=seed),
        data=str(data),
        store=Store.at(store),
        name=study,
        tracking_uri=tracking_uri,
        time_limit_s=time_limit_s,
        class_names=class_names,
        skip_unreadable=skip_unreadable,
        cache=None if cache is None else Path(cache),
        cache_budget_bytes=cache_budget_bytes,
        threads=threads,
    )
    return launch_study(settings, ProgressView(PatientConsole()) if progress else None)


def leaderboard(study: str, store: str | Path = "mlruns") -> pd.DataFrame:
    """Returns the trials of a study, best first: one row each, metrics and parameters as columns.

    Raises:
        StudyError: if there is no such study.
    """
    import pandas as pd

    rows = leaderboard_rows(load_record(Store.at(store), study))
    return pd.DataFrame([_flat(row) for row in rows])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    metrics, params = row.pop("metrics"), row.pop("params")
    return {**row, **metrics, **params}
