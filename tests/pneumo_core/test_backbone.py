"""VGG16 is cut where the configuration says, and its weights are what they claim to be."""

from pathlib import Path

import keras
import numpy as np
import pytest

from pneumo_core import backbone
from pneumo_core.activations import apply_in_batches, compiled
from pneumo_core.backbone import CONVOLUTION_NAMES, build_prefix, frozen_blocks, load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.errors import DownloadError, WeightsError
from pneumo_core.model import build_trainee

RANDOM = load_backbone_weights("random", 0)


def _vgg16_with(weights: backbone.BackboneWeights, size_px: int = 32) -> keras.Model:
    model = keras.applications.VGG16(include_top=False, weights=None, input_shape=(size_px, size_px, 3))
    for name, arrays in weights.arrays.items():
        model.get_layer(name).set_weights(list(arrays))
    return model


@pytest.mark.parametrize(
    ("unfrozen", "blocks"), [(0, 5), (1, 4), (3, 4), (4, 3), (6, 3), (7, 2), (9, 2), (10, 1), (11, 1), (12, 0), (13, 0)]
)
def test_the_cut_lies_below_every_unfrozen_convolution(unfrozen: int, blocks: int) -> None:
    """The prefix ends at the deepest block boundary that leaves all unfrozen layers to the suffix."""
    assert frozen_blocks(unfrozen) == blocks


@pytest.mark.parametrize("scaling", ["caffe", "unit"])
def test_the_prefix_is_vgg16_on_scaled_gray_pixels(scaling: str) -> None:
    """Prefix output equals Keras' own preprocessing and VGG16, channel order included."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1)).astype(np.uint8)
    config = TrialConfig(weights="random", image_size=32, pixel_scaling=scaling)
    rgb = np.repeat(pixels, 3, axis=3).astype(np.float32)
    scaled = keras.applications.vgg16.preprocess_input(rgb.copy()) if scaling == "caffe" else rgb / 255
    expected = _vgg16_with(RANDOM).predict(scaled, verbose=0)
    actual = apply_in_batches(compiled(build_prefix(config, RANDOM)), pixels)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3 * expected.std())


@pytest.mark.parametrize(
    ("unfrozen", "pooling"),
    [
        *[(0, "flatten"), (0, "average"), (3, "flatten"), (6, "average"), (13, "flatten")],
        *(
            pytest.param(*other, marks=pytest.mark.slow)
            for other in [(1, "flatten"), (1, "average"), (3, "average"), (6, "flatten"), (13, "average")]
        ),
    ],
)
def test_prefix_and_suffix_together_are_the_whole_backbone(unfrozen: int, pooling: str) -> None:
    """Wherever the cut lies, the features in front of the head are the same."""
    config = TrialConfig(weights="random", image_size=32, unfrozen_layers=unfrozen, pooling=pooling)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.uint8)
    activations = apply_in_batches(compiled(build_prefix(config, RANDOM)), pixels)[0]
    trainee = build_trainee(config, RANDOM, activations.shape[1:])
    features = keras.Model(trainee.input, trainee.get_layer("standardize").input)(activations)
    rgb = keras.applications.vgg16.preprocess_input(np.repeat(pixels, 3, axis=3).astype(np.float32))
    whole = _vgg16_with(RANDOM).predict(rgb, verbose=0)
    expected = whole.mean(axis=(1, 2)) if pooling == "average" else whole
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_and_results_float32() -> None:
    """Another rounding, not another network: activations stay within a hundredth, and what is trained is float32."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.uint8)
    base = {"weights": "random", "image_size": 32, "pixel_scaling": "unit", "unfrozen_layers": 1}
    exact, mixed = TrialConfig(**base), TrialConfig(**base, precision="mixed_bfloat16")
    expected, actual = (apply_in_batches(compiled(build_prefix(one, RANDOM)), pixels)[0] for one in (exact, mixed))
    assert actual.dtype == np.float32
    assert 1e-4 < np.linalg.norm(actual - expected) / np.linalg.norm(expected) < 1e-2
    trainee = build_trainee(mixed, RANDOM, actual.shape[1:])
    assert trainee.get_layer("block5_conv3").compute_dtype == "bfloat16"
    assert {str(variable.dtype) for variable in trainee.weights} == {"float32"}
    assert trainee.output.dtype == "float32"


