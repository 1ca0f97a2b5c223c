"""Score tables of trials that nobody trained, put where a study leaves them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from scipy.special import expit
from synthetic import synthetic_space, write_study

from tuning.record import StudyRecord
from tuning.store import Store, StudyFolder


def made_table(distance: float, *, seed: int = 0, patients: int = 120, folds: int = 1) -> pd.DataFrame:
    """Returns a score table of two images a patient.

    Args:
        distance: of the classes' mean logits, in standard deviations of what all tables share.
        seed: of what is this table's own.
        patients: half of whom have pneumonia.
        folds: that patients are dealt to in turn.
    """
    patient = np.repeat(np.arange(patients), 2)
    labels = patient % 2
    shared, own = (np.random.default_rng(key).normal(0, 1, len(patient)) for key in (999, seed))
    logits = distance * (labels - 0.5) + shared + 0.3 * own
    return pd.DataFrame(
        {
            "path": [f"train/{row}.jpeg" for row in range(len(patient))],
            "group": [f"p{number}" for number in patient],
            "subtype": np.where(labels == 1, "virus", "normal"),
            "label": labels,
            "fold": (patient // 2) % folds,
            "logit": logits,
            "probability": expit(logits),
        }
    )


def stage(folder: StudyFolder, trial: str, table: pd.DataFrame) -> None:
    """Puts a table among the files that MLflow has not taken yet."""
    place = folder.staging(trial)
    place.mkdir(parents=True)
    table.to_csv(place / "scores.csv", index=False)


def scored_study(store: Store, name: str, distances: dict[str, float], *, folds: int = 1) -> StudyFolder:
    """Writes a synthetic study, the score tables of some of its trials beside it.

    Args:
        store: where.
        name: of the study.
        distances: trial → distance of the classes in its scores.
        folds: of these.
    """
    folder = write_study(store, name, trials=4, failed=0.0, pruned=0.0, space=synthetic_space())
    for number, (trial, distance) in enumerate(distances.items()):
        stage(folder, trial, made_table(distance, seed=number, folds=folds))
    return folder


def renamed(record: StudyRecord, **identity: object) -> StudyRecord:
    """Returns the record as if its study had been taken up with other data, space or program."""
    record.identity = dataclasses.replace(record.identity, **identity)  # type: ignore[arg-type]
    return record
