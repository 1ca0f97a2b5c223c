"""A trained classifier as people use it: an encoded image in; probability, label and recommendation out.

This module, `familiarity`, `images`, `preprocessing`, `dicom` and `errors` are copied into every registered model and
run there without the rest of this package. So they import one another by relative names, and nothing else of ours.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ImageError
from .familiarity import Familiarity
from .images import MAX_PIXELS, MAX_SIDE_PX, MIN_SIDE_PX, PLAIN, decode_gray
from .preprocessing import Preprocessing, preprocess

SETTINGS_FILE = "classifier.json"
"""What a classifier is next to its Keras model, at the root of a registered model."""

KERAS_FILE = "data/model.keras"
"""The Keras model, as `mlflow.keras` lays it out."""

DEFAULT_THRESHOLD = 0.5
"""Where a classifier has no threshold of its own."""

MAX_ENCODED_BYTES = 64_000_000

RECOMMENDATIONS = {
    "high": "HIGH CONFIDENCE - {positive} likely",
    "moderate": "MODERATE CONFIDENCE - Manual review recommended",
    "low": "LOW CONFIDENCE - Likely {negative}",
}
"""The notebook's three recommendations, by band; class names are put in."""


FORMAT_VERSION = 2
"""Of `SETTINGS_FILE`; 1 had neither temperature, bands nor limits."""

_ABOUT = {
    "class_names": "of the negative class, then of the positive one",
    "image_size": "side, in px, of the square of 8-bit gray pixels that the Keras model takes",
    "preprocessing": "what makes an image that square, before the Keras model sees it",
    "temperature": "the Keras model divides its logit by it: its output is calibrated already, apply nothing more",
    "threshold": "images with at least this probability of the positive class are called positive; null is 0.5",
    "bands": "low is below moderate_from, high is from high_from on; they word the recommendation, no call follows",
    "input_limits": "what is refused as an image",
}
"""What the settings mean, for whoever reads the file and not this program."""


@dataclasses.dataclass(frozen=True)
class Bands:
    """Where probabilities of the positive class begin to be worded otherwise.

    Attributes:
        moderate_from: lowest probability in the moderate band; `low` lies below.
        high_from: lowest probability in the high band.
    """

    moderate_from: float
    high_from: float

    @classmethod
    def around(cls, threshold: float) -> Bands:
        """Returns the bands that belong to a threshold.

        The edges are the notebook's 0.3 and 0.7 for a threshold of 0.5, and move with it: three fifths of the way from
        0, and from 1, to the threshold. The threshold always lies between them, so that nothing called positive is
        `low` and nothing called negative is `high`.
        """
        return cls(0.6 * threshold, 1 - 0.6 * (1 - threshold))

    def of(self, probability: float) -> str:
        """Returns `high`, `moderate` or `low`."""
        if probability >= self.high_from:
            return "high"
        return "moderate" if probability >= self.moderate_from else "low"


AROUND_THRESHOLD = Bands(math.nan, math.nan)
"""Stands for the bands that belong to the threshold, whatever that is."""


