"""Where a registered model comes from: as tags of its version, and as files in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumo_core.provenance import git_commit, package_versions
from tuning.models.ensemble import Ensemble
from tuning.record import StudyRecord, TrialRecord

LINEAGE_FILE = "lineage.json"
"""In a registered model's folder: the tags of the version, the split, the packages."""


def lineage(record: StudyRecord, trial: TrialRecord | Ensemble) -> dict[str, str]:
    """Returns where a trial's model comes from, as tags; what is not known is left out.

    The commits are that of the program that ran the study, and of the one that builds and registers the model.

    Args:
        record: of the study.
        trial: whose model it is.
    """
    started, identity, now = record.started, record.identity, git_commit()
    tags = {
        "pneumo.study": started.study,
        "pneumo.study_id": started.study_id,
        "pneumo.trial": trial.trial,
        "pneumo.run_id": trial.run_id or "",
        "pneumo.space": started.space,
        "pneumo.space_digest": started.space_digest,
        "pneumo.data_digest": identity.data_digest,
        "pneumo.split_digest": identity.split_digest,
        "pneumo.weights_digest": trial.weights_digest or "",
        "pneumo.git_commit": started.commit,
        "pneumo.git_dirty": _dirty(started.commit),
        "pneumo.promoted_by_commit": now,
        "pneumo.promoted_by_dirty": _dirty(now),
    }
    return {name: text for name, text in tags.items() if text}


def write_lineage(folder: Path, record: StudyRecord, tags: Mapping[str, str]) -> None:
    """Writes what a model's folder says of its origin: the space, the tags, the split, the packages.

    Args:
        folder: of the model.
        record: of the study.
        tags: of the version.

    Side effects:
        Writes `space.json` and `lineage.json`.
    """
    identity = record.identity
    provenance = {
        "tags": dict(tags),
        "split": {"digest": identity.split_digest, "folds": record.started.folds, "images": identity.images},
        "study_forced": record.forced,
        "packages_of_study": identity.versions,
        "packages_of_promotion": package_versions(),
    }
    _write(folder / "space.json", identity.definition)
    _write(folder / LINEAGE_FILE, provenance)


def _dirty(commit: str) -> str:
    """Whether the tree had uncommitted changes; empty where an installed program cannot know."""
    return "" if commit.startswith("version ") else str(commit.endswith("-dirty")).lower()


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")
