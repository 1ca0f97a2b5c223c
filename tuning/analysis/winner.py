"""What the scores of a study's best trial depend on: Grad-CAM of a model of it, kept as a picture.

Only validation images are looked at, by a model that was not trained on them; the test folder's are none of the pool.
A hold-out trial left its weights in MLflow. Of a trial in folds no weights are kept: its first fold is trained again,
which is cheap where only a head is trained on kept activations.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from pneumo_core.config import TrialConfig
from pneumo_core.errors import ConfigError, PneumoError, StudyError, WeightsError
from tuning.events import EpochEnded
from tuning.journal import read_journal
from tuning.ranking import load_record
from tuning.record import StudyRecord, TrialRecord
from tuning.settings import recorded_cache
from tuning.store import Store, StudyFolder

if TYPE_CHECKING:  # TensorFlow is imported where a picture is made: a report that has it needs none
    from matplotlib.figure import Figure

    from tuning.trial_data import TrialData

_PER_KIND = 2
_LONGEST_S = 120.0
"""A report shall not train for longer to get its picture."""


def picture_of_winner(folder: StudyFolder, record: StudyRecord) -> Path | None:
    """Returns the kept picture of the study's best trial; None if there is none."""
    best = record.best()
    kept = _place(folder, record, best) if best else None
    return kept if kept and kept.is_file() else None


def why_unexplainable(record: StudyRecord) -> str:
    """Returns why no model of the best trial can be looked at; empty if one can be."""
    best = record.best()
    if best is None:
        return "no trial completed"
    try:
        live = TrialConfig.from_mapping(best.config).augments_live
    except ConfigError:
        return f"{best.trial} was trained by another version of this program"
    if best.folds > 1 and (live or best.training_s / best.folds > _LONGEST_S):
        return (
            f"of a trial in folds no weights are kept, and to train a fold of {best.trial} again takes too long for a "
            "report; tune promote draws it for the model that it makes"
        )
    return ""


def explain_winner(store: Store, record: StudyRecord, data: TrialData) -> Path:
    """Draws what the scores of the best trial depend on, for validation images called rightly and wrongly.

    Args:
        store: that holds the study.
        record: of the study.
        data: its images.

    Returns:
        The picture, a PNG file.

    Raises:
        StudyError: if that cannot be done, or takes too long.
        PneumoError: if images, weights or MLflow cannot be used.

    Side effects:
        Writes the picture to the study's folder, which keeps it.
    """
    name, best = record.started.study, record.best()
    if best is None or (reason := why_unexplainable(record)):
        raise StudyError(f"study {name}: has no Grad-CAM ({'no trial completed' if best is None else reason}).")
    from pneumo_core.plots import save

    folder = store.study(name)
    figure = _explained(store, record, best, data)
    place = _place(folder, record, best)
    place.parent.mkdir(exist_ok=True)
    unfinished = place.with_suffix(".unfinished.png")
    save(figure, unfinished)
    unfinished.replace(place)
    return place


def explained(store: Store, name: str, data: Callable[[], TrialData]) -> str:
    """Makes the picture of a study's winner, if it can be made and is not there yet.

    Args:
        store: that holds the study.
        name: of the study.
        data: returns its images; called only if they are needed.

    Returns:
        Why it could not be made; empty if it is there.

    Side effects:
        As `explain_winner`.
    """
    record = load_record(store, name)
    if picture_of_winner(store.study(name), record):
        return ""
    if reason := why_unexplainable(record):
        return reason
    try:
        explain_winner(store, record, data())
    except PneumoError as error:
        return str(error)
    except Exception as error:  # as of TensorFlow or a disk: a report without its picture is better than none
        return f"{type(error).__name__}: {error}"
    return ""


def reachable_data(store: Store, record: StudyRecord) -> TrialData:
    """Returns a study's images as its trials saw them, if they are where they were and unchanged; starts TensorFlow.

    Args:
        store: that holds the study.
        record: of the study.

    Raises:
        StudyError: if they have changed.
        PneumoError: if they cannot be read.
    """
    from pneumo_core.dataset import index_dataset
    from pneumo_core.runtime import start_tensorflow
    from pneumo_core.splits import divide

    settings = record.identity
    negative, positive = settings.class_names
    dataset = index_dataset(
        Path(settings.data_root),
        class_names=(negative, positive),
        skip_unreadable=settings.skip_unreadable,
        patient_pattern=settings.patient_pattern or None,
    )
    if dataset.digest != settings.data_digest:
        raise StudyError(f"study {settings.study}: its images have changed since.")
    start_tensorflow(settings.threads)
    from tuning.attempt import DataSetup

    pool = divide(dataset.manifest, settings.folds).pool
    cache = recorded_cache(store, record.started.work)
    return DataSetup(dataset.root, pool, dataset.class_names, cache, None, settings.threads).open()


