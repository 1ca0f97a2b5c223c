"""Heatmaps are Grad-CAM's, wherever the last convolution lies; samples of cases are fixed."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import ndimage

from pneumo_core.backbone import build_prefix, load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.errors import ModelError
from pneumo_core.explain import grad_cam, sample_cases, sampled_paths
from pneumo_core.model import build_classifier, build_trainee, initialize, trained_weights

RANDOM = load_backbone_weights("random", 0)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1)).astype(np.uint8)


def _tiny(head_sign: float = 1.0, temperature: float | None = None) -> keras.Model:
    """Two nested models, as a classifier is: a convolution of two channels, then average pooling and one output."""
    pixels = keras.Input((8, 8, 1))
    scaled = keras.layers.Rescaling(1 / 255)(pixels)
    features = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="block5_conv3")(scaled)
    prefix = keras.Model(pixels, keras.layers.MaxPooling2D(2)(features), name="prefix")
    kernel = np.full((3, 3, 1, 2), 1 / 9, np.float32)
    kernel[..., 1] *= -1
    prefix.get_layer("block5_conv3").set_weights([kernel, np.array([0.0, 1.0], np.float32)])
    activations = keras.Input((4, 4, 2))
    head = keras.layers.Dense(1, name="logit")
    trainee = keras.Model(activations, head(keras.layers.GlobalAveragePooling2D()(activations)), name="trainee")
    head.set_weights([head_sign * np.array([[3.0], [0.2]], np.float32), np.zeros(1, np.float32)])
    pixels = keras.Input((8, 8, 1), name="pixels")
    logit = trainee(prefix(pixels))
    if temperature:
        logit = keras.layers.Rescaling(1 / temperature, name="temperature")(logit)
    return keras.Model(pixels, keras.layers.Activation("sigmoid", name="probability")(logit))


def _blob(row: int, column: int) -> np.ndarray:
    image = np.zeros((8, 8, 1), np.uint8)
    image[row : row + 2, column : column + 2] = 255
    return image


def _by_differences(image: np.ndarray) -> np.ndarray:
    """Grad-CAM of the tiny model by central differences of its formula, in NumPy float64."""
    gray = image[..., 0] / 255
    mean = ndimage.uniform_filter(gray, 3, mode="constant")
    features = np.stack([mean, 1 - mean], axis=-1)

    def logit(values: np.ndarray) -> float:
        pooled = values.reshape(4, 2, 4, 2, 2).max(axis=(1, 3)).mean(axis=(0, 1))
        return float(3.0 * pooled[0] + 0.2 * pooled[1])

    gradient = np.zeros_like(features)
    for place in np.ndindex(features.shape):
        step = np.zeros_like(features)
        step[place] = 1e-7
        gradient[place] = (logit(features + step) - logit(features - step)) / 2e-7
    heat = np.maximum((gradient.mean(axis=(0, 1)) * features).sum(axis=-1), 0)
    return heat / heat.max()


def _by_hand(config: TrialConfig, arrays: dict[str, np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """Grad-CAM over the layers of prefix and trainee, one after another, as a single chain."""
    prefix = build_prefix(config, RANDOM)
    trainee = build_trainee(config, RANDOM, prefix.output.shape[1:])
    for variable in trainee.weights:
        variable.assign(arrays.get(variable.path, variable.numpy()))
    x = tf.constant(pixels, tf.float32)
    with tf.GradientTape() as tape:
        for layer in (*prefix.layers[1:], *trainee.layers[1:]):
            x = layer([x, x, x]) if layer.name == "gray_to_channels" else layer(x, training=False)
            if layer.name == "block5_conv3":
                features = x
                tape.watch(features)
    alpha = tape.gradient(x, features).numpy().mean(axis=(1, 2))
    coarse = np.maximum(np.einsum("nc,nhwc->nhw", alpha, features.numpy()), 0)
    zoom = pixels.shape[1] / coarse.shape[1]
    heat = np.stack([ndimage.zoom(part, zoom, order=1, mode="nearest", grid_mode=True) for part in coarse])
    return heat / heat.max(axis=(1, 2), keepdims=True)


def test_heat_is_that_of_finite_differences() -> None:
    """An independent computation of the formula, without any automatic gradient."""
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    expected = np.stack([_by_differences(image) for image in images])
    np.testing.assert_allclose(grad_cam(_tiny(), images), expected, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"pooling": "flatten"}, marks=pytest.mark.slow),
        {"pooling": "average", "second_head_units": 8, "feature_scaling": "none"},
        pytest.param({"unfrozen_layers": 1, "pooling": "average"}, marks=pytest.mark.slow),
        {"unfrozen_layers": 13, "batch_normalization": True, "second_head_units": 4},
    ],
    ids=lambda settings: ", ".join(f"{name} {value}" for name, value in settings.items()),
)
def test_heat_of_whole_classifiers_is_that_of_their_layers_one_by_one(
    settings: dict[str, object], tmp_path: Path
) -> None:
    """Wherever the last convolution lies: in the prefix, averaged or not, or in what was trained; and after loading."""
    config = TrialConfig.from_mapping(
        {"weights": "random", "image_size": 64, "pixel_scaling": "unit", "head_units": 16, "seed": 1, **settings}
    )
    trainee = build_trainee(config, RANDOM, build_prefix(config, RANDOM).output.shape[1:])
    initialize(trainee, config, RANDOM)
    arrays = trained_weights(trainee)
    model = build_classifier(config, RANDOM, arrays)
    heat = grad_cam(model, PIXELS)
    assert heat.shape == (3, 64, 64)
    assert heat.dtype == np.float32
    assert (heat.max(axis=(1, 2)) == 1).all()  # or there is nothing to compare
    np.testing.assert_allclose(heat, _by_hand(config, arrays, PIXELS), atol=2e-3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(grad_cam(loaded, PIXELS), heat)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 6), (6, 0), (5, 5)])
def test_heat_lies_where_the_blob_that_decides_is(row: int, column: int) -> None:
    """Whichever corner it is in: rows and columns are not exchanged, nothing is mirrored."""
    heat = grad_cam(_tiny(), _blob(row, column)[None])[0]
    inside = np.zeros((8, 8), bool)
    inside[max(row - 1, 0) : row + 3, max(column - 1, 0) : column + 3] = True
    assert heat[inside].mean() > 3 * heat[~inside].mean()
    assert inside[np.unravel_index(heat.argmax(), heat.shape)]


def test_an_image_in_which_nothing_raises_the_score_stays_cold() -> None:
    """Zero, not a number divided by zero, and no noise blown up to full heat."""
    heat = grad_cam(_tiny(head_sign=-1), _blob(2, 2)[None])
    assert not heat.any()


def test_a_sure_call_has_heat() -> None:
    """The probability of 1.0 has no gradient left; the logit has."""
    model = _tiny()
    head = model.get_layer("trainee").get_layer("logit")
    head.set_weights([1000 * head.get_weights()[0], np.full(1, 50.0, np.float32)])
    images = _blob(2, 2)[None]
    assert float(model(images.astype(np.float32))[0, 0]) == 1.0
    np.testing.assert_allclose(grad_cam(model, images), grad_cam(_tiny(), images), atol=1e-5)


def test_a_temperature_in_front_of_the_sigmoid_changes_nothing() -> None:
    """Calibration rescales the logit, and heat is relative."""
    images = np.stack([_blob(0, 0), _blob(3, 4)])
    np.testing.assert_allclose(grad_cam(_tiny(temperature=2.5), images), grad_cam(_tiny(), images), atol=1e-6)


def test_batches_and_repetition_do_not_show() -> None:
    """Images never share heat; equal calls give equal bits, and the model stays as it was."""
    images, model = np.random.default_rng(2).integers(0, 256, (7, 8, 8, 1)).astype(np.uint8), _tiny()
    before = model(images.astype(np.float32)).numpy()
    at_once = grad_cam(model, images)
    np.testing.assert_array_equal(grad_cam(model, images), at_once)
    np.testing.assert_allclose(grad_cam(model, images, batch_size=3), at_once, atol=1e-6)
    np.testing.assert_allclose(grad_cam(model, images[4:5]), at_once[4:5], atol=1e-6)
    np.testing.assert_array_equal(model(images.astype(np.float32)).numpy(), before)
    assert grad_cam(model, images[:0]).shape == (0, 8, 8)


def test_models_without_the_two_layers_are_refused_in_a_sentence() -> None:
    """No convolution to look at, or no probability whose logit could be found."""
    pixels = keras.Input((8, 8, 1))
    flat = keras.layers.Dense(1)(keras.layers.Flatten()(pixels))
    with pytest.raises(ModelError, match="expected a classifier that ends in a layer named probability"):
        grad_cam(keras.Model(pixels, flat), _blob(0, 0)[None])
    dense = keras.Model(pixels, keras.layers.Activation("sigmoid", name="probability")(flat))
    with pytest.raises(ModelError, match="with a convolution, found none"):
        grad_cam(dense, _blob(0, 0)[None])


def _scores(count: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    paths = [f"val/A/{number}.jpeg" for number in range(count)]
    labels, probabilities = rng.integers(0, 2, count), rng.random(count)
    return pd.DataFrame(
        {"path": paths, "group": paths, "subtype": "virus", "label": labels, "probability": probabilities}
    )


def test_cases_are_of_the_kind_they_are_said_to_be() -> None:
    """Counts are those of the confusion matrix; a probability on the threshold is a positive call."""
    scores = _scores()
    scores.loc[0, ["label", "probability"]] = (0, 0.6)
    cases = {kind.kind: kind for kind in sample_cases(scores, 0.6, per_kind=3)}
    called = scores["probability"] >= 0.6
    assert called[0]
    for name, label, positive in (
        ("true positives", 1, True), ("false negatives", 1, False),
        ("false positives", 0, True), ("true negatives", 0, False),
    ):  # fmt: skip
        kind = cases[name]
        assert kind.found == int(((scores["label"] == label) & (called == positive)).sum())
        assert kind.of_class == int((scores["label"] == label).sum())
        assert len(kind.rows) == min(3, kind.found)
        assert (kind.rows["label"] == label).all()
        assert ((kind.rows["probability"] >= 0.6) == positive).all()
        assert kind.rows["probability"].is_monotonic_decreasing
    assert list(cases) == ["true positives", "false negatives", "false positives", "true negatives"]


def test_the_sample_depends_on_the_images_alone() -> None:
    """Shuffled rows give the same sample, other images do not push a drawn one out of its place, another seed does."""
    scores = _scores()
    drawn = sampled_paths(sample_cases(scores, 0.5))
    assert sampled_paths(sample_cases(scores.sample(frac=1, random_state=1), 0.5)) == drawn
    assert set(sampled_paths(sample_cases(scores, 0.5, per_kind=2))) < set(drawn)
    assert sampled_paths(sample_cases(scores, 0.5, seed=1)) != drawn
    kept = set(drawn)
    fewer = scores[scores["path"].isin(kept) | (scores.index % 2 == 0)]
    assert set(sampled_paths(sample_cases(fewer, 0.5))) == kept


def test_a_kind_that_does_not_occur_is_empty() -> None:
    """Every image called positive leaves no negatives to show; fewer images than asked for are all shown."""
    cases = {kind.kind: kind for kind in sample_cases(_scores(6), 0.0, per_kind=10)}
    assert cases["false negatives"].found == cases["true negatives"].found == 0
    assert cases["false negatives"].rows.empty
    assert len(cases["true positives"].rows) == cases["true positives"].found > 0
