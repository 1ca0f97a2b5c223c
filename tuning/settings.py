"""What a user decides about a study: what it is, and how it is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.errors import ConfigError
from pneumo_core.places import resolved
from search_spaces import SearchSpace
from tuning.arguments import DEFAULT_CACHE_BUDGET_BYTES
from tuning.store import Store

if TYPE_CHECKING:
    from tuning.analysis.leaders import StartFrom


@dataclasses.dataclass(frozen=True)
class WorkSettings:
    """How a study is run. None of it changes a result with one worker.

    Attributes:
        workers: processes on this machine that make trials side by side; 0 to make them in the study's own process.
        cluster: address of the Dask scheduler whose workers make the trials instead; None for this machine.
        time_limit_s: no trial is started after this many seconds; None for no limit.
        trial_timeout_s: an attempt at a trial that takes longer is given up; None for no limit.
        worker_memory_bytes: an attempt is given up whose process takes more for itself; None for no limit.
        max_attempts: a trial whose attempts were lost this many times has failed.
        cache: folder of activations; the store's own if None.
        cache_budget_bytes: size that the folder of activations is kept to; None for no limit.
        tracking_uri: MLflow's; None for the database in the store, or where the study was logged before.
        plots: draw the plots of each trial, about half a second of a processor beside the training.
    """

    workers: int = 1
    cluster: str | None = None
    time_limit_s: float | None = None
    trial_timeout_s: float | None = None
    worker_memory_bytes: int | None = None
    max_attempts: int = 2
    cache: Path | None = None
    cache_budget_bytes: int | None = DEFAULT_CACHE_BUDGET_BYTES
    tracking_uri: str | None = None
    plots: bool = True

    def __post_init__(self) -> None:
        if self.trial_timeout_s is not None and not self.separate:
            raise ConfigError("--trial-timeout: needs a worker process that can be killed; give --workers 1 or more.")
        if self.worker_memory_bytes is not None and self.cluster is not None:
            raise ConfigError("--worker-memory: is for this machine; limit a cluster's workers where they are started.")
        if self.worker_memory_bytes is not None and not self.workers:
            raise ConfigError("--worker-memory: needs a worker process that can be limited; give --workers 1 or more.")

    @property
    def separate(self) -> bool:
        """Whether trials are made in processes of their own."""
        return self.workers > 0 or self.cluster is not None

    def to_mapping(self) -> dict[str, Any]:
        """Returns what a resume takes over, as plain values; the time limit and MLflow's address are not among it."""
        values = dataclasses.asdict(self)
        del values["time_limit_s"], values["tracking_uri"]
        return values | {"cache": None if self.cache is None else str(resolved(self.cache))}

    @classmethod
    def of_resume(cls, recorded: Mapping[str, Any], given: Mapping[str, Any]) -> WorkSettings:
        """Returns how a study is run when it is taken up again.

        Args:
            recorded: from `to_mapping`, of the study as it began.
            given: what the user says now, which counts.
        """
        values = {**recorded, **given}
        if "workers" in given and "cluster" not in given:
            values["cluster"] = None
        if not values.get("workers", 1) and not values.get("cluster") and "trial_timeout_s" not in given:
            values["trial_timeout_s"] = None  # nothing to kill
        if (not values.get("workers", 1) or values.get("cluster")) and "worker_memory_bytes" not in given:
            values["worker_memory_bytes"] = None
        return cls(**{**values, "cache": None if values.get("cache") is None else Path(values["cache"])})


def recorded_cache(store: Store, recorded: Mapping[str, Any]) -> Path:
    """Returns the folder of activations that a study began with, by how it is run as that was recorded."""
    return Path(recorded["cache"]) if recorded.get("cache") else store.cache


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """What the user asks for.

    Attributes:
        space: what is searched, overrides applied.
        data: `kaggle`, `demo`, or a folder.
        store: where the study is kept.
        name: of the study; None to have one chosen.
        class_names: folder names of label 0 and label 1.
        skip_unreadable: leave unreadable images out instead of refusing the data.
        threads: of one TensorFlow operation; 0 to have the processors shared out among the workers.
        pruning: rule that ends hopeless trials early, one of `tuning.pruning.PRUNING_RULES`.
        folds: that every trial is trained in; 1 for a hold-out; None to have it chosen by what the space trains.
        confirm: confirm the leaders of the search, as the space says.
        patient_pattern: regular expression that finds the patient in an image's path; None for the data set's names.
        space_source: the shipped space's name or its file.
        overrides: that were applied to the space.
        start_from: leaders of another study, which `space` begins with.
        work: how the study is run.
    """

    space: SearchSpace
    data: str
    store: Store
    name: str | None = None
    class_names: tuple[str, str] = ("NORMAL", "PNEUMONIA")
    skip_unreadable: bool = False
    threads: int = 0
    pruning: str = "none"
    folds: int | None = None
    patient_pattern: str | None = None
    confirm: bool = True
    space_source: str = ""
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    start_from: StartFrom | None = None
    work: WorkSettings = dataclasses.field(default_factory=WorkSettings)

    @property
    def cache_folder(self) -> Path:
        """Where activations are kept."""
        return self.work.cache or self.store.cache
