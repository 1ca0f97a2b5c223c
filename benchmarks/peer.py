"""The stock recipe under plain keras-tuner and MLflow, as a competent user writes it today.

The frozen base is part of the graph, images come from `image_dataset_from_directory` and stay decoded in memory
(`.cache()`), every epoch runs all of VGG16 over them, and `log_model` keeps each trial's whole model. It is started by
`frozen_layers.py`, in a process of its own:

    python benchmarks/peer.py FOLDER CONFIGS.json OUT.json

FOLDER holds `training/` and `validation/` with a folder for each class; CONFIGS.json a list of `TrialConfig` mappings.
Only the convolution weights come from this project: the same random ones for both.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import keras_tuner as kt
import mlflow
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from pneumo_core.backbone import load_backbone_weights


class Given(kt.Oracle):
    """Proposes the given configurations, one after another."""

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        super().__init__(objective=kt.Objective("val_auc", "max"), max_trials=len(configs))
        self.configs = configs

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next configuration."""
        return {"status": "RUNNING", "values": self.configs[len(self.start_order)]}


def build_model(defaults: dict[str, Any], hp: kt.HyperParameters) -> keras.Model:
    """The notebook's model: Flatten or average pooling → Dense → Dropout → sigmoid on VGG16."""
    config = {**defaults, **hp.values}  # keras-tuner first builds a model without values
    size = config["image_size"]
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(size, size, 3))
    for name, arrays in load_backbone_weights(config["weights"], config["weights_seed"]).arrays.items():
        base.get_layer(name).set_weights(list(arrays))
    unfrozen = [layer.name for layer in base.layers if "conv" in layer.name][13 - config["unfrozen_layers"] :]
    for layer in base.layers:
        layer.trainable = layer.name in unfrozen
    flat = keras.layers.Flatten() if config["pooling"] == "flatten" else keras.layers.GlobalAveragePooling2D()
    head = [keras.layers.Dense(config["head_units"], activation="relu"), keras.layers.Dropout(config["dropout"])]
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Rescaling(1 / 255),
            base,
            flat,
            *head,
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    optimizer = keras.optimizers.get({"class_name": config["optimizer"], "config": {"learning_rate": 1.0}})
    optimizer.learning_rate = config["learning_rate"]
    model.compile(optimizer, loss="binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    return model


class Tuner(kt.Tuner):
    """Fits each model and logs it to MLflow."""

    times: list[dict[str, float]]

    def run_trial(self, trial: Any, training: tf.data.Dataset, validation: tf.data.Dataset) -> dict[str, float]:
        """One trial; notes how long its parts took."""
        begun, config = time.perf_counter(), trial.hyperparameters.values
        keras.utils.set_random_seed(config["seed"])
        with mlflow.start_run(run_name=trial.trial_id):
            mlflow.log_params(config)
            model = self.hypermodel.build(trial.hyperparameters)
            logger = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: mlflow.log_metrics(logs, step=epoch)
            )
            best = keras.callbacks.EarlyStopping(patience=config["epochs"], restore_best_weights=True)
            history = model.fit(
                training, validation_data=validation, epochs=config["epochs"], verbose=0, callbacks=[logger, best]
            )
            fitted = time.perf_counter()
            mlflow.keras.log_model(model, name="model")
        ended = time.perf_counter()  # what follows is for the comparison alone
        labels = [label for _, batch in validation for label in batch.numpy().ravel()]
        auc = float(roc_auc_score(labels, model.predict(validation, verbose=0).ravel()))
        times = {
            "training_s": fitted - begun,
            "bookkeeping_s": ended - fitted,
            "scoring_s": time.perf_counter() - ended,
        }
        self.times.append({**times, "val_roc_auc": auc})
        print(f"peer trial: {self.times[-1]}", flush=True)
        return {"val_auc": max(history.history["val_auc"])}


def datasets(folder: Path, size_px: int, batch_size: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Training and validation images, decoded once and kept in memory."""
    options = {"label_mode": "binary", "image_size": (size_px, size_px), "batch_size": batch_size, "verbose": False}
    training = keras.utils.image_dataset_from_directory(folder / "training", seed=0, **options)
    validation = keras.utils.image_dataset_from_directory(folder / "validation", shuffle=False, **options)
    return training.cache().shuffle(200).prefetch(tf.data.AUTOTUNE), validation.cache().prefetch(tf.data.AUTOTUNE)


def main(folder: Path, configs: list[dict[str, Any]], out: Path) -> None:
    """Searches the given configurations and writes how long each took."""
    mlflow.set_tracking_uri(f"sqlite:///{out.parent / 'mlflow.db'}")
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("peer", artifact_location=str(out.parent / "artifacts"))
    )
    training, validation = datasets(folder, configs[0]["image_size"], configs[0]["batch_size"])
    oracle = Given(configs)
    oracle.verbose = 0
    tuner = Tuner(
        oracle, lambda hp: build_model(configs[0], hp), directory=str(out.parent / "tuner"), project_name="peer"
    )
    tuner.times = []
    tuner.search(training, validation)
    out.write_text(json.dumps(tuner.times))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]).absolute())
