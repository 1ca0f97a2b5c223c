"""VGG16, its weights, and its cut into a frozen prefix and a trained suffix.

The cut lies at a block boundary: the prefix ends with the deepest block below every unfrozen convolution, the suffix is
the rest. What the prefix computes depends only on the image, never on the trial's training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from pneumo_core.config import TrialConfig
from pneumo_core.errors import DownloadError, WeightsError
from pneumo_core.seeds import derive

CONVOLUTIONS_PER_BLOCK = (2, 2, 3, 3, 3)
"""Convolution layers in VGG16's blocks 1 to 5 (Simonyan & Zisserman 2015, configuration D)."""

CONVOLUTION_NAMES = tuple(
    f"block{block}_conv{conv}"
    for block, convolutions in enumerate(CONVOLUTIONS_PER_BLOCK, start=1)
    for conv in range(1, convolutions + 1)
)
"""Names of the 13 convolution layers, from the image upwards."""

_CAFFE_OFFSETS = [-103.939, -116.779, -123.68]  # ImageNet means in BGR order: keras.applications.imagenet_utils


@dataclasses.dataclass(frozen=True)
class BackboneWeights:
    """Kernels and biases of VGG16's convolutions, by layer name, and the SHA-256 over all of them."""

    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]]
    digest: str


def load_backbone_weights(source: str, seed: int) -> BackboneWeights:
    """Reads, downloads or draws VGG16's convolution weights.

    Args:
        source: `imagenet`, `random`, or the path of an `.h5`, `.weights.h5` or `.keras` file.
        seed: for `random` only.

    Raises:
        DownloadError: if the ImageNet weights are neither in Keras' cache nor within reach.
        WeightsError: if the file is missing, unreadable, or holds no VGG16.
    """
    with keras.device("cpu:0"):  # a GPU draws other last digits, and the study's process has no use for its memory
        if source == "random":
            arrays = _random_arrays(seed)
        elif source == "imagenet":
            arrays = _imagenet_arrays()
        else:
            arrays = _file_arrays(Path(source))
    digest = hashlib.sha256()
    for name in CONVOLUTION_NAMES:
        for array in arrays[name]:
            digest.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())
    return BackboneWeights(arrays=arrays, digest=digest.hexdigest())


@dataclasses.dataclass(frozen=True, order=True)
class Cut:
    """Where the frozen prefix ends.

    Attributes:
        blocks: how many of VGG16's five blocks, from the image upwards, it holds.
        pooled: whether its output is averaged over positions.
    """

    blocks: int
    pooled: bool

    @classmethod
    def of(cls, config: TrialConfig) -> Cut:
        """Returns the deepest cut below everything that a configuration trains."""
        return cls(frozen_blocks(config.unfrozen_layers), config.unfrozen_layers == 0 and config.pooling == "average")

    def shape(self, image_size: int) -> tuple[int, ...]:
        """Returns the shape of one image's activations: (H, W, C), or (C,) if pooled."""
        side, channels = image_size // 2**self.blocks, _filters(self.blocks) if self.blocks else 3
        return (channels,) if self.pooled else (side, side, channels)


def build_prefix(config: TrialConfig, weights: BackboneWeights) -> keras.Model:
    """Returns the frozen part: from gray pixels (N, image_size, image_size, 1), 0 to 255, to activations.

    Pixel scaling is inside. Activations are (N, H, W, C); with nothing unfrozen and average pooling they are pooled,
    (N, 512).
    """
    return build_prefixes(config, weights, [Cut.of(config)], name="prefix")


def build_prefixes(
    config: TrialConfig, weights: BackboneWeights, cuts: Sequence[Cut], name: str = "prefixes"
) -> keras.Model:
    """Returns several prefixes as one model, which runs what they share once.

    Args:
        config: for image size and pixel scaling.
        weights: of the backbone.
        cuts: where the outputs lie, at least one.
        name: of the model.

    Returns:
        A model from pixels, as those of `build_prefix`, to a list of activations in the order of `cuts`, or to a single
        output if there is but one.
    """
    pixels = keras.Input((config.image_size, config.image_size, 1), name="pixels")
    deepest = max(cut.blocks for cut in cuts)
    after_block = {0: _scale_pixels(pixels, config.pixel_scaling)}
    for layer in _block_layers(config, weights, lambda layer_name: _block_of(layer_name) <= deepest):
        layer.trainable, block = False, _block_of(layer.name)
        after_block[block] = layer(after_block.get(block, after_block[max(after_block)]))
    outputs = [pool(after_block[cut.blocks], "average") if cut.pooled else after_block[cut.blocks] for cut in cuts]
    return keras.Model(pixels, outputs if len(outputs) > 1 else outputs[0], name=name)


def apply_suffix(config: TrialConfig, weights: BackboneWeights, activations: Any) -> Any:
    """Puts the trained part of the backbone on a symbolic tensor of prefix activations and returns its output.

    Convolutions that the suffix holds only because the cut lies at a block boundary stay frozen.
    """
    if config.unfrozen_layers == 0:
        return activations
    blocks = frozen_blocks(config.unfrozen_layers)
    unfrozen = set(CONVOLUTION_NAMES[-config.unfrozen_layers :])
    for layer in _block_layers(config, weights, lambda name: _block_of(name) > blocks):
        layer.trainable = layer.name in unfrozen
        activations = layer(activations)
    return pool(activations, config.pooling)


def pool(activations: Any, pooling: str) -> Any:
    """Averages a symbolic (N, H, W, C) over H and W for `average`; `flatten` is left to the head."""
    return keras.layers.GlobalAveragePooling2D(name="average")(activations) if pooling == "average" else activations


