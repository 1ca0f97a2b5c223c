"""From the best trial of a study to a version in the model registry."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.errors import DatasetError, PromotionError, StudyError, WeightsError
from tuning.ranking import defined, load_record
from tuning.record import StudyRecord, TrialRecord
from tuning.registry import ModelReference, Registry, check_alias, check_model_name, write_model_folder
from tuning.store import Store
from tuning.tracking import absolute_uri, fetch_run_file

if TYPE_CHECKING:
    import pandas as pd

    from pneumo_core.classifier import Classifier

AGREEMENT = {"float32": 1e-3, "float16": 1e-2}
"""The whole model and the trial may differ by this much in a probability, by the precision of the trial's activations:
they add in different orders, and float16 rounds."""


@dataclasses.dataclass(frozen=True)
class PromotionResult:
    """What became of a promotion.

    Attributes:
        promoted: whether the alias now points to the trial's model.
        model: its name in the registry.
        version: its version there; None if it was not registered.
        alias: that was asked for.
        run_id: of the trial's MLflow run.
        metrics: of the whole model on the validation images.
        reasons: why it was not promoted.
    """

    promoted: bool
    model: str
    version: str | None
    alias: str
    run_id: str | None
    metrics: dict[str, float | None]
    reasons: list[str]


def promote(
    store: Store,
    study: str,
    *,
    trial: str | None = None,
    model: str | None = None,
    alias: str = "champion",
    dry_run: bool = False,
    tracking_uri: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> PromotionResult:
    """Builds the whole model of a trial, checks that it scores as the trial did, registers it and sets the alias.

    Args:
        store: that holds the study.
        study: its name.
        trial: id of the trial; the best one if None.
        model: name in the registry; that of the study's space if None.
        alias: to be set.
        dry_run: build and check, register nothing.
        tracking_uri: of MLflow; where the study was logged if None.
        tell: takes sentences for the user.

    Raises:
        StudyError: if there is no such study, trial, or no completed one.
        ModelError: if model or alias cannot be named so.
        DatasetError: if the study's images changed or are gone.
        PromotionError: if the whole model scores differently from the trial.
        TrackingError: if MLflow fails.

    Side effects:
        Writes to the registry, unless it is a dry run.
    """
    record = load_record(store, study)
    if tracking_uri is not None:
        record.started = dataclasses.replace(record.started, tracking_uri=absolute_uri(tracking_uri))
    chosen = choose_trial(record, trial)
    name = check_model_name(model or record.started.space)
    check_alias(alias)
    registry = Registry(store, _foreign_uri(store, record))
    with tempfile.TemporaryDirectory(prefix="tune-promote-") as scratch:
        folder = Path(scratch) / "model"
        tell(f"building the whole model of {chosen.trial}")
        metrics = _build(record, chosen, folder, Path(scratch))
        reference = None
        if not dry_run:
            tell(f"registering it as {name}")
            tags = _lineage(record, chosen)
            reference = registry.register(folder, name, alias, run_id=chosen.run_id or "", metrics=metrics, tags=tags)
    return _result(chosen, name, alias, metrics, reference)


def choose_trial(record: StudyRecord, trial: str | None) -> TrialRecord:
    """Returns the named trial, or the best.

    Raises:
        StudyError: if there is none of that name, it has no score, or it is not in MLflow.
    """
    study = record.started.study
    if trial is None:
        best = record.best()
        if best is None:
            raise StudyError(f"study {study}: has no completed trial; nothing can be promoted.")
        trial = best.trial
    if trial not in record.trials:
        raise StudyError(f"study {study}: has no trial {trial}; see `tune leaderboard {study}`.")
    chosen = record.trials[trial]
    if chosen.status != "completed":
        raise StudyError(f"trial {trial} of {study}: is {chosen.status}, expected a completed one.")
    if chosen.run_id is None:
        raise StudyError(f"trial {trial} of {study}: was never logged to MLflow, so its weights are not there.")
    return chosen


def _build(record: StudyRecord, trial: TrialRecord, folder: Path, scratch: Path) -> dict[str, float]:
    """Writes the model's folder, with the validation images rescored through it, and returns their metrics."""
    from pneumo_core.evaluation import compute_metrics
    from pneumo_core.runtime import start_tensorflow

    start_tensorflow()
    from tuning.trial import SCORES_FILE

    classifier = _assemble(record, trial, folder, scratch)
    scores = _rescore(record, classifier)
    _require_agreement(trial, scores, fetch_run_file(record, trial, SCORES_FILE, scratch))
    scores.to_csv(folder / "validation_scores.csv", index=False)
    (folder / "config.json").write_text(json.dumps(trial.config, indent=2) + "\n")
    return {f"val_{name}": value for name, value in compute_metrics(scores).items()}