def _place(folder: StudyFolder, record: StudyRecord, trial: TrialRecord) -> Path:
    since = f"-g{record.generation}" if record.generation else ""  # of other data, or by another program
    return folder.root / "explained" / f"{trial.trial}{since}.png"


@dataclasses.dataclass(frozen=True, eq=False)
class _Model:
    """What a model of a trial trained, and its score table of validation images that it had not seen."""

    arrays: dict[str, np.ndarray]
    scores: pd.DataFrame


def _explained(store: Store, record: StudyRecord, trial: TrialRecord, data: TrialData) -> Figure:
    from pneumo_core.explain import grad_cam, sample_cases, sampled_paths
    from pneumo_core.explain_plots import plot_grad_cam
    from pneumo_core.images import read_images
    from pneumo_core.model import build_classifier

    config = TrialConfig.from_mapping(trial.config)
    weights = data.backbone_weights(config)
    if weights.digest != trial.weights_digest:
        raise WeightsError(f"weights {config.weights}: are no longer those that trial {trial.trial} started from.")
    model = (_kept if trial.folds == 1 else _retrained)(store, record, trial, data)
    threshold, temperature = trial.threshold or 0.5, trial.temperature or 1.0
    calibrated = model.scores.assign(probability=special.expit(model.scores["logit"] / temperature))
    cases = sample_cases(calibrated, threshold, _PER_KIND)
    pixels = read_images(data.root, sampled_paths(cases), config.image_size, config.preprocessing)
    heatmaps = grad_cam(build_classifier(config, weights, model.arrays, temperature), pixels)
    return plot_grad_cam(cases, pixels, heatmaps, data.class_names, threshold)


def _kept(store: Store, record: StudyRecord, trial: TrialRecord, data: TrialData) -> _Model:
    """Of a hold-out trial: its weights and scores, as MLflow has them."""
    from pneumo_core.model import read_weights
    from tuning.analysis.score_tables import ScoreTables
    from tuning.tracking import fetch_run_file
    from tuning.trial_files import WEIGHTS_FILE

    with ScoreTables(store, record) as tables, tempfile.TemporaryDirectory() as scratch:
        (scores,) = tables.of(trial)
        return _Model(read_weights(fetch_run_file(record, trial, WEIGHTS_FILE, Path(scratch))), scores)


def _retrained(store: Store, record: StudyRecord, trial: TrialRecord, data: TrialData) -> _Model:
    """Of a trial in folds: its first fold trained again."""
    from pneumo_core.evaluation import score_table
    from pneumo_core.model import trained_weights
    from pneumo_core.training import predict_logits
    from tuning.repetition import repeated
    from tuning.trial_data import passes_of

    config, split = TrialConfig.from_mapping(trial.config), data.split(trial.folds)
    if not all(data.is_cached(wanted) for wanted in passes_of(config)):
        raise StudyError(f"trial {trial.trial}: its activations are no longer in the cache.")
    rates = _learning_rates(store.study(record.started.study), record, trial)
    program = repeated(config, data, rates, split.training(0))
    scored = split.validation(0)
    logits = predict_logits(program, data.validation_examples(config, scored).feed)
    return _Model(trained_weights(program.trainee), score_table(data.pool.iloc[scored], logits))


def _learning_rates(folder: StudyFolder, record: StudyRecord, trial: TrialRecord) -> list[float]:
    """Of each epoch up to the best one, those of the shorter trainings that it continues among them."""
    line = [trial]
    while line[0].parent:
        line.insert(0, record.trials[line[0].parent])
    by_trial: dict[str, dict[int, float]] = {one.trial: {} for one in line}
    for event in read_journal(folder.journal):
        if isinstance(event, EpochEnded) and event.trial in by_trial:
            by_trial[event.trial][event.epoch] = event.metrics["learning_rate"]
    rates: dict[int, float] = {}
    for one in line:
        rates |= by_trial[one.trial]
    return [rates[epoch] for epoch in range((trial.best_epoch or 0) + 1)]
