"""What the commands do, as functions for notebooks and scripts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.arguments import DEFAULT_CACHE_BUDGET_BYTES, count_workers, said
from tuning.ranking import load_record
from tuning.spaces import confirmation
from tuning.standings import flat_rows, leaderboard_rows
from tuning.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from tuning.progress import ProgressView
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
    pruning: str = "none",
    folds: int | None = None,
    confirm: bool = True,
    patient_pattern: str | None = None,
    start_from: str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    worker_memory_bytes: int | None = None,
    trial_timeout_s: float | None = None,
    max_attempts: int = 2,
    plots: bool = True,
    progress: bool = True,
) -> StudyResult:
    """Runs a study, as `tune run` does.

    Worker processes import the script that calls this: guard the call by `if __name__ == "__main__":`, or take
    `workers=0`.

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
        threads: of one TensorFlow operation; 0 to have the processors shared out among the workers.
        pruning: rule that ends hopeless trials early: `none`, `median` or `halving`.
        folds: that every trial is trained in; 1 for a hold-out; chosen by what the space trains if None.
        confirm: train the leaders again at the end, as the space says.
        patient_pattern: regular expression that finds the patient in an image's path.
        start_from: another study of the store, whose three leaders (five with `:5` behind its name) are tried first.
        workers: processes on this machine that make trials side by side, 1 if None; 0 to make them in this process.
        cluster: address of a Dask scheduler whose workers make them instead, such as `tcp://node1:8786`.
        worker_memory_bytes: an attempt is given up whose process takes more for itself.
        trial_timeout_s: an attempt at a trial that takes longer is given up.
        max_attempts: a trial whose process was lost this many times has failed.
        plots: draw the plots of each trial.
        progress: show what happens.

    Returns:
        The finished study: `summary()` as a mapping, `record` in full.

    Raises:
        PneumoError: for bad input before the first trial, or if the work failed as a whole.
        SpaceError: if the space is not found or has mistakes.

    Side effects:
        Writes the study, its MLflow runs and artifacts to the store.
    """
    from tuning.analysis.leaders import begin_with, find_leaders
    from tuning.launch import launch_study
    from tuning.pruning import checked_rule
    from tuning.settings import StudySettings, WorkSettings
    from tuning.spaces import open_space, space_source

    searched = open_space(space, overrides).replace(trials=trials, algorithm=algorithm, seed=seed)
    source = find_leaders(Store.at(store), start_from) if start_from else None
    settings = StudySettings(
        space=begin_with(searched, source, _tell) if source else searched,
        data=str(data),
        store=Store.at(store),
        name=study,
        class_names=class_names,
        skip_unreadable=skip_unreadable,
        threads=threads,
        pruning=checked_rule(pruning),
        folds=folds,
        confirm=confirm,
        patient_pattern=patient_pattern,
        space_source=space_source(space),
        overrides=dict(overrides or {}),
        start_from=source,
        work=WorkSettings(
            workers=count_workers(workers, cluster),
            cluster=cluster,
            time_limit_s=time_limit_s,
            worker_memory_bytes=worker_memory_bytes,
            trial_timeout_s=trial_timeout_s,
            max_attempts=max_attempts,
            cache=None if cache is None else Path(cache),
            cache_budget_bytes=cache_budget_bytes,
            tracking_uri=tracking_uri,
            plots=plots,
        ),
    )
    with _view(progress) as view:
        return launch_study(settings, view)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def resume_study(
    study: str,
    *,
    trials: int | None = None,
    time_limit_s: float | None = None,
    data: str | Path | None = None,
    force: bool = False,
    store: str | Path = "mlruns",
    tracking_uri: str | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    worker_memory_bytes: int | None = None,
    trial_timeout_s: float | None = None,
    max_attempts: int | None = None,
    progress: bool = True,
) -> StudyResult:
    """Goes on with a study, as `tune resume` does.

    Args:
        study: its name.
        trials: how many there shall be in all; as many as before if None.
        time_limit_s: no trial is started after this many seconds.
        data: where the images are now, if they were moved.
        force: go on although space, data or program changed.
        store: folder of the study.
        tracking_uri: MLflow server or database; where the study was logged if None.
        cache: as in `run_study`, here and below; as it was at the study's start if None.
        workers: see `cache`.
        cluster: see `cache`.
        worker_memory_bytes: see `cache`.
        trial_timeout_s: see `cache`.
        max_attempts: see `cache`.
        progress: show what happens.

    Raises:
        StudyError: if it is over, is being run by another process, or would not go on as it began.
        PneumoError: as `run_study`.

    Side effects:
        As `run_study`.
    """
    from tuning.launch import resume_study as resume

    given = {
        "workers": workers,
        "cluster": cluster,
        "time_limit_s": time_limit_s,
        "worker_memory_bytes": worker_memory_bytes,
        "trial_timeout_s": trial_timeout_s,
        "max_attempts": max_attempts,
        "cache": cache,
        "tracking_uri": tracking_uri,
    }
    root = None if data is None else str(data)
    with _view(progress) as view:
        return resume(Store.at(store), study, trials=trials, data=root, force=force, work=said(given), progress=view)


def confirm_study(
    study: str,
    *,
    top: int = 5,
    seeds: int = 3,
    baseline: bool = True,
    folds: int | None = None,
    image_size: int | None = None,
    time_limit_s: float | None = None,
    store: str | Path = "mlruns",
    workers: int | None = None,
    progress: bool = True,
) -> StudyResult:
    """Trains the leaders of a study again and ranks them by what that comes to, as `tune confirm` does.

    Args:
        study: its name.
        top: how many leading configurations.
        seeds: trainings of each, with seeds that the search did not use.
        baseline: train the first known configuration again too, so that the gain over it is not flattered.
        folds: by patient; those of the search, or 5 where it has a hold-out, if None.
        image_size: side of the images in px, if it shall be another.
        time_limit_s: no training is started after this many seconds.
        store: folder of the study.
        workers: as in `run_study`; as it was at the study's start if None.
        progress: show what happens.

    Raises:
        StudyError: if it has no completed trial, is being run by another process, or would not go on as it began.
        PneumoError: as `run_study`.

    Side effects:
        As `run_study`.
    """
    from tuning.launch import resume_study as resume

    given = {"workers": workers, "time_limit_s": time_limit_s}
    how = confirmation(top=top, seeds=seeds, baseline=baseline, folds=folds, image_size=image_size)
    with _view(progress) as view:
        return resume(Store.at(store), study, confirm=how, work=said(given), progress=view)


def report(study: str, store: str | Path = "mlruns", file: str | Path | None = None) -> Path:
    """Writes what a study found as one HTML page, as `tune report --no-explain` does.

    Args:
        study: its name.
        store: folder of the study.
        file: to write; `report.html` in the study's folder if None.

    Returns:
        The file.

    Raises:
        StudyError: if there is no such study.
        StoreError: if its journal is damaged, or the file cannot be written.

    Side effects:
        Writes the file.
    """
    from tuning.analysis.report import write_report

    return write_report(Store.at(store), study, None if file is None else Path(file))


def leaderboard(
    study: str, store: str | Path = "mlruns", *, metric: str | None = None, where: Sequence[str] = ()
) -> pd.DataFrame:
    """Returns the trials of a study, best first: one row each, metrics and parameters as columns.

    Args:
        study: its name.
        store: folder of the study.
        metric: to rank by and to state the gain over the baseline in; the study's objective if None.
        where: conditions that trials fulfil, `dropout<0.3` and the like; see `tuning.trial_filter`.

    Raises:
        StudyError: if there is no such study or metric, or a condition cannot be read.
    """
    import pandas as pd

    return pd.DataFrame(flat_rows(leaderboard_rows(load_record(Store.at(store), study), metric, where)))


def _view(wanted: bool) -> contextlib.AbstractContextManager[ProgressView | None]:
    from tuning.progress import PatientConsole, ProgressView

    return ProgressView(PatientConsole()) if wanted else contextlib.nullcontext()