def _assemble(record: StudyRecord, trial: TrialRecord, folder: Path, scratch: Path) -> Classifier:
    """Stitches prefix, suffix and head, writes the folder, and returns the classifier as loaded back from it."""
    from pneumo_core.backbone import load_backbone_weights
    from pneumo_core.classifier import DEFAULT_THRESHOLD, Classifier, ClassifierSettings
    from pneumo_core.config import TrialConfig
    from pneumo_core.model import build_classifier, read_weights
    from tuning.trial import WEIGHTS_FILE

    config = TrialConfig.from_mapping(trial.config)
    weights = load_backbone_weights(config.weights, config.weights_seed)
    if weights.digest != trial.weights_digest:
        raise WeightsError(
            f"weights {config.weights}: are no longer those that trial {trial.trial} started from; bring the file back."
        )
    arrays = read_weights(fetch_run_file(record, trial, WEIGHTS_FILE, scratch))
    negative, positive = record.started.class_names
    settings = ClassifierSettings(config.image_size, (negative, positive), DEFAULT_THRESHOLD, config.preprocessing)
    write_model_folder(folder, build_classifier(config, weights, arrays), settings)
    return Classifier.load(folder)


def _rescore(record: StudyRecord, classifier: Classifier) -> pd.DataFrame:
    """Scores the study's validation images through the whole model."""
    from pneumo_core.dataset import index_dataset
    from pneumo_core.evaluation import score_table
    from pneumo_core.images import read_images
    from pneumo_core.splits import holdout

    started = record.started
    negative, positive = started.class_names
    dataset = index_dataset(Path(started.data_root), class_names=(negative, positive), skip_unreadable=True)
    split = holdout(dataset.manifest)
    if (dataset.digest, split.digest) != (started.data_digest, started.split_digest):
        raise DatasetError(
            f"{started.data_root}: the images are no longer those of study {started.study}; bring them back, or run "
            "a new study on the new ones."
        )
    paths, settings = split.validation["path"].tolist(), classifier.settings
    pixels = read_images(dataset.root, paths, settings.image_size, settings.preprocessing)
    return score_table(split.validation, classifier.probabilities(pixels))


def _require_agreement(trial: TrialRecord, scores: pd.DataFrame, trials_own: Path) -> None:
    import pandas as pd

    before = pd.read_csv(trials_own)
    if before["path"].tolist() != scores["path"].tolist():
        raise PromotionError(f"trial {trial.trial}: its scores are of other images than those of its study.")
    difference = float((before["probability"] - scores["probability"]).abs().max())
    limit = AGREEMENT[trial.config.get("activation_precision", "float32")]
    if not difference <= limit:
        raise PromotionError(
            f"trial {trial.trial}: the whole model differs from the trial by {difference:.2g} in a probability, "
            f"expected at most {limit:g}; nothing was registered."
        )


def _lineage(record: StudyRecord, trial: TrialRecord) -> dict[str, str]:
    started = record.started
    return {
        "pneumo.study": started.study,
        "pneumo.trial": trial.trial,
        "pneumo.space_digest": started.space_digest,
        "pneumo.data_digest": started.data_digest,
        "pneumo.split_digest": started.split_digest,
        "pneumo.weights_digest": trial.weights_digest or "",
        "pneumo.git_commit": started.commit,
    }


def _foreign_uri(store: Store, record: StudyRecord) -> str | None:
    """The study's tracking server, or None if it was logged to the store's own database."""
    from tuning.tracking import embedded_uri

    uri = record.started.tracking_uri
    return None if uri == embedded_uri(store) else uri


def _result(
    trial: TrialRecord, name: str, alias: str, metrics: dict[str, Any], reference: ModelReference | None
) -> PromotionResult:
    return PromotionResult(
        promoted=reference is not None,
        model=name,
        version=reference.version if reference else None,
        alias=alias,
        run_id=trial.run_id,
        metrics={key: defined(value) for key, value in metrics.items()},
        reasons=[] if reference else ["dry run: built and checked, nothing registered"],
    )
