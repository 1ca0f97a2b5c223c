"""Commands that make studies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuning.arguments import count_workers, parse_classes, parse_duration, parse_size
from tuning.commands.options import (
    AttemptsAgain,
    AttemptsOption,
    BudgetAgain,
    BudgetOption,
    CacheAgain,
    CacheOption,
    ClusterAgain,
    ClusterOption,
    FoldsOption,
    ForceOption,
    JsonOption,
    LoggedOption,
    MemoryAgain,
    MemoryOption,
    MovedOption,
    PatternOption,
    PlotsAgain,
    PlotsOption,
    StoreOption,
    StudyArgument,
    TimeOption,
    TimeoutAgain,
    TimeoutOption,
    TrackingOption,
    WorkersAgain,
    WorkersOption,
    given_work,
    open_store,
)
from tuning.output import print_json, print_leaderboard, print_plan, progress_view, teller

if TYPE_CHECKING:
    from tuning.study import StudyResult


def run(
    space: Annotated[str, typer.Option(help="A shipped space (see `tune spaces`) or a YAML file.")],
    data: Annotated[
        str, typer.Option(help="`kaggle` (downloads), `demo` (synthetic radiographs), or a folder.")
    ] = "kaggle",
    study: Annotated[str | None, typer.Option(help="Name of the study; chosen for you if left out.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many configurations to try.")] = None,
    time: TimeOption = None,
    algorithm: Annotated[str | None, typer.Option(help="tpe, random, grid, bayesian or hyperband.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Fix a setting for all trials; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the search and of every training.")] = None,
    classes: Annotated[str, typer.Option(help="Folder names of the negative and the positive class.")] = (
        "NORMAL,PNEUMONIA"
    ),
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave unreadable images out instead of refusing the data.")
    ] = False,
    threads: Annotated[
        int,
        typer.Option(
            min=0, help="Of one TensorFlow operation; 0 to share the processors out to workers. Changes last digits."
        ),
    ] = 0,
    pruning: Annotated[str, typer.Option(help="End hopeless trials early: none, median or halving.")] = "none",
    folds: FoldsOption = None,
    confirm: Annotated[
        bool,
        typer.Option("--confirm/--no-confirm", help="Train the leaders again, over other seeds and folds, at the end."),
    ] = True,
    patient_pattern: PatternOption = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY[:NUMBER]",
            help="Try another study's leaders first, 3 or so many, behind the space's own first known configuration.",
        ),
    ] = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    worker_memory: MemoryOption = "none",
    trial_timeout: TimeoutOption = None,
    max_attempts: AttemptsOption = 2,
    plots: PlotsOption = True,
    cache: CacheOption = None,
    cache_budget: BudgetOption = "50GB",
    store: StoreOption = Path("mlruns"),
    tracking_uri: TrackingOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check space and data, print the plan and its costs, train nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Search a space: train one configuration after another and log each to MLflow.

    Example: tune run --space vgg16 --data ~/chest_xray --trials 20 --set weights=random --set image_size=64
    """
    from tuning.analysis.leaders import begin_with, find_leaders
    from tuning.launch import launch_study, plan_study
    from tuning.pruning import checked_rule
    from tuning.settings import StudySettings, WorkSettings
    from tuning.spaces import open_space, parse_overrides, space_source

    work = WorkSettings(
        workers=count_workers(workers, cluster),
        cluster=cluster,
        time_limit_s=parse_duration("--time", time),
        trial_timeout_s=parse_duration("--trial-timeout", trial_timeout),
        worker_memory_bytes=parse_size("--worker-memory", worker_memory),
        max_attempts=max_attempts,
        cache=cache,
        cache_budget_bytes=parse_size("--cache-budget", cache_budget),
        tracking_uri=tracking_uri,
        plots=plots,
    )
    fixed, tell = parse_overrides(overrides or []), teller()
    searched = open_space(space, fixed).replace(trials=trials, algorithm=algorithm, seed=seed)
    source = find_leaders(open_store(store), start_from) if start_from else None
    settings = StudySettings(
        space=begin_with(searched, source, tell) if source else searched,
        data=data,
        store=open_store(store),
        name=study,
        class_names=parse_classes(classes),
        skip_unreadable=skip_unreadable,
        threads=threads,
        pruning=checked_rule(pruning),
        folds=folds,
        confirm=confirm,
        patient_pattern=patient_pattern,
        space_source=space_source(space),
        overrides=fixed,
        start_from=source,
        work=work,
    )
    if dry_run:
        print_plan(plan_study(settings), as_json)
        return
    with progress_view() as view:
        tell = teller(view.console)
        result = launch_study(settings, view, tell, tell)
    _print_result(result, as_json)


