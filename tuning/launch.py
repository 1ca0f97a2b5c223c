"""From what the user asked for to a finished study; what can be refused is refused before the first trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.activation_store import ActivationStore
from pneumo_core.config import TrialConfig
from pneumo_core.dataset import Dataset, index_dataset
from pneumo_core.provenance import git_commit, package_versions
from pneumo_core.runtime import start_tensorflow, threads_in_use
from pneumo_core.splits import Split, holdout
from search_spaces import ChoiceParameter, SearchSpace
from tuning.arguments import DEFAULT_CACHE_BUDGET_BYTES
from tuning.data_sources import locate_data
from tuning.events import StudyStarted
from tuning.signals import termination_interrupts
from tuning.spaces import base_config, refuse_unsuited
from tuning.store import Store

if TYPE_CHECKING:
    from tuning.background import Listener
    from tuning.study import StudyResult
    from tuning.trial_data import TrialData


_TOLD_BACKLOG = 20  # events


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """What the user asks for.

    Attributes:
        space: what is searched, overrides applied.
        data: `kaggle`, `demo`, or a folder.
        store: where the study is kept.
        name: of the study; None to have one chosen.
        tracking_uri: MLflow's; None for the database in the store.
        time_limit_s: no trial is started after this many seconds; None for no limit.
        class_names: folder names of label 0 and label 1.
        skip_unreadable: leave unreadable images out instead of refusing the data.
        cache: folder of activations; the store's own if None.
        cache_budget_bytes: size that the folder of activations is kept to; None for no limit.
        threads: of one TensorFlow operation; 0 for one a processor.
    """

    space: SearchSpace
    data: str
    store: Store
    name: str | None = None
    tracking_uri: str | None = None
    time_limit_s: float | None = None
    class_names: tuple[str, str] = ("NORMAL", "PNEUMONIA")
    skip_unreadable: bool = False
    cache: Path | None = None
    cache_budget_bytes: int | None = DEFAULT_CACHE_BUDGET_BYTES
    threads: int = 0

    @property
    def cache_folder(self) -> Path:
        """Where activations are kept."""
        return self.cache or self.store.cache


def plan_study(settings: StudySettings) -> dict[str, Any]:
    """Returns what a study would do and what it would cost, without a trace in the store (demo images aside).

    The costs are those of `tuning.costs.study_cost`: a batch of each kind of work is timed.

    Raises:
        PneumoError: for whatever the study itself would refuse about space and data.
    """
    space = settings.space
    _refuse_early(settings)
    dataset, split = _load_data(settings)
    start_tensorflow(settings.threads)
    from tuning.costs import study_cost
    from tuning.rehearsal import trial_count

    data = _trial_data(settings, dataset, split)
    return {
        "space": space.name,
        "objective": space.objective,
        "direction": space.direction,
        "algorithm": space.algorithm,
        "trials": trial_count(space),
        "seed": space.seed,
        "searched": {p.name: p.model_dump(mode="json", exclude_none=True) for p in space.parameters},
        "start_with": [space.complete(known) for known in space.start_with],
        "config": base_config(space).to_mapping(),
        "data": {
            "root": str(dataset.root),
            "digest": dataset.digest,
            "images": _image_counts(split),
            "skipped": list(dataset.skipped),
        },
        "cost": study_cost(space, data, settings.cache_folder),
    }


def launch_study(
    settings: StudySettings, progress: Listener | None = None, tell: Callable[[str], None] = lambda text: None
) -> StudyResult:
    """Checks everything, then runs the study.

    Args:
        settings: what the user asks for.
        progress: a listener that shows what happens (see `tuning.progress`).
        tell: takes sentences for the user: what is being prepared, what was skipped.

    Raises:
        PneumoError: before the first trial for bad input, later if the work failed as a whole.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; the study is closed first.

    Side effects:
        Writes the study, its MLflow runs and artifacts.
    """
    _refuse_early(settings)
    settings.store.check_writable()
    tell("reading the images")
    dataset, split = _load_data(settings)
    for note in (*dataset.notes, *(f"skipped {reason}" for reason in dataset.skipped)):
        tell(note)
    tell("starting TensorFlow")
    start_tensorflow(settings.threads)
    from tuning.background import Background
    from tuning.figures import PlotDrawer
    from tuning.study import Study
    from tuning.tracking import Tracker, redacted

    data = _trial_data(settings, dataset, split, tell)
    data.check_cache()
    folder = settings.store.create_study(settings.name, space=settings.space.name)
    try:
        tracker = Tracker(settings.store, folder, settings.tracking_uri, settings.space.name)
        started = _started(settings, dataset, split, folder.name, redacted(tracker.uri))
        study = Study(started, settings.space, data, folder, time_limit_s=settings.time_limit_s)
        tracker.announce = study.announce
        bookkeeping = Background(PlotDrawer(folder), tracker)
        study.listeners += [bookkeeping, *([progress] if progress else [])]
        with termination_interrupts():
            try:
                return study.run()
            finally:
                if bookkeeping.waiting > _TOLD_BACKLOG:
                    tell("writing the last trials to MLflow")
                bookkeeping.finish()
    finally:
        folder.discard_if_empty()


def _refuse_early(settings: StudySettings) -> None:
    """What can be refused before any image is read."""
    refuse_unsuited(settings.space)
    if settings.name is not None:
        settings.store.refuse_taken(settings.name)


def _load_data(settings: StudySettings) -> tuple[Dataset, Split]:
    root = locate_data(settings.data, settings.store)
    dataset = index_dataset(root, class_names=settings.class_names, skip_unreadable=settings.skip_unreadable)
    return dataset, holdout(dataset.manifest)


def _image_counts(split: Split) -> dict[str, int]:
    return {"training": len(split.train), "validation": len(split.validation)}


def _trial_data(
    settings: StudySettings, dataset: Dataset, split: Split, tell: Callable[[str], None] = lambda text: None
) -> TrialData:
    """The images with their cache, all backbone weights read."""
    from tuning.trial_data import TrialData

    cache = ActivationStore(settings.cache_folder, tell, settings.cache_budget_bytes)
    data = TrialData(dataset.root, split.train, split.validation, dataset.class_names, cache)
    for config in _weight_sources(settings.space):
        data.backbone_weights(config)
    return data


def _weight_sources(space: SearchSpace) -> list[TrialConfig]:
    """A configuration for each kind of backbone weights that trials may ask for: a missing file is found beforehand."""
    base = base_config(space)
    searched = {p.name: list(p.values) for p in space.parameters if isinstance(p, ChoiceParameter)}
    return [
        dataclasses.replace(base, weights=str(source), weights_seed=int(seed))
        for source in searched.get("weights", [base.weights])
        for seed in searched.get("weights_seed", [base.weights_seed])
    ]


def _started(settings: StudySettings, dataset: Dataset, split: Split, name: str, tracking_uri: str) -> StudyStarted:
    space = settings.space
    return StudyStarted(
        study=name,
        space=space.name,
        space_digest=space.digest(),
        definition=space.model_dump(mode="json"),
        objective=space.objective,
        direction=space.direction,
        algorithm=space.algorithm,
        trials=space.trials,
        seed=space.seed,
        parameters=[parameter.name for parameter in space.parameters],
        data=settings.data,
        data_root=str(dataset.root),
        data_digest=dataset.digest,
        split_digest=split.digest,
        class_names=list(dataset.class_names),
        images=_image_counts(split),
        commit=git_commit(),
        versions=package_versions(),
        threads=threads_in_use(),
        tracking_uri=tracking_uri,
    )
