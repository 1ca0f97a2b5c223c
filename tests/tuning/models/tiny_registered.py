"""A registered model that took no study: a small network with several branches, in a registry of its own."""

from __future__ import annotations

from pathlib import Path

import keras
import pandas as pd
from mlflow import MlflowClient

from pneumo_core.classifier import ClassifierSettings
from pneumo_core.dataset import Dataset, digest_of_test
from tuning.models.model_folder import write_model_folder
from tuning.models.registry import Change, ModelReference, Registry
from tuning.models.study_images import write_study_images
from tuning.store import Store

Shelf = tuple[Store, Registry, ModelReference]

SIZE_PX = 32
THRESHOLD = 0.45


def branched_model(seed: int = 3) -> keras.Model:
    """Three branches with random weights whose mean probability is the model's, as in an ensemble."""
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((SIZE_PX, SIZE_PX, 1), name="pixels")
    shared = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    frozen = keras.Model(pixels, shared, name="prefix")
    members = [_member(number)(frozen(pixels)) for number in (1, 2, 3)]
    logits = keras.layers.Concatenate(name="members")(members)
    positive = keras.ops.log_sigmoid(logits)
    odds = [keras.ops.logsumexp(side, axis=1, keepdims=True) for side in (positive, positive - logits)]
    logit = keras.layers.Rescaling(1 / 1.5, name="temperature")(odds[0] - odds[1])
    return keras.Model(pixels, keras.layers.Activation("sigmoid", name="probability")(logit))


def _member(number: int) -> keras.Model:
    features = keras.Input((SIZE_PX * SIZE_PX,))
    hidden = keras.layers.Dense(8, activation="tanh")(keras.layers.BatchNormalization()(features))
    return keras.Model(features, keras.layers.Dense(1)(hidden), name=f"member{number}")


def register_tiny(root: Path, dataset: Dataset) -> Shelf:
    """Registers such a model as champion of a new store.

    Args:
        root: folder for the store.
        dataset: that the model is said to be of.
    """
    store = Store.at(root)
    registry = Registry(store)
    client = MlflowClient(registry.uri)
    experiment = client.create_experiment("tiny", artifact_location=(store.artifacts / "tiny").as_uri())
    folder = root / "model"
    write_model_folder(folder, branched_model(), ClassifierSettings(SIZE_PX, ("NORMAL", "PNEUMONIA"), THRESHOLD))
    write_study_images(folder, dataset.manifest)
    pd.DataFrame({"path": dataset.manifest["path"], "probability": 0.5}).to_csv(folder / "checked_scores.csv")
    reference = registry.register(
        folder,
        "tiny",
        "champion",
        run_id=client.create_run(experiment).info.run_id,
        metrics={},
        tags={
            "pneumo.study": "none",
            "pneumo.trial": "t0001",
            "pneumo.model_digest": "ab" * 32,
            "pneumo.test_digest": digest_of_test(dataset.manifest),
        },
        change=Change("for tests"),
    )
    return store, registry, reference
