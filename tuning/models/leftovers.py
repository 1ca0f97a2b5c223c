"""What nothing needs any more outside of MLflow: states of trainings that are over, files of trials without a result,
and what processes that died had begun to write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tuning.record import StudyRecord
from tuning.store import Store, StudyFolder

_LIVING_S = 86_400.0  # what is younger may belong to a process that is still at it

Row = tuple[Literal["run", "model", "experiment"], str]
"""What MLflow knows something as, and by which id."""


@dataclasses.dataclass(frozen=True)
class Leftover:
    """Something that can go.

    Attributes:
        what: in words.
        path: file or folder; None if there is none.
        size: in bytes.
        row: of MLflow's database; None for files alone.
    """

    what: str
    path: Path | None
    size: int
    row: Row | None = None


def size_of(path: Path) -> int:
    """Returns the bytes of a file, or of all files below a folder; 0 for what is not there."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def changed_at(path: Path) -> float:
    """Returns when a file, or anything below a folder, was last changed, in seconds since 1970."""
    return max(place.lstat().st_mtime for place in (path, *path.rglob("*")))


def study_leftovers(folder: StudyFolder, record: StudyRecord) -> Iterator[Leftover]:
    """Returns what a study that nobody runs has left: checkpoints of a complete study, staged files of failed trials.

    A study that may go on keeps all its checkpoints, and one by Hyperband always, because it can be given more trials
    and only the oracle knows which of its rungs they go on from. Staged files of completed trials are kept until
    MLflow has them.

    Args:
        folder: of the study.
        record: of the study, read while nobody runs it.
    """
    if record.is_complete() and record.started.algorithm != "hyperband":
        for path in sorted(folder.checkpoints.glob("*")):
            yield Leftover(f"study {folder.name}: checkpoint {path.name}", path, size_of(path))
    for path in sorted((folder.root / "staging").glob("*")):
        trial = record.trials.get(path.name)
        if path.name != "study" and (trial is None or trial.status == "failed"):
            yield Leftover(f"study {folder.name}: files of {path.name}, which has no result", path, size_of(path))


def unfinished_files(store: Store, older_than_s: float, now: float) -> Iterator[Leftover]:
    """Returns files that a process began to write and never gave their name, and old copies of MLflow's database.

    Args:
        store: that holds them.
        older_than_s: age that a copy of the database must have.
        now: in seconds since 1970.
    """
    patterns = [".mlflow.db.new*", "mlflow-before-move.new", "test_scores/*/*.unfinished", "studies/*/projection.new"]
    patterns += ["studies/*/.report.*.unfinished", "studies/*/explained/*.unfinished.png"]
    for pattern in patterns:
        for path in sorted(store.root.glob(pattern)):
            if now - changed_at(path) > _LIVING_S:
                yield Leftover(f"unfinished file {path.relative_to(store.root)}", path, size_of(path))
    for path in store.root.glob("mlflow-before-move.db"):
        if now - changed_at(path) > older_than_s:
            yield Leftover(f"copy of MLflow's database from before a repair: {path.name}", path, size_of(path))
    for path in sorted(store.studies.glob("*")):
        folder = StudyFolder(path)
        if path.is_dir() and not folder.has_begun() and not folder.is_held() and now - changed_at(path) > _LIVING_S:
            yield Leftover(f"study {path.name}: a folder without a first line in its journal", path, size_of(path))
