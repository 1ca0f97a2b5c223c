"""The time and the disk that a study took, and what it was spared by keeping the output of frozen layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pneumo_core.activation_store import ActivationStore, CacheEntry, PassTime
from pneumo_core.config import TrialConfig
from pneumo_core.errors import ConfigError
from tuning.events import AttemptFailed, AttemptStarted, Event, StudyResumed, StudyStarted, TrialCompleted, TrialFailed
from tuning.journal import Entry
from tuning.record import StudyRecord, TrialRecord
from tuning.settings import recorded_cache
from tuning.store import Store, StudyFolder


@dataclasses.dataclass(frozen=True)
class KeptPass:
    """Frozen layers over all images, done once, that trainings of the study took their inputs from.

    Attributes:
        image_size: side of the images, in px.
        blocks: of the backbone that they went through.
        augmented: whether over a variant of the images.
        bytes: on disk.
        image_s: seconds an image, by what the pass took; None if that was not measured, or was not its alone.
        pass_s: what the pass took this study; 0 if it was there before, or if `along`.
        images: that its trainings would have sent through these layers, each in every epoch.
        along: whether its pass gave another kept output as well, which bears what it took.
    """

    image_size: int
    blocks: int
    augmented: bool
    bytes: int
    image_s: float | None
    pass_s: float
    images: int
    along: bool = False

    @property
    def spared_s(self) -> float:
        """Seconds that the trainings would have spent in these layers, less those of the pass; 0 if not known."""
        return 0.0 if self.image_s is None else self.image_s * self.images - self.pass_s


@dataclasses.dataclass(frozen=True)
class Spending:
    """What a study took.

    Attributes:
        wall_s: that processes ran it; of one that was killed, until the last event it recorded.
        searching_s: of the attempts that ended trials of the search, failed ones among them.
        confirming_s: of those that confirm its leaders.
        lost_s: of attempts that were lost with their process.
        lost: how many these are.
        study_bytes: of the study's folder: journal, checkpoints, score tables.
        artifact_bytes: of its runs' files; None where MLflow keeps them elsewhere.
        passes: kept ones that its trainings took their inputs from, and that are still there.
        gone: how many such passes are no longer in the cache.
        side_by_side: as many trials were under way at once.
    """

    wall_s: float
    searching_s: float
    confirming_s: float
    lost_s: float
    lost: int
    study_bytes: int
    artifact_bytes: int | None
    passes: tuple[KeptPass, ...]
    gone: int
    side_by_side: int


def spending(store: Store, folder: StudyFolder, record: StudyRecord, entries: Sequence[Entry]) -> Spending:
    """Adds up what a study took.

    Args:
        store: that holds it.
        folder: of the study.
        record: of the study.
        entries: of its journal.
    """
    lost = list(_lost_s(entries))
    passes, gone = _passes(store, record, entries[0].at)
    return Spending(
        wall_s=sum(_stretches_s(entries)),
        searching_s=_trained_s(record.searched),
        confirming_s=_trained_s(record.confirming),
        lost_s=sum(lost),
        lost=len(lost),
        study_bytes=_size(folder.root),
        artifact_bytes=_artifacts(store, record),
        passes=passes,
        gone=gone,
        side_by_side=_side_by_side(entry.event for entry in entries),
    )


def _stretches_s(entries: Sequence[Entry]) -> Iterator[float]:
    """The seconds of each process that ran the study."""
    begun = last = entries[0].at
    for entry in entries[1:]:
        if isinstance(entry.event, StudyResumed):
            yield last - begun
            begun = entry.at
        last = entry.at
    yield last - begun


def _lost_s(entries: Iterable[Entry]) -> Iterator[float]:
    begun: dict[str, float] = {}
    for entry in entries:
        match entry.event:
            case AttemptStarted(trial=trial):
                begun[trial] = entry.at
            case AttemptFailed(trial=trial):
                yield entry.at - begun.get(trial, entry.at)
            case StudyStarted() | StudyResumed():
                begun.clear()


def _side_by_side(events: Iterable[Event]) -> int:
    """The most attempts that were under way at once."""
    running: set[str] = set()
    most = 0
    for event in events:
        match event:
            case AttemptStarted(trial=trial):
                running.add(trial)
                most = max(most, len(running))
            case AttemptFailed(trial=trial) | TrialCompleted(trial=trial) | TrialFailed(trial=trial):
                running.discard(trial)
            case StudyResumed():
                running.clear()
    return most


def _trained_s(trials: Iterable[TrialRecord]) -> float:
    return sum(trial.duration_s or 0.0 for trial in trials)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _artifacts(store: Store, record: StudyRecord) -> int | None:
    """Of the store's own folder; a server keeps its files wherever it likes."""
    place = store.artifacts / record.started.space
    runs = [place / run for run in (record.run_id, *(trial.run_id for trial in record.trials.values())) if run]
    found = [run for run in runs if run.is_dir()]
    return sum(map(_size, found)) if found else None


def _passes(store: Store, record: StudyRecord, begun_at: float) -> tuple[tuple[KeptPass, ...], int]:
    """What a pass took counts for the study only if it was made since that began."""
    images = _images_by_digest(record)
    there = {entry.digest: entry for entry in ActivationStore(recorded_cache(store, record.started.work)).entries()}
    found = [(there[digest], number) for digest, number in images.items() if digest in there]
    kept, counted = [], set[PassTime]()
    for entry, number in sorted(found, key=lambda one: -one[1]):  # the output of most use bears its pass
        kept.append(_kept(entry, number, begun_at, along=entry.made in counted))
        counted |= {entry.made} if entry.made else set()
    return tuple(sorted(kept, key=lambda one: (-one.images, one.image_size, one.blocks))), len(images) - len(kept)


def _kept(entry: CacheEntry, images: int, begun_at: float, *, along: bool) -> KeptPass:
    made = entry.made
    timed = made is not None and made.deepest and made.images > 0
    mine = float(entry.about["created"]) >= begun_at
    return KeptPass(
        image_size=int(entry.about["image_size"]),
        blocks=int(entry.about["blocks"]),
        augmented=bool(entry.about["augmentation"]),
        bytes=entry.size,
        image_s=made.duration_s / made.images if made and timed else None,
        pass_s=made.duration_s if made and timed and mine and not along else 0.0,
        images=images,
        along=along,
    )


def _images_by_digest(record: StudyRecord) -> dict[str, int]:
    """The images that trainings would have sent through frozen layers, by the kept output that they took instead.

    In k folds an epoch trains on each image k - 1 times and scores it once. What a training augments anew in each
    epoch was sent through them, and is not counted; of kept variants, one is trained on in each epoch.
    """
    every = record.started.images
    pool = every["training"] if record.started.folds > 1 else every["training"] + every["validation"]
    counted: dict[str, int] = {}
    for trial in record.trials.values():
        if not trial.activations_digest:
            continue
        images = pool * trial.folds * max(trial.epochs - trial.first_epoch, 0)
        for digest in (trial.activations_digest, *trial.variant_digests):
            counted.setdefault(digest, 0)
        if not _augments_live(trial):
            counted[trial.activations_digest] += images
    return counted


def _augments_live(trial: TrialRecord) -> bool:
    try:
        return TrialConfig.from_mapping(trial.config).augments_live
    except ConfigError:  # of another version of this program
        return True