def _block_of(layer_name: str) -> int:
    return int(layer_name[len("block")])


def _filters(block: int) -> int:
    return int(min(64 * 2 ** (block - 1), 512))


def frozen_blocks(unfrozen_layers: int) -> int:
    """Returns how many of VGG16's five blocks, from the image upwards, hold no unfrozen convolution."""
    frozen, convolutions_from_image = 0, len(CONVOLUTION_NAMES) - unfrozen_layers
    for convolutions in CONVOLUTIONS_PER_BLOCK:
        convolutions_from_image -= convolutions
        if convolutions_from_image < 0:
            break
        frozen += 1
    return frozen


def _block_layers(config: TrialConfig, weights: BackboneWeights, wanted: Callable[[str], bool]) -> list[Any]:
    """Fresh layers of the wanted blocks in order, weights set; VGG16 is a plain chain of layers."""
    vgg16 = keras.applications.VGG16(
        include_top=False, weights=None, input_shape=(config.image_size, config.image_size, 3)
    )
    layers = [layer for layer in vgg16.layers[1:] if wanted(layer.name)]
    for layer in layers:
        layer.dtype_policy = config.precision
        if layer.name in weights.arrays:
            layer.set_weights(list(weights.arrays[layer.name]))
    return layers


def _scale_pixels(pixels: Any, scaling: str) -> Any:
    channels = keras.layers.Concatenate(name="gray_to_channels")([pixels, pixels, pixels])
    if scaling == "unit":
        return keras.layers.Rescaling(1 / 255, name="unit_scaling")(channels)
    return keras.layers.Rescaling(1.0, offset=_CAFFE_OFFSETS, name="caffe_scaling")(channels)


def _random_arrays(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """He normal: with Keras' own default (Glorot uniform) activations vanish through 13 layers without normalization.

    Source: He et al. 2015, Delving Deep into Rectifiers.
    """
    arrays, channels = {}, 3
    for name, shape in _kernel_shapes().items():
        initializer = keras.initializers.HeNormal(seed=derive(seed, f"weights/{name}"))
        arrays[name] = (np.asarray(initializer(shape)), np.zeros(shape[-1], dtype=np.float32))
        channels = shape[-1]
    assert channels == 512  # noqa: S101
    return arrays


def _kernel_shapes() -> dict[str, tuple[int, int, int, int]]:
    shapes, channels = {}, 3
    for name in CONVOLUTION_NAMES:
        filters = _filters(_block_of(name))
        shapes[name] = (3, 3, channels, filters)
        channels = filters
    return shapes


def _imagenet_arrays() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Keras' progress bar belongs
            vgg16 = keras.applications.VGG16(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    except Exception as error:  # Keras passes on whatever its download met: URLError, timeouts, a bare Exception
        raise DownloadError(
            "VGG16's ImageNet weights are not in Keras' cache (~/.keras/models) and could not be downloaded "
            f"({type(error).__name__}: {_first_line(error)}). Go online once, or give a file with "
            "`--set weights=/path/to/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5`, "
            "or train on seeded random weights with `--set weights=random`."
        ) from error
    return _model_arrays(vgg16)


def _file_arrays(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if not path.is_file():
        raise WeightsError(
            f"weights: expected imagenet, random, or the path of an .h5, .weights.h5 or .keras file; "
            f"{path} is not a file."
        )
    try:
        if path.suffix == ".keras":
            arrays = _model_arrays(keras.models.load_model(path, compile=False, safe_mode=True))
        elif path.name.endswith(".weights.h5"):
            arrays = _keras3_arrays(path)
        else:
            arrays = _legacy_arrays(path)
    except Exception as error:  # h5py, Keras and zipfile each raise their own kinds for a damaged file
        raise WeightsError(f"weights: {path} could not be read as VGG16 weights: {_first_line(error)}") from error
    return _checked(arrays, path)


def _checked(arrays: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    for name, shape in _kernel_shapes().items():
        if name not in arrays:
            raise WeightsError(f"weights: {path} holds no layer {name}; expected all 13 convolutions of VGG16.")
        kernel, bias = arrays[name]
        if kernel.shape != shape or bias.shape != shape[-1:]:
            raise WeightsError(f"weights: {name} in {path} has a kernel of shape {kernel.shape}, expected {shape}.")
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise WeightsError(f"weights: {name} in {path} holds values that are not finite numbers.")
    return arrays


def _model_arrays(model: keras.Model) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Convolution weights of a model that is, or holds at any depth, a VGG16 with its usual layer names."""
    layers = {layer.name: layer for layer in model._flatten_layers()}
    return {name: tuple(layers[name].get_weights()) for name in CONVOLUTION_NAMES if name in layers}


def _keras3_arrays(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Keras 3 names layers in `.weights.h5` by class and position, so only Keras can read them back."""
    vgg16 = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    vgg16.load_weights(path)
    return _model_arrays(vgg16)


def _legacy_arrays(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Any HDF5 layout that names VGG16's layers: the official `notop` file, whole models, nested models."""
    found: dict[str, dict[int, np.ndarray]] = {}

    def visit(name: str, node: Any) -> None:
        match = re.search(r"block\d_conv\d", name)
        if match and isinstance(node, h5py.Dataset):
            found.setdefault(match.group(), {})[node.ndim] = np.asarray(node, dtype=np.float32)

    with h5py.File(path, "r") as file:
        model = file.get("model_weights", file)  # a whole model also holds optimizer slots with the same names
        model.visititems(visit)
    return {name: (parts[4], parts[1]) for name, parts in found.items() if {1, 4} <= parts.keys()}


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
