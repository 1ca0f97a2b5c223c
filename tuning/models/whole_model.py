"""From a trial to the whole model that leaves: with the weights it came to, or with those of a refit on all images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from pneumo_core.backbone import BackboneWeights
from pneumo_core.config import TrialConfig
from pneumo_core.errors import WeightsError
from pneumo_core.evaluation import logits_of
from pneumo_core.model import build_classifier, read_weights, trained_weights
from pneumo_core.operating_point import OperatingPoint, fit_operating_point
from pneumo_core.training import predict_logits
from tuning.models.kept_scores import model_digest
from tuning.record import StudyRecord, TrialRecord
from tuning.repetition import repeated
from tuning.tracking import fetch_run_file
from tuning.trial_data import TrialData
from tuning.trial_files import HISTORY_FILE, SCORES_FILE, WEIGHTS_FILE

AGREEMENT = {"float32": 1e-3, "float16": 1e-2, "mixed_bfloat16": 1e-1}
"""The whole model and the trained parts may differ by this much in a probability, by the coarsest precision on the way:
they add in different orders, float16 rounds, and bfloat16, which has 8 bits, does so in every layer."""

_CHECKED_IMAGES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class WholeModel:
    """What a classifier is built from, and what it is to be checked against.

    Attributes:
        config: of the training that its weights are from.
        weights: of the backbone that this training started from.
        arrays: what it trained.
        origin: where these come from, in words.
        scores: score tables of validation images that chose the operating point, one for each seed.
        operating_point: threshold and temperature.
        checked: table of path and logit (before the temperature) of images, as the trained parts score them.
        own: table of label and logit of all images, as a refit that was trained on them scores them; None without one.
    """

    config: TrialConfig
    weights: BackboneWeights
    arrays: Mapping[str, np.ndarray]
    origin: str
    scores: Sequence[pd.DataFrame]
    operating_point: OperatingPoint
    checked: pd.DataFrame
    own: pd.DataFrame | None = None

    def build(self) -> keras.Model:
        """Returns the classifier, from gray pixels to the calibrated probability."""
        return build_classifier(self.config, self.weights, self.arrays, self.operating_point.temperature)

    @property
    def agreement(self) -> float:
        """How much a probability may differ from that of the trained parts."""
        return max(AGREEMENT[self.config.activation_precision], AGREEMENT[self.config.precision])

    def digest(self) -> str:
        """Returns the SHA-256 (hex) of all that decides its probabilities."""
        return model_digest(self.config, self.weights.digest, self.arrays, self.operating_point.temperature)

    def to_mapping(self) -> dict[str, Any]:
        """Returns its configuration, for JSON."""
        return self.config.to_mapping()


def is_refit(record: StudyRecord, trial: TrialRecord) -> bool:
    """Returns whether a trial's model has to be trained once more.

    A trial of several folds has as many models, each of which has never seen a part of the images. And the one model of
    a hold-out is not what was confirmed if that was done with larger images.
    """
    return trial.folds > 1 or confirming_run(record, trial).config["image_size"] != trial.config["image_size"]


def confirming_run(record: StudyRecord, trial: TrialRecord) -> TrialRecord:
    """Returns the training whose epochs and learning rates a refit repeats.

    Of those that confirm the trial it is the one with the median best epoch; without any it is the trial itself.
    """
    if trial.confirmed is None:
        return trial
    runs = sorted((record.trials[run] for run in trial.confirmed.runs), key=lambda run: (run.best_epoch, run.number))
    return runs[(len(runs) - 1) // 2]


def whole_model(
    record: StudyRecord,
    trial: TrialRecord,
    data: TrialData,
    scratch: Path,
    threshold_rule: str,
    target_sensitivity: float,
    tell: Callable[[str], None] = lambda text: None,
) -> WholeModel:
    """Fetches or trains what a trial's classifier is built from.

    Args:
        record: of the study.
        trial: of the search, completed and logged.
        data: the images of the study.
        scratch: folder for files from MLflow.
        threshold_rule: see `pneumo_core.operating_point.fit_operating_point`.
        target_sensitivity: likewise.
        tell: takes sentences for the user.

    Raises:
        WeightsError: if the backbone's weights are no longer those of the trial.
        TrackingError: if MLflow does not have its files.

    Side effects:
        Writes files to the folder.
    """
    refits = is_refit(record, trial)
    source = confirming_run(record, trial) if refits else trial
    config = TrialConfig.from_mapping(source.config)
    weights = data.backbone_weights(config)
    if weights.digest != source.weights_digest:
        raise WeightsError(
            f"weights {config.weights}: are no longer those that trial {source.trial} started from; bring the file "
            "back."
        )
    runs = [record.trials[run] for run in trial.confirmed.runs] if trial.confirmed and source is not trial else [source]
    scores = [_with_logits(_fetched_table(record, run, SCORES_FILE, scratch)) for run in runs]
    point = fit_operating_point(scores, threshold_rule, target_sensitivity)
    if not refits:
        arrays = read_weights(fetch_run_file(record, trial, WEIGHTS_FILE, scratch))
        return WholeModel(config, weights, arrays, f"the weights of {trial.trial}", scores, point, scores[0])
    history = _fetched_table(record, source, HISTORY_FILE, scratch)
    rates = history["learning_rate"].tolist()[: (source.best_epoch or 0) + 1]
    epochs = f"{len(rates)} epoch{'s' if len(rates) > 1 else ''}"
    origin = f"refit on all {len(data.pool)} images for {epochs}, with the learning rates of {source.trial}"
    tell(origin)
    arrays, own = _refitted(config, data, rates)
    some = np.unique(np.linspace(0, len(own) - 1, _CHECKED_IMAGES).astype(int))
    return WholeModel(config, weights, arrays, origin, scores, point, own.iloc[some][["path", "logit"]], own)


def _refitted(
    config: TrialConfig, data: TrialData, rates: Sequence[float]
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Trains on all images; returns what was trained, and how it scores them."""
    everyone = np.arange(len(data.pool))
    program = repeated(config, data, rates, everyone)
    logits = predict_logits(program, data.validation_examples(config, everyone).feed)
    return trained_weights(program.trainee), data.pool[["path", "label"]].assign(logit=logits)


def _with_logits(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a score table with logits; those of earlier versions of this program have probabilities only."""
    return table if "logit" in table else table.assign(fold=0, logit=logits_of(table["probability"].to_numpy()))


def _fetched_table(record: StudyRecord, run: TrialRecord, name: str, scratch: Path) -> pd.DataFrame:
    folder = scratch / run.trial
    folder.mkdir(exist_ok=True)
    return pd.read_csv(fetch_run_file(record, run, name, folder), keep_default_na=False)
