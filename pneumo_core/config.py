"""`TrialConfig`: everything that determines one training, as one frozen and validated value."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from pneumo_core.errors import ConfigError
from pneumo_core.preprocessing import CONTRASTS, DENOISINGS, RESIZINGS, Preprocessing

Check = Callable[[object], str | None]
"""Returns None for a legal value, else what was expected, for example `"a number from 0 up to 1 (1 excluded)"`."""


def _whole(low: int, high: int | None = None) -> Check:
    expected = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def check(value: object) -> str | None:
        legal = isinstance(value, int) and not isinstance(value, bool)
        return None if legal and low <= value <= (math.inf if high is None else high) else expected  # type: ignore[operator]

    return check


def _real(low: float, high: float = math.inf, *, above: bool = False, below: bool = False) -> Check:
    ends = f" up to {high:g}{' (excluded)' if below else ''}" if math.isfinite(high) else " upwards"
    expected = f"a number from {low:g}{' (excluded)' if above else ''}{ends}"

    def check(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return expected
        high_enough = value > low if above else value >= low
        low_enough = value < high if below else value <= high
        return None if high_enough and low_enough else expected

    return check


def _one_of(*choices: str) -> Check:
    expected = "one of " + ", ".join(choices)
    return lambda value: None if isinstance(value, str) and value in choices else expected


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _text(value: object) -> str | None:
    return None if isinstance(value, str) and value.strip() else "a word or a path"


def _setting(default: Any, check: Check) -> Any:
    return dataclasses.field(default=default, metadata={"check": check})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """All that determines one training, next to the data. Equal configurations on equal data give equal scores.

    Attributes:
        backbone: the convolutional base; `vgg16`.
        weights: of the backbone: `imagenet`; `random` (seeded He normal); or a path to an `.h5`, `.weights.h5` or
            `.keras` file.
        weights_seed: seed of `weights: random`; kept apart from `seed`, so that trials share one frozen backbone.
        image_size: side of the square that images are resized to, in px.
        resize: to that square: `squash` (distorts), `pad` (black bars) or `crop` (the square in the middle).
        denoise: of the resized image: `none`, or `gaussian` (3 × 3 px).
        contrast: of the resized image: `none`, or `clahe` (8 × 8 tiles, clip limit 2; after denoising).
        pixel_scaling: `caffe` (0 to 255, ImageNet channel means subtracted; what VGG16's ImageNet weights were trained
            with) or `unit` (0 to 1; what the notebook feeds).
        augmentation: of training images: `none`; `mild` (rotation 10°, shifts and zoom 0.1); `notebook` (rotation 20°,
            shifts, shear and zoom 0.2, horizontal flip, nearest fill).
        augmentation_variants: 0 for live augmentation, drawn anew for every image in every epoch, which runs the frozen
            layers anew too; else how many augmented variants of each image there are, computed once, of which every
            epoch draws one.
        augmentation_seed: of those variants; kept apart from `seed`, so that trials share them.
        pooling: between backbone and head: `flatten` or `average`.
        feature_scaling: `standardize` puts a layer in front of the head that gives each channel zero mean and unit
            variance over the training images; `none` does not.
        head_units: width of the first dense layer.
        second_head_units: width of the second dense layer; 0 for none.
        batch_normalization: after each dense layer of the head.
        dropout: rate after the first dense layer.
        second_dropout: rate after the second dense layer.
        unfrozen_layers: number of VGG16 *convolution* layers that are trained, counted from the top, 0 to 13. Blocks 5,
            4 and 3 hold 3 each, blocks 2 and 1 hold 2. The notebook's `base_model.layers[:-4]` leaves `block5_conv1`
            to `block5_conv3` and the pooling layer above them (which has no weights) trainable: `unfrozen_layers: 3`.
        learning_rate: of the head.
        backbone_lr_fraction: learning rate of the unfrozen convolutions, as a fraction of `learning_rate`.
        warmup_epochs: epochs, out of `epochs`, that train the head alone before unfrozen convolutions join in.
        optimizer: `adam`, `rmsprop` or `sgd` (with momentum 0.9).
        weight_decay: decoupled, on kernels only.
        label_smoothing: targets become `label * (1 - s) + s / 2`, in training only.
        class_weighting: of the training loss: `none`; `balanced` (n / (2 n_class)); `sqrt` (its square root).
        batch_size: images in a training step.
        epochs: passes over the training images at most.
        stop_after: epochs to run of the `epochs` that the schedule is laid out for; 0 for all (set by Hyperband).
        learning_rate_schedule: `none`; `plateau` (times 0.2 after 3 epochs without a lower validation loss, as in the
            notebook); `cosine` (from the full rate to 0 over `epochs`).
        patience: training stops after this many epochs without a lower validation loss; 0 for never.
        activation_precision: of the output of the frozen layers on disk: `float16` (half the size; float32 all the same
            where its range does not suffice) or `float32`.
        precision: in which the backbone's convolutions compute: `float32`, or `mixed_bfloat16`, for GPUs (weights, head
            and loss stay float32). What leaves a study computes in float32 either way.
        seed: of the head's initial weights and of all draws during training.
    """

    backbone: str = _setting("vgg16", _one_of("vgg16"))
    weights: str = _setting("imagenet", _text)
    weights_seed: int = _setting(0, _whole(0))
    image_size: int = _setting(224, _whole(32, 1024))
    resize: str = _setting("squash", _one_of(*RESIZINGS))
    denoise: str = _setting("none", _one_of(*DENOISINGS))
    contrast: str = _setting("none", _one_of(*CONTRASTS))
    pixel_scaling: str = _setting("caffe", _one_of("caffe", "unit"))
    augmentation: str = _setting("none", _one_of("none", "mild", "notebook"))
    augmentation_variants: int = _setting(0, _whole(0, 100))
    augmentation_seed: int = _setting(0, _whole(0))
    pooling: str = _setting("flatten", _one_of("flatten", "average"))
    feature_scaling: str = _setting("standardize", _one_of("none", "standardize"))
    head_units: int = _setting(512, _whole(1, 4096))
    second_head_units: int = _setting(0, _whole(0, 4096))
    batch_normalization: bool = _setting(False, _flag)
    dropout: float = _setting(0.5, _real(0, 1, below=True))
    second_dropout: float = _setting(0.0, _real(0, 1, below=True))
    unfrozen_layers: int = _setting(0, _whole(0, 13))
    learning_rate: float = _setting(1e-3, _real(0, 1, above=True))
    backbone_lr_fraction: float = _setting(0.1, _real(0, 1, above=True))
    warmup_epochs: int = _setting(0, _whole(0, 1000))
    optimizer: str = _setting("adam", _one_of("adam", "rmsprop", "sgd"))
    weight_decay: float = _setting(0.0, _real(0))
    label_smoothing: float = _setting(0.0, _real(0, 0.5, below=True))
    class_weighting: str = _setting("none", _one_of("none", "balanced", "sqrt"))
    batch_size: int = _setting(32, _whole(1, 1024))
    epochs: int = _setting(10, _whole(1, 1000))
    stop_after: int = _setting(0, _whole(0, 1000))
    learning_rate_schedule: str = _setting("none", _one_of("none", "plateau", "cosine"))
    patience: int = _setting(5, _whole(0))
    activation_precision: str = _setting("float16", _one_of("float16", "float32"))
    precision: str = _setting("float32", _one_of("float32", "mixed_bfloat16"))
    seed: int = _setting(0, _whole(0))

    def __post_init__(self) -> None:
        problems = [problem for name, value in vars(self).items() if (problem := value_problem(name, value))]
        if self.stop_after > self.epochs:
            problems.append(f"stop_after: expected at most epochs ({self.epochs}), got {self.stop_after}")
        if problems:
            raise ConfigError("\n".join(problems))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TrialConfig:
        """Builds a configuration from field names and values; what is not named keeps its default.

        Raises:
            ConfigError: naming every unknown field and every impossible value at once.
        """
        problems = [problem for name, value in values.items() if (problem := value_problem(name, value))]
        if problems:
            raise ConfigError("\n".join(problems))
        return cls(**{name: _normalized(name, value) for name, value in values.items()})

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image before a network sees it."""
        return Preprocessing(contrast=self.contrast, denoise=self.denoise, resize=self.resize)

    @property
    def epochs_to_run(self) -> int:
        """Epochs that this training runs at most: `stop_after`, or all `epochs`."""
        return self.stop_after or self.epochs

    @property
    def augments_live(self) -> bool:
        """Whether training images are distorted anew in every epoch, and no variants of them are kept."""
        return self.augmentation != "none" and not self.augmentation_variants

    @property
    def as_served(self) -> TrialConfig:
        """The same, as a model computes that leaves the study: in float32, which every machine has."""
        return dataclasses.replace(self, precision="float32")

    def to_mapping(self) -> dict[str, Any]:
        """Returns all fields by name, in the order of their declaration."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Returns the SHA-256 (hex) of all fields.

        `precision` came later, and its default is left out: models that were registered before are still known again.
        """
        fields = self.to_mapping()
        if self.precision == "float32":
            del fields["precision"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


_FIELDS = {field.name: field for field in dataclasses.fields(TrialConfig)}

FIELD_NAMES: tuple[str, ...] = tuple(_FIELDS)
"""The names of `TrialConfig`'s fields: the parameter names of search spaces, overrides and MLflow runs."""


def value_problem(name: str, value: object) -> str | None:
    """Returns what is wrong with `value` as the field `name`, as a sentence, or None."""
    if name not in _FIELDS:
        close = difflib.get_close_matches(name, _FIELDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(_FIELDS)}"
        return f"{name}: no such setting; {hint}"
    expected = _FIELDS[name].metadata["check"](value)
    return f"{name}: expected {expected}, got {value!r}" if expected else None


def _normalized(name: str, value: Any) -> Any:
    """A whole number given for a fraction (`dropout: 0`) becomes one, so that equal configurations look equal."""
    return float(value) if isinstance(_FIELDS[name].default, float) else value
