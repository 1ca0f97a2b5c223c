"""Studies in folds promote a refit, calibrated by out-of-fold scores; the test folder is opened once, on the record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from pneumo_core.errors import PromotionError
from pneumo_core.images import read_images
from pneumo_core.operating_point import OperatingPoint, fit_operating_point
from tuning.api import run_study
from tuning.models.ledger import Ledger
from tuning.models.misgivings import contradictions, drift
from tuning.models.promotion import PromotionResult, promote
from tuning.models.whole_model import confirming_run
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store

SPACE = """\
name: refit
trials: 2
epochs: 8
fixed:
  {weights: random, activation_precision: float32, image_size: 32, pixel_scaling: unit, pooling: average,
   batch_size: 16, head_units: 32, learning_rate: 3.0e-3, learning_rate_schedule: cosine}
parameters:
  dropout: {type: choice, values: [0.0, 0.2]}
confirm: {top: 1, seeds: 3, folds: 2}
"""


def _study(root: Path, data: Path) -> tuple[Store, StudyRecord]:
    (root / "refit.yaml").write_text(SPACE)
    run_study(str(root / "refit.yaml"), data, study="s", folds=2, store=root, workers=0, plots=False, progress=False)
    return Store.at(root), load_record(Store.at(root), "s")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, phantoms: Path) -> tuple[Store, StudyRecord]:
    """A confirmed study in two folds."""
    return _study(tmp_path_factory.mktemp("store"), phantoms)


@pytest.fixture(scope="module")
def promoted(study: tuple[Store, StudyRecord]) -> list[PromotionResult]:
    """A dry run, the promotion, and the same model once more under another alias."""
    asked = ((True, "champion"), (False, "champion"), (False, "again"))
    return [promote(study[0], "s", dry_run=dry_run, alias=alias, policy="demo") for dry_run, alias in asked]


def _folder(record: StudyRecord) -> Path:
    mlflow.set_tracking_uri(record.started.tracking_uri)
    return Path(mlflow.artifacts.download_artifacts("models:/refit@champion"))


def test_the_confirmed_winner_is_trained_on_all_images_for_its_epochs_and_rates(
    study: tuple[Store, StudyRecord], promoted: list[PromotionResult]
) -> None:
    """The training with the median best epoch is repeated; the result says so, and the configuration is its own."""
    _, record = study
    winner = record.best()
    assert winner is not None
    run = confirming_run(record, winner)
    epochs = sorted(record.trials[name].best_epoch or 0 for name in winner.confirmed.runs)  # type: ignore[union-attr]
    assert run.best_epoch == epochs[1]
    images = record.started.images["validation"]
    assert promoted[1].origin.startswith(f"refit on all {images} images for {epochs[1] + 1} epoch")
    assert run.trial in promoted[1].origin
    assert promoted[1].trial == winner.trial
    assert promoted[1].confirmed
    assert json.loads((_folder(record) / "config.json").read_text()) == run.config


def test_threshold_and_temperature_come_from_out_of_fold_scores(
    study: tuple[Store, StudyRecord], promoted: list[PromotionResult]
) -> None:
    """Of all seeds of the winner; the model's probabilities have the temperature inside."""
    store, record = study
    winner = record.best()
    assert winner is not None
    tables = [pd.read_csv(store.studies / "s/confirmation" / f"{run}.csv") for run in winner.confirmed.runs]  # type: ignore[union-attr]
    point = fit_operating_point(tables)
    assert promoted[1].operating_point == point.to_mapping()
    folder = _folder(record)
    settings = json.loads((folder / "classifier.json").read_text())
    assert settings["threshold"] == point.threshold
    layers = {layer.name: layer for layer in mlflow.keras.load_model("models:/refit@champion").layers}
    assert 1 / layers["temperature"].scale == pytest.approx(point.temperature, rel=1e-6)
    report = json.loads((folder / "validation_report.json").read_text())
    assert (report["folds"], report["seeds"]) == (2, 3)