@dataclasses.dataclass(frozen=True)
class InputLimits:
    """What a classifier takes for an image. The defaults are what this program decodes.

    Attributes:
        formats: by content, whatever the file's ending.
        largest_bytes: of an encoded image.
        largest_pixels: width × height.
        largest_side_px: of either side.
        smallest_side_px: of either side.
    """

    formats: tuple[str, ...] = ("JPEG", "PNG", "DICOM")
    largest_bytes: int = MAX_ENCODED_BYTES
    largest_pixels: int = MAX_PIXELS
    largest_side_px: int = MAX_SIDE_PX
    smallest_side_px: int = MIN_SIDE_PX


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """What a classifier knows besides its weights.

    Attributes:
        image_size: side of the square that images are resized to, in px.
        class_names: of the negative and the positive class.
        threshold: images with at least this probability are called positive; None for none of its own.
        preprocessing: what is done to an image before the model sees it.
        temperature: that the model's logit is divided by, inside the model; for information. None if it is not known.
        bands: of probabilities, for words; those that belong to the threshold if none are given.
        limits: of images.
    """

    image_size: int
    class_names: tuple[str, str]
    threshold: float | None
    preprocessing: Preprocessing = PLAIN
    temperature: float | None = None
    bands: Bands = AROUND_THRESHOLD
    limits: InputLimits = InputLimits()

    def __post_init__(self) -> None:
        if self.bands is AROUND_THRESHOLD:
            object.__setattr__(self, "bands", Bands.around(self.called_from))

    @property
    def called_from(self) -> float:
        """The threshold, or the default one."""
        return DEFAULT_THRESHOLD if self.threshold is None else self.threshold

    def save(self, folder: Path) -> None:
        """Writes the settings into a model's folder.

        Side effects:
            Writes `SETTINGS_FILE`.
        """
        content = {
            "format": FORMAT_VERSION,
            "about": _ABOUT,
            "class_names": self.class_names,
            "image_size": self.image_size,
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "temperature": self.temperature,
            "threshold": self.threshold,
            "bands": dataclasses.asdict(self.bands),
            "input_limits": dataclasses.asdict(self.limits),
        }
        (folder / SETTINGS_FILE).write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> ClassifierSettings:
        """Reads the settings from a model's folder, also as earlier versions of this program wrote them."""
        content = json.loads((folder / SETTINGS_FILE).read_text())
        bands, limits = content.get("bands"), content.get("input_limits")
        return cls(
            image_size=content["image_size"],
            class_names=tuple(content["class_names"]),
            threshold=content["threshold"],
            preprocessing=Preprocessing(**content["preprocessing"]),
            temperature=content.get("temperature"),
            bands=Bands(**bands) if bands else AROUND_THRESHOLD,
            limits=InputLimits(**limits | {"formats": tuple(limits["formats"])}) if limits else InputLimits(),
        )


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a classifier says about one image.

    Attributes:
        probability: of the positive class.
        normal_probability: of the negative class.
        label: name of the class that is called.
        band: `high`, `moderate` or `low`.
        recommendation: the band in words.
    """

    probability: float
    normal_probability: float
    label: str
    band: str
    recommendation: str


class Classifier:
    """Decodes, resizes, classifies.

    Args:
        settings: what it knows besides its weights.
        model: from gray pixels (N, image_size, image_size, 1), 0 to 255, to probabilities of the positive class (N, 1).
        familiarity: what its training images look like; None if that is not known.
    """

    def __init__(
        self,
        settings: ClassifierSettings,
        model: Callable[[np.ndarray], Any],
        familiarity: Familiarity | None = None,
    ) -> None:
        self.settings, self._model, self._familiarity = settings, model, familiarity

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Reads a registered model's folder. Imports TensorFlow."""
        import keras

        model = keras.saving.load_model(folder / KERAS_FILE, compile=False, safe_mode=True)
        settings, familiarity = ClassifierSettings.load(folder), Familiarity.load(folder)
        return cls(settings, lambda pixels: model(pixels, training=False), familiarity)

    def pixels(self, encoded: bytes, name: str) -> np.ndarray:
        """Returns the (image_size, image_size) uint8 pixels that the model sees of an encoded image.

        Raises:
            ImageError: if it cannot be decoded, or is refused.
        """
        return preprocess(decode_gray(encoded, name=name), self.settings.image_size, self.settings.preprocessing)

    def probabilities(self, pixels: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Returns the probabilities (N,) of the positive class for pixels (N, image_size, image_size, 1), float64."""
        batches = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
        outputs = [np.asarray(self._model(batch.astype(np.float32)))[:, 0] for batch in batches]
        return np.concatenate(outputs).astype(np.float64) if outputs else np.empty(0)

    def warning(self, pixels: np.ndarray) -> str | None:
        """Returns a sentence if an image is unlike those that the model was made with; None if not, or if not known.

        Args:
            pixels: (image_size, image_size) uint8, as the model sees them.
        """
        return None if self._familiarity is None else self._familiarity.warning(pixels)

    def describe(self, probability: float) -> Prediction:
        """Puts a probability into words."""
        negative, positive = self.settings.class_names
        band = self.settings.bands.of(probability)
        return Prediction(
            probability=probability,
            normal_probability=1.0 - probability,
            label=positive if probability >= self.settings.called_from else negative,
            band=band,
            recommendation=RECOMMENDATIONS[band].format(positive=positive.capitalize(), negative=negative.lower()),
        )


class PythonFunction:
    """The `python_function` face of a registered model: a column `image` of bytes or base64 in, predictions out."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def get_raw_model(self) -> Classifier:
        """Returns the classifier itself, for callers that want pixels or error messages with file names."""
        return self._classifier

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Classifies encoded images.

        Args:
            model_input: a frame with a column `image` of JPEG, PNG or DICOM files as bytes or base64 text.
            params: not used; MLflow passes it.

        Returns:
            A frame with a row for each image: probability, normal_probability, label, band, recommendation, warning
            and error. An image that is unlike those that the model was made with has a sentence in `warning`. One that
            cannot be used has a sentence in `error` and None elsewhere; it does not spoil the others.
        """
        import pandas as pd

        images = list(model_input["image"] if hasattr(model_input, "columns") else model_input)
        pixels: list[np.ndarray] = []
        errors: list[str | None] = []
        for number, image in enumerate(images, start=1):
            try:
                name = f"image {number}"
                pixels.append(self._classifier.pixels(encoded_bytes(image, name), name))
                errors.append(None)
            except ImageError as error:
                errors.append(str(error))
        columns = [*(field.name for field in dataclasses.fields(Prediction)), "warning", "error"]
        said, nothing = iter(self._said(pixels)), dict.fromkeys(columns)
        rows = [{**nothing, "error": error} if error else next(said) for error in errors]
        return _without_gaps(pd.DataFrame(rows, columns=columns))

    def _said(self, pixels: list[np.ndarray]) -> Iterator[dict[str, Any]]:
        classifier = self._classifier
        probabilities = classifier.probabilities(np.array(pixels)[..., None]) if pixels else ()
        for gray, probability in zip(pixels, probabilities, strict=True):
            described = dataclasses.asdict(classifier.describe(float(probability)))
            yield {**described, "warning": classifier.warning(gray), "error": None}


def encoded_bytes(image: object, name: str) -> bytes:
    """Returns the bytes of an encoded image given as such or as base64 text.

    Args:
        image: to be read.
        name: of it, for messages.

    Raises:
        ImageError: if it is neither, or larger than `MAX_ENCODED_BYTES`.
    """
    if isinstance(image, str):
        if len(image) > MAX_ENCODED_BYTES * 4 // 3 + 4:
            raise ImageError(f"{name}: expected at most {MAX_ENCODED_BYTES} bytes, got more; send it smaller.")
        try:
            image = base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ImageError(f"{name}: expected a JPEG, PNG or DICOM file as base64, got other text.") from error
    if not isinstance(image, (bytes, bytearray)):
        raise ImageError(f"{name}: expected bytes or base64 text, got {type(image).__name__}.")
    if len(image) > MAX_ENCODED_BYTES:
        raise ImageError(f"{name}: expected at most {MAX_ENCODED_BYTES} bytes, got {len(image)}; send it smaller.")
    return bytes(image)


def _without_gaps(frame: Any) -> Any:
    """Returns a frame whose missing values are None: pandas makes them NaN, which over HTTP is not even JSON."""
    gaps = frame.columns[frame.isna().any()]
    return frame.astype(dict.fromkeys(gaps, object)).where(frame.notna(), None)


def _load_pyfunc(path: str) -> PythonFunction:
    """Called by MLflow with the folder of a registered model."""
    return PythonFunction(Classifier.load(Path(path)))
