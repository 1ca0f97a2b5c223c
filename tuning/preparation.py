"""Images and backbone weights made ready for a study: what can be refused about them is refused here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from pneumo_core.config import TrialConfig
from pneumo_core.dataset import Dataset, index_dataset
from pneumo_core.errors import ConfigError
from pneumo_core.runtime import start_tensorflow, threads_in_use
from pneumo_core.splits import ALWAYS_TRAINS, Split, divide
from search_spaces import ChoiceParameter, SearchSpace
from tuning.data_sources import locate_data
from tuning.protocol import folds_of
from tuning.settings import StudySettings
from tuning.spaces import base_config
from tuning.workers.resources import threads_for

if TYPE_CHECKING:
    from tuning.attempt import DataSetup
    from tuning.trial_data import TrialData


@dataclasses.dataclass(frozen=True)
class Preparation:
    """The images of a study, indexed and divided.

    Attributes:
        dataset: all images that were found.
        split: who trains and who is scored.
        setup: from what workers make their own `data`.
        data: the images as trials see them, all backbone weights read.
    """

    dataset: Dataset
    split: Split
    setup: DataSetup
    data: TrialData

    @property
    def image_counts(self) -> dict[str, int]:
        """Numbers of images by role; with several folds an image has both."""
        trains = (self.split.fold == ALWAYS_TRAINS) | (self.split.folds > 1)
        return {"training": int(trains.sum()), "validation": len(self.split.scored)}

    @property
    def threads(self) -> int:
        """How many threads one TensorFlow operation of a trial uses."""
        return self.setup.threads or threads_in_use()

    @property
    def computes_alike(self) -> bool:
        """Whether this process computes with as many threads as the trials, and so finds their activations."""
        return self.threads == threads_in_use()


def prepare(settings: StudySettings, tell: Callable[[str], None] = lambda text: None) -> Preparation:
    """Indexes and splits the images, starts TensorFlow and reads the weights that trials may ask for.

    Args:
        settings: what the user asks for.
        tell: takes sentences for the user: what is being prepared, what was skipped.

    Raises:
        PneumoError: if images or weights are not what they should be.
    """
    tell("reading the images")
    root = locate_data(settings.data, settings.store)
    dataset = index_dataset(
        root,
        class_names=settings.class_names,
        skip_unreadable=settings.skip_unreadable,
        patient_pattern=settings.patient_pattern,
    )
    split = divide(dataset.manifest, folds_of(settings.space, settings.folds))
    for note in (*dataset.notes, *(f"skipped {reason}" for reason in dataset.skipped)):
        tell(note)
    tell("starting TensorFlow")
    threads = threads_for(settings.work, settings.threads)
    _start_tensorflow(threads, trains_here=not settings.work.separate)
    from tuning.attempt import DataSetup
    from tuning.rehearsal import foreseen

    digests: dict[tuple[str, int], str] = {}
    setup = DataSetup(
        root=dataset.root,
        pool=split.pool,
        class_names=dataset.class_names,
        cache=settings.cache_folder,
        cache_budget_bytes=settings.work.cache_budget_bytes,
        threads=threads,
        expected=tuple(foreseen(settings.space)),
        weights=digests,
    )
    data = setup.open(tell)
    for config in _weight_sources(settings.space):
        digests[config.weights, config.weights_seed] = data.backbone_weights(config).digest
    return Preparation(dataset, split, setup, data)


def _start_tensorflow(threads: int, *, trains_here: bool) -> None:
    """Where workers train it is no matter with how many threads this process computes already, as a notebook may."""
    try:
        start_tensorflow(threads)
    except ConfigError:
        if trains_here:
            raise
        start_tensorflow()


def _weight_sources(space: SearchSpace) -> list[TrialConfig]:
    """A configuration for each kind of backbone weights that trials may ask for: a missing file is found beforehand."""
    base = base_config(space)
    searched = {p.name: list(p.values) for p in space.parameters if isinstance(p, ChoiceParameter)}
    return [
        dataclasses.replace(base, weights=str(source), weights_seed=int(seed))
        for source in searched.get("weights", [base.weights])
        for seed in searched.get("weights_seed", [base.weights_seed])
    ]
