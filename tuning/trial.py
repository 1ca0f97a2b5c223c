"""One trial: a pure function of its configuration and the data."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from pneumo_core.config import TrialConfig
from pneumo_core.errors import OutOfMemoryError
from pneumo_core.evaluation import score_table
from pneumo_core.evaluation_report import EvaluationReport, evaluate, report_text
from pneumo_core.fit_verdict import fit_in_words
from pneumo_core.model import trained_weights, write_weights
from pneumo_core.operating_point import OperatingPoint
from pneumo_core.training import EpochMetrics, Fold, Training, TrainingState, Watch, train
from tuning.trial_data import TrialData
from tuning.trial_files import HISTORY_FILE, REPORT_FILE, SCORES_FILE, WEIGHTS_FILE

_DRAWS = 500  # of patients, for intervals of a trial; those that are confirmed get more


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What a trial leaves behind.

    Attributes:
        config: as given.
        report: of the validation images at the best epoch, at the operating point that they choose.
        scores: table of the validation images at the best epoch (see `pneumo_core.evaluation`), sorted by path.
        history: metrics of every epoch, the mean over the folds.
        best_epoch: index into `history` of the epoch that counts.
        weights: what was trained, and what was measured for it, by variable path; empty where there are several folds,
            of whose models none is kept.
        weights_digest: SHA-256 of the backbone weights the trial started from.
        activations_digest: SHA-256 of the cached activations it was scored on, and trained on if not augmented.
        variant_digests: SHA-256 of the cached activations of each augmented variant it was trained on.
        class_names: of label 0 and label 1.
        pruned: whether it was ended early because it was hopeless.
    """

    config: TrialConfig
    report: EvaluationReport
    scores: pd.DataFrame
    history: tuple[EpochMetrics, ...]
    best_epoch: int
    weights: dict[str, np.ndarray]
    weights_digest: str
    activations_digest: str
    variant_digests: tuple[str, ...]
    class_names: tuple[str, str]
    pruned: bool = False

    @property
    def metrics(self) -> dict[str, float]:
        """Of the report, names starting with `val_`; the mean over the folds."""
        return {f"val_{name}": interval.value for name, interval in self.report.metrics.items()}

    @property
    def intervals(self) -> dict[str, list[float | None]]:
        """Ends of each metric's 95 % interval; None where undefined."""
        mappings = {name: interval.to_mapping() for name, interval in self.report.metrics.items()}
        return {f"val_{name}": [mapping["low"], mapping["high"]] for name, mapping in mappings.items()}

    @property
    def operating_point(self) -> OperatingPoint:
        """Threshold and temperature that the scores choose."""
        return self.report.operating_point


def execute_trial(
    config: TrialConfig,
    data: TrialData,
    folds: int = 1,
    watch: Watch = lambda training: False,
    state: TrainingState | None = None,
) -> TrialResult:
    """Trains and scores one configuration.

    The frozen prefix runs only over images whose activations are not in the cache, and over training images that are
    distorted anew in every epoch.

    Args:
        config: all that determines the training.
        data: images.
        folds: that they are divided in; 1 for a hold-out.
        watch: is shown the training after every epoch, and may end it.
        state: where an earlier training of this configuration was left; None to begin.

    Raises:
        DivergedError: if a loss is no longer a finite number.
        OutOfMemoryError: if memory does not suffice.
        PneumoError: if images or weights cannot be read.
    """
    with memory_errors(config):
        return _execute(config, data, folds, watch, state)


@contextlib.contextmanager
def memory_errors(config: TrialConfig) -> Iterator[None]:
    """Turns the errors of Python and TensorFlow about too little memory into one that names the configuration."""
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise OutOfMemoryError(
            f"out of memory with image_size {config.image_size}, batch_size {config.batch_size}, "
            f"head_units {config.head_units}, unfrozen_layers {config.unfrozen_layers}"
        ) from error


def _execute(
    config: TrialConfig, data: TrialData, folds: int, watch: Watch, state: TrainingState | None
) -> TrialResult:
    backbone_weights, split = data.backbone_weights(config), data.split(folds)
    examples = [(data.training_examples(config, split.training(k)), split.validation(k)) for k in range(folds)]
    program = data.program(config, examples[0][0].feed)
    training = [
        Fold(learned, data.validation_examples(config, scored), data.moments(config, program, split.training(number)))
        for number, (learned, scored) in enumerate(examples)
    ]
    outcome = train(Training(config, program, training, state), watch)
    logits = np.zeros(len(split.pool))
    for number, of_fold in enumerate(outcome.validation_logits):
        logits[split.validation(number)] = of_fold
    scores = score_table(split.pool.iloc[split.scored], logits[split.scored], split.fold[split.scored])
    return TrialResult(
        config=config,
        report=evaluate(scores, draws=_DRAWS),
        scores=scores,
        history=outcome.history,
        best_epoch=outcome.best_epoch,
        weights=trained_weights(program.trainee) if folds == 1 else {},
        weights_digest=backbone_weights.digest,
        activations_digest=data.activations(config).digest,
        variant_digests=data.variant_digests(config),
        class_names=data.class_names,
    )


def write_trial_files(result: TrialResult, folder: Path) -> None:
    """Writes configuration, scores, history, report and, if any were kept, trained weights; plots are drawn from these.

    Side effects:
        Creates the folder and the files in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(result.config.to_mapping(), indent=2) + "\n")
    result.scores.to_csv(folder / SCORES_FILE, index=False)
    history = pd.DataFrame(result.history)
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    history.to_csv(folder / HISTORY_FILE, index=False)
    report = result.report.to_mapping() | {"fit": fit_in_words(result.history, result.best_epoch)}
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n")
    (folder / "report.md").write_text(f"{report_text(result.report, result.class_names)}\n{report['fit']}\n")
    if result.weights:
        write_weights(result.weights, folder / WEIGHTS_FILE)