@pytest.mark.parametrize("unfrozen", [0, 3, 5, *(pytest.param(number, marks=pytest.mark.slow) for number in (1, 13))])
def test_exactly_the_asked_for_convolutions_train(unfrozen: int) -> None:
    """Counted from the top, whole blocks in the suffix or not; the notebook's layers[:-4] is 3."""
    config = TrialConfig(weights="random", image_size=32, unfrozen_layers=unfrozen)
    shape = build_prefix(config, RANDOM).output.shape[1:]
    trainee = build_trainee(config, RANDOM, shape)
    trained = {layer.name for layer in trainee.layers if "conv" in layer.name and layer.trainable_weights}
    assert trained == set(CONVOLUTION_NAMES[len(CONVOLUTION_NAMES) - unfrozen :])
    assert not build_prefix(config, RANDOM).trainable_weights


def test_random_weights_are_he_normal_and_follow_their_seed() -> None:
    """Activations neither vanish nor explode through 13 layers, and equal seeds give equal weights."""
    assert load_backbone_weights("random", 0).digest == RANDOM.digest
    assert load_backbone_weights("random", 1).digest != RANDOM.digest
    kernel, bias = RANDOM.arrays["block4_conv2"]
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.02)
    assert not bias.any()


@pytest.mark.parametrize("kind", ["notop.h5", "whole.h5", "nested.h5", "vgg.weights.h5", "vgg.keras", "nested.keras"])
def test_weights_are_read_from_every_file_keras_writes(tmp_path: Path, kind: str) -> None:
    """Official `notop` layout, whole models, models that hold VGG16 as a layer, Keras 3 formats."""
    model, path = _vgg16_with(RANDOM), tmp_path / kind
    if kind.startswith("nested"):
        model = keras.Sequential([keras.Input((32, 32, 3)), model, keras.layers.Flatten(), keras.layers.Dense(1)])
    if kind == "notop.h5":
        _write_official_layout(path, RANDOM)
    elif kind.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    assert load_backbone_weights(str(path), 0).digest == RANDOM.digest


def _write_official_layout(path: Path, weights: backbone.BackboneWeights) -> None:
    """As in vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5: block1_conv1/block1_conv1_W_1:0 and …_b_1:0."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, (kernel, bias) in weights.arrays.items():
            file[f"{name}/{name}_W_1:0"], file[f"{name}/{name}_b_1:0"] = kernel, bias


@pytest.mark.parametrize("content", [b"", b"not an HDF5 file", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
def test_damaged_weight_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    """Whatever Keras, zipfile or h5py throw, the user reads one sentence with the file's name."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name) as error:
        load_backbone_weights(str(tmp_path / name), 0)
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """A readable file without VGG16's layers is not taken for one."""
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(WeightsError, match="block1_conv1"):
        load_backbone_weights(str(tmp_path / "other.keras"), 0)


def test_a_missing_file_names_the_choices() -> None:
    """A typo in `imagenet` or a path says what is possible."""
    with pytest.raises(WeightsError, match="expected imagenet, random, or the path"):
        load_backbone_weights("imagnet", 0)


def test_unreachable_imagenet_weights_name_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network nothing falls back silently: the message says what else can be done."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("URL fetch failure: Connection refused")

    monkeypatch.setattr(keras.applications, "VGG16", unreachable)
    with pytest.raises(DownloadError, match=r"Connection refused.*--set weights=random"):
        load_backbone_weights("imagenet", 0)
