"""One trial: a pure function of its configuration and the data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pneumo_core import plots
from pneumo_core.activation_store import ActivationKey, ActivationStore, StoredActivations
from pneumo_core.activations import apply_in_batches, compiled
from pneumo_core.backbone import BackboneWeights, build_prefix, frozen_blocks, load_backbone_weights
from pneumo_core.classifier import DEFAULT_THRESHOLD
from pneumo_core.config import TrialConfig
from pneumo_core.errors import OutOfMemoryError
from pneumo_core.evaluation import compute_metrics, score_table, text_report
from pneumo_core.images import read_images
from pneumo_core.model import build_trainee, standardize_features, trained_weights, write_weights
from pneumo_core.runtime import threads_in_use
from pneumo_core.training import EpochMetrics, Examples, train

SCORES_FILE, WEIGHTS_FILE = "scores.csv", "trained_weights.npz"
"""Names of a trial's files that promotion reads again."""


class TrialData:
    """Training and validation images, as pixels or as activations of frozen layers; never any test image.

    Args:
        root: folder that the manifests' paths are relative to.
        training: manifest of the training images.
        validation: manifest of the validation images.
        class_names: of label 0 and label 1.
        cache: of activations.
    """

    def __init__(
        self,
        root: Path,
        training: pd.DataFrame,
        validation: pd.DataFrame,
        class_names: tuple[str, str],
        cache: ActivationStore,
    ) -> None:
        self.root, self.training, self.validation, self.class_names = root, training, validation, class_names
        self._cache = cache
        # One order for all splits of the same images, so that every split finds the same activations.
        pool = pd.concat([training, validation], ignore_index=True).sort_values("path", kind="stable")
        self._pool = pool["path"].tolist()
        self._pool_digest = hashlib.sha256("\n".join(pool["content_hash"]).encode()).hexdigest()
        places = np.argsort(pool.index.to_numpy())
        self._training_rows, self._validation_rows = places[: len(training)], places[len(training) :]
        self._pixels: dict[int, np.ndarray] = {}
        self._weights: dict[tuple[str, int], BackboneWeights] = {}

    def training_pixels(self, size_px: int) -> np.ndarray:
        """Returns pixels of the training images, (N, size_px, size_px, 1) uint8, in their manifest's order."""
        if size_px not in self._pixels:
            self._pixels[size_px] = read_images(self.root, self.training["path"].tolist(), size_px)
        return self._pixels[size_px]

    def activations(
        self, config: TrialConfig, prefix: keras.Model, weights: BackboneWeights
    ) -> tuple[StoredActivations, StoredActivations]:
        """Returns the prefix's output for training and validation images, from the cache where it is there.

        Raises:
            ActivationError: if the cache cannot be used.
        """
        blocks = frozen_blocks(config.unfrozen_layers)
        key = ActivationKey(
            images=self._pool_digest,
            image_size=config.image_size,
            pixel_scaling=config.pixel_scaling,
            backbone=config.backbone,
            weights=weights.digest,
            blocks=blocks,
            pooled=config.unfrozen_layers == 0 and config.pooling == "average",
            precision=config.activation_precision,
            libraries={name: metadata.version(name) for name in ("tensorflow", "keras", "numpy", "pillow")},
            threads=threads_in_use(),
        )
        forward = compiled(prefix)

        def compute(start: int, stop: int) -> np.ndarray:
            return apply_in_batches(forward, read_images(self.root, self._pool[start:stop], config.image_size))

        whole = self._cache.get(key, (len(self._pool), *prefix.output.shape[1:]), compute)
        return whole.take(self._training_rows), whole.take(self._validation_rows)

    def backbone_weights(self, source: str, seed: int) -> BackboneWeights:
        """Returns backbone weights as `load_backbone_weights` does, read once."""
        if (source, seed) not in self._weights:
            self._weights[source, seed] = load_backbone_weights(source, seed)
        return self._weights[source, seed]


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What a trial leaves behind.

    Attributes:
        config: as given.
        metrics: of the validation images at the best epoch, names starting with `val_`.
        scores: table of the validation images at the best epoch (see `pneumo_core.evaluation`).
        history: metrics of every epoch.
        best_epoch: index into `history` of the epoch that counts.
        weights: what was trained, and what was measured for it, by variable path.
        weights_digest: SHA-256 of the backbone weights the trial started from.
        activations_digest: SHA-256 of the cached activations it was trained and scored on.
        class_names: of label 0 and label 1.
    """

    config: TrialConfig
    metrics: dict[str, float]
    scores: pd.DataFrame
    history: tuple[EpochMetrics, ...]
    best_epoch: int
    weights: dict[str, np.ndarray]
    weights_digest: str
    activations_digest: str
    class_names: tuple[str, str]


def execute_trial(
    config: TrialConfig, data: TrialData, on_epoch: Callable[[int, EpochMetrics], None] = lambda epoch, metrics: None
) -> TrialResult:
    """Trains and scores one configuration.

    The frozen prefix runs only over images whose activations are not in the cache, and over training images that are
    distorted anew in every epoch.

    Args:
        config: all that determines the training.
        data: training and validation images.
        on_epoch: called after every epoch with its number (from 0) and metrics.

    Raises:
        DivergedError: if a loss is no longer a finite number.
        OutOfMemoryError: if memory does not suffice.
        PneumoError: if images or weights cannot be read.
    """
    try:
        return _execute(config, data, on_epoch)
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise OutOfMemoryError(
            f"out of memory with image_size {config.image_size}, batch_size {config.batch_size}, "
            f"head_units {config.head_units}, unfrozen_layers {config.unfrozen_layers}"
        ) from error


def _execute(config: TrialConfig, data: TrialData, on_epoch: Callable[[int, EpochMetrics], None]) -> TrialResult:
    backbone_weights = data.backbone_weights(config.weights, config.weights_seed)
    prefix = build_prefix(config, backbone_weights)
    training_labels = data.training["label"].to_numpy()
    training_activations, validation_activations = data.activations(config, prefix, backbone_weights)
    validation = Examples(validation_activations, data.validation["label"].to_numpy())
    trainee = build_trainee(config, backbone_weights, validation_activations.shape[1:])
    standardize_features(trainee, training_activations)
    if config.augmentation == "none":
        training = Examples(training_activations, training_labels)
    else:
        training = Examples(data.training_pixels(config.image_size), training_labels, prefix=compiled(prefix))
    outcome = train(config, trainee, training, validation, on_epoch)
    scores = score_table(data.validation, outcome.validation_probabilities)
    return TrialResult(
        config=config,
        metrics={f"val_{name}": value for name, value in compute_metrics(scores).items()},
        scores=scores,
        history=outcome.history,
        best_epoch=outcome.best_epoch,
        weights=trained_weights(trainee),
        weights_digest=backbone_weights.digest,
        activations_digest=validation_activations.digest,
        class_names=data.class_names,
    )


def write_trial_files(result: TrialResult, folder: Path) -> None:
    """Writes configuration, scores, history, report, plots and trained weights.

    Side effects:
        Creates the folder and the files in it.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(result.config.to_mapping(), indent=2) + "\n")
    result.scores.to_csv(folder / SCORES_FILE, index=False)
    history = pd.DataFrame(result.history)
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    history.to_csv(folder / "history.csv", index=False)
    (folder / "report.txt").write_text(text_report(result.scores, result.class_names))
    write_weights(result.weights, folder / WEIGHTS_FILE)
    for name, figure in _figures(result).items():
        plots.save(figure, folder / "plots" / f"{name}.png")


def _figures(result: TrialResult) -> dict[str, Any]:
    return {
        "history": plots.plot_history(result.history, result.best_epoch),
        "roc": plots.plot_roc(result.scores),
        "precision_recall": plots.plot_precision_recall(result.scores),
        "confusion_matrix": plots.plot_confusion(result.scores, result.class_names, DEFAULT_THRESHOLD),
        "calibration": plots.plot_calibration(result.scores),
    }