def test_the_test_folder_is_scored_once_with_the_model_that_leaves(
    study: tuple[Store, StudyRecord], promoted: list[PromotionResult], phantoms: Path
) -> None:
    """Its stored table agrees with the Keras face; the AUC in result and registry is scikit-learn's."""
    _, record = study
    folder = _folder(record)
    table = pd.read_csv(folder / "test_scores.csv")
    assert table["path"].str.startswith("test/").all()
    model = mlflow.keras.load_model("models:/refit@champion")
    pixels = read_images(phantoms, table["path"].tolist(), 32).astype(np.float32)
    np.testing.assert_allclose(np.asarray(model(pixels))[:, 0], table["probability"], atol=1e-5)
    np.testing.assert_allclose(expit(table["logit"]), table["probability"], atol=1e-12)
    auc = roc_auc_score(table["label"], table["logit"])
    assert promoted[1].metrics["test_roc_auc"] == pytest.approx(auc, abs=1e-12)
    called = table["probability"] >= promoted[1].operating_point["threshold"]
    assert promoted[1].metrics["test_sensitivity"] == pytest.approx(called[table["label"] == 1].mean())
    assert (folder / "grad_cam.png").stat().st_size > 10_000
    version = MlflowClient(record.started.tracking_uri).get_model_version_by_alias("refit", "champion")
    assert version.tags["pneumo.confirmed"] == "true"


def test_the_ledger_tells_the_story(study: tuple[Store, StudyRecord], promoted: list[PromotionResult]) -> None:
    """The dry run left it closed; the second promotion came to the same bits, so stored scores were read."""
    store, _ = study
    dry, first, second = promoted
    assert [entry.outcome for entry in Ledger(store).entries()] == ["opened", "scored", "reused"]
    assert dry.test is None
    assert not any(name.startswith("test_") for name in dry.metrics)
    assert (first.test or {})["reused"] is False
    assert (second.test or {})["reused"] is True
    assert (second.test or {})["openings"] == 1
    assert first.metrics == second.metrics


def test_patients_on_both_sides_of_the_test_folder_are_refused_on_the_record(phantoms: Path, tmp_path: Path) -> None:
    """Before any test image is scored; with the reason in the ledger, and nothing registered."""
    shutil.copytree(phantoms, tmp_path / "data")
    image = next(path for path in sorted((tmp_path / "data/train/PNEUMONIA").iterdir()))
    shutil.copy(image, tmp_path / "data/test/PNEUMONIA" / image.name)
    store, record = _study(tmp_path, tmp_path / "data")
    with pytest.raises(PromotionError, match="patients have images both in test/ and outside it"):
        promote(store, "s")
    (entry,) = Ledger(store).entries()
    assert entry.outcome == "refused"
    assert "would flatter" in entry.reason
    assert not MlflowClient(record.started.tracking_uri).search_registered_models()


def test_a_refit_that_is_worse_on_its_own_images_is_refused() -> None:
    """Its scores have moved away from those that chose the threshold; being better on them is what is expected."""
    point = OperatingPoint(threshold=0.8, temperature=0.5)
    metrics = {"val_sensitivity": 0.95, "val_sensitivity_low": 0.93, "val_specificity": 0.7, "val_specificity_low": 0.6}
    labels = np.repeat([0, 1], 100)
    fitting = pd.DataFrame({"label": labels, "logit": np.where(labels == 1, 1.0, -1.0)})
    assert drift(fitting, point, metrics) is None
    moved = fitting.assign(logit=fitting["logit"] - 0.4)  # sigmoid(0.6 / 0.5) = 0.77: nothing is called
    assert "a sensitivity of 0.000 on the very images" in (drift(moved, point, metrics) or "")
    alarmed = fitting.assign(logit=fitting["logit"] + 2.0)
    assert "a specificity of 0.000" in (drift(alarmed, point, metrics) or "")


def test_a_test_folder_that_contradicts_validation_is_told() -> None:
    """Only where the intervals do not even touch."""
    names = ("sensitivity", "specificity")
    ends = {"": 0.95, "_low": 0.93, "_high": 0.97}
    agreeing = {f"{of}_{name}{end}": value for of in ("val", "test") for name in names for end, value in ends.items()}
    assert contradictions(agreeing) == []
    missing = agreeing | {"test_sensitivity": 0.085, "test_sensitivity_low": 0.05, "test_sensitivity_high": 0.142}
    (sentence,) = contradictions(missing)
    assert "sensitivity is 0.085 (0.050 to 0.142) on the test folder, where validation promised 0.950" in sentence
