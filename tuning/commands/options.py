"""Options that several commands share, and what they are turned into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuning.arguments import count_workers, parse_duration, parse_size, said

if TYPE_CHECKING:
    from tuning.store import Store

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="TUNE_STORE", help="Folder of studies, MLflow database and artifacts.")
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of activations of frozen layers; in the store if left out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document; everything else goes to stderr.")]
BudgetOption = Annotated[
    str, typer.Option(help="Before more activations are kept, remove those not used for longest down to this size.")
]
TimeOption = Annotated[str | None, typer.Option(help="Start no trial after this long: 90s, 30m, 2h, 1h30m.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that make trials side by side, 1 if left out; 0 for the study's own."),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Have a Dask cluster's workers make the trials: its scheduler, as tcp://host:8786."
    ),
]
MemoryOption = Annotated[
    str, typer.Option(help="Kill a trial's process that takes more than this, and try it again: 4GB, or none.")
]
TimeoutOption = Annotated[
    str | None, typer.Option(help="Kill a trial's process after this long and try it again: 90s, 30m, 2h.")
]
AttemptsOption = Annotated[int, typer.Option(min=1, help="A trial whose process was lost this many times has failed.")]
FoldsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=20,
        help="Folds by patient that every trial is trained in; 1 for a hold-out. If left out, 5 where nothing but "
        "heads is trained, else 1.",
    ),
]
PatternOption = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Finds the patient in an image's path, by a group named `patient`; for names other than Kaggle's.",
    ),
]
PlotsOption = Annotated[
    bool, typer.Option("--plots/--no-plots", help="Draw plots of each trial, half a second of a processor each.")
]
TrackingOption = Annotated[
    str | None, typer.Option(help="MLflow server or database; the store's own SQLite file if left out.")
]
LoggedOption = Annotated[
    str | None, typer.Option(help="MLflow server or database; where the study was logged if left out.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Go on although data or program changed; the study bears a mark.")
]
MovedOption = Annotated[str | None, typer.Option(help="Where the images are now, if they were moved.")]
AS_BEFORE = "As for `tune run`; as at the study's start if left out."
WorkersAgain = Annotated[int | None, typer.Option(min=0, help=AS_BEFORE)]
ClusterAgain = Annotated[str | None, typer.Option(metavar="ADDRESS", help=AS_BEFORE)]
MemoryAgain = Annotated[str | None, typer.Option(help=AS_BEFORE)]
TimeoutAgain = Annotated[str | None, typer.Option(help=AS_BEFORE)]
AttemptsAgain = Annotated[int | None, typer.Option(min=1, help=AS_BEFORE)]
PlotsAgain = Annotated[bool | None, typer.Option("--plots/--no-plots", help=AS_BEFORE)]
CacheAgain = Annotated[Path | None, typer.Option("--cache", help=AS_BEFORE)]
BudgetAgain = Annotated[str | None, typer.Option(help=AS_BEFORE)]
StudyArgument = Annotated[str, typer.Argument(help="Name of the study, as `tune list` shows it.")]

_LIMITS = {"--worker-memory": "worker_memory_bytes", "--cache-budget": "cache_budget_bytes"}


def open_store(path: Path) -> Store:
    """Returns the store that `--store` names."""
    from tuning.store import Store

    return Store.at(path)


def given_work(
    *,
    time: str | None,
    trial_timeout: str | None,
    workers: int | None,
    cluster: str | None,
    worker_memory: str | None = None,
    cache_budget: str | None = None,
    **plain: Any,
) -> dict[str, Any]:
    """Returns what the user says anew about how a study is run, for `WorkSettings.of_resume`.

    Args:
        time: of `--time`, as given; None if it was left out.
        trial_timeout: of `--trial-timeout`, the same.
        workers: of `--workers`, the same.
        cluster: of `--cluster`, the same.
        worker_memory: of `--worker-memory`, the same.
        cache_budget: of `--cache-budget`, the same.
        plain: fields of `WorkSettings` whose options need no reading, by name; None if left out.

    Raises:
        ConfigError: if a text means no duration or no size, or there shall be workers of two kinds.
    """
    count_workers(workers, cluster)
    durations = {
        "time_limit_s": parse_duration("--time", time),
        "trial_timeout_s": parse_duration("--trial-timeout", trial_timeout),
    }
    limits = said({"--worker-memory": worker_memory, "--cache-budget": cache_budget})
    sizes = {_LIMITS[option]: parse_size(option, text) for option, text in limits.items()}  # where None is no limit
    return said(durations | {"workers": workers, "cluster": cluster} | plain) | sizes