def resume(
    study: StudyArgument,
    trials: Annotated[int | None, typer.Option(min=1, help="How many there shall be in all; as asked for before.")] = (
        None
    ),
    time: TimeOption = None,
    data: MovedOption = None,
    force: ForceOption = False,
    workers: WorkersAgain = None,
    cluster: ClusterAgain = None,
    worker_memory: MemoryAgain = None,
    trial_timeout: TimeoutAgain = None,
    max_attempts: AttemptsAgain = None,
    plots: PlotsAgain = None,
    cache: CacheAgain = None,
    cache_budget: BudgetAgain = None,
    store: StoreOption = Path("mlruns"),
    tracking_uri: LoggedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a study that was interrupted, or give it more trials or time.

    Example: tune resume vgg16-1 --trials 40
    """
    work = given_work(
        time=time,
        trial_timeout=trial_timeout,
        cache_budget=cache_budget,
        workers=workers,
        cluster=cluster,
        worker_memory=worker_memory,
        max_attempts=max_attempts,
        plots=plots,
        cache=cache,
        tracking_uri=tracking_uri,
    )
    _take_up(study, store, as_json, work=work, trials=trials, data=data, force=force)


def confirm_study(
    study: StudyArgument,
    top: Annotated[int, typer.Option(min=1, help="How many leading configurations.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, with seeds that the search did not use.")] = 3,
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="And of the baseline, so that the gain over it is honest.")
    ] = True,
    folds: Annotated[
        int | None, typer.Option(min=1, max=20, help="Folds by patient; those of the search, or 5, if left out.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=32, max=1024, help="Side of the images in px, if it shall be another.")
    ] = None,
    time: TimeOption = None,
    data: MovedOption = None,
    force: ForceOption = False,
    workers: WorkersAgain = None,
    cluster: ClusterAgain = None,
    worker_memory: MemoryAgain = None,
    trial_timeout: TimeoutAgain = None,
    max_attempts: AttemptsAgain = None,
    cache: CacheAgain = None,
    store: StoreOption = Path("mlruns"),
    tracking_uri: LoggedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the leaders of a study and its baseline again, over other seeds and folds, and rank them by the means.

    Example: tune confirm vgg16-1 --top 5 --seeds 3
    """
    from search_spaces import Confirmation

    work = given_work(
        time=time,
        trial_timeout=trial_timeout,
        workers=workers,
        cluster=cluster,
        worker_memory=worker_memory,
        max_attempts=max_attempts,
        cache=cache,
        tracking_uri=tracking_uri,
    )
    leaders = Confirmation(top=top, seeds=seeds, baseline=baseline, folds=folds, image_size=image_size)
    _take_up(study, store, as_json, work=work, confirm=leaders, data=data, force=force)


def sync(
    study: StudyArgument,
    store: StoreOption = Path("mlruns"),
    tracking_uri: LoggedOption = None,
) -> None:
    """Write to MLflow what it lacks of a study, as after its server was away.

    Example: tune sync vgg16-1
    """
    from tuning.sync import sync_study

    if not sync_study(open_store(store).existing(), study, tracking_uri, tell=teller()):
        raise typer.Exit(1)
    print(f"{study}: MLflow has all of it.")


def _take_up(study: str, store: Path, as_json: bool, **how: Any) -> None:
    """Goes on with a study, `how` being what `resume_study` takes, and shows what it came to."""
    from tuning.launch import resume_study

    with progress_view() as view:
        tell = teller(view.console)
        result = resume_study(open_store(store), study, **how, progress=view, tell=tell, warn=tell)
    _print_result(result, as_json)


def _print_result(result: StudyResult, as_json: bool) -> None:
    if as_json:
        print_json(result.summary())
    else:
        print_leaderboard(result.record, None)
    if result.record.best() is None:
        print("tune: no trial completed; see the reasons above.", file=sys.stderr)
        raise typer.Exit(1)
