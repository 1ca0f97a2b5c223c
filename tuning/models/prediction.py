"""Registered models on image files: what `tune predict` prints and draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from pneumo_core.classifier import DEFAULT_THRESHOLD
from pneumo_core.errors import ImageError, StoreError
from pneumo_core.images import SMALL_SIDE_PX, read_bytes, read_header
from pneumo_core.plots import plot_predictions
from tuning.models.registry import ModelReference, Registry

_PLOTTED = 20


@dataclasses.dataclass(frozen=True)
class ImagePrediction:
    """What a registered model says about one file.

    Attributes:
        row: image, probability, normal_probability, label, band, recommendation, true_label, model_version.
        pixels: (H, W) uint8, as the model saw it.
    """

    row: dict[str, Any]
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a registered model says about several files.

    Attributes:
        model: the version that said it.
        class_names: of the negative and the positive class.
        threshold: probability from which on the positive class is called.
        images: in the order of the files.
        refused: a sentence for each file that could not be used.
        warnings: sentences about files that were used, but should be looked at.
    """

    model: ModelReference
    class_names: tuple[str, str]
    threshold: float
    images: list[ImagePrediction]
    refused: list[str]
    warnings: list[str]

    def rows(self, *, triage: bool = False) -> list[dict[str, Any]]:
        """Returns the rows in the order of the files, or the most urgent (most probably positive) first."""
        rows = [image.row for image in self.images]
        return sorted(rows, key=lambda row: -row["probability"]) if triage else rows

    def table(self, *, triage: bool = False) -> Table:
        """Returns the rows for a terminal."""
        called = f"called from {self.threshold:.3g} on"
        table = Table(title=f"{self.model}: probability of {self.class_names[1]}, {called}")
        for heading in ("image", "probability", "label", "true label", "recommendation"):
            table.add_column(heading, justify="right" if heading == "probability" else "left", overflow="fold")
        for row in self.rows(triage=triage):
            probability, true_label = f"{row['probability']:.4f}", row["true_label"] or "–"
            table.add_row(row["image"], probability, row["label"], true_label, row["recommendation"])
        return table

    def figure(self, *, triage: bool = False) -> Figure:
        """Returns the notebook's panel of the first images, 20 at most."""
        images = sorted(self.images, key=lambda image: -image.row["probability"]) if triage else self.images
        images = images[:_PLOTTED]
        return plot_predictions(
            [image.pixels for image in images],
            [self._title(image.row) for image in images],
            [(image.row["normal_probability"], image.row["probability"]) for image in images],
            self.class_names,
            self.threshold,
        )

    def _title(self, row: dict[str, Any]) -> str:
        negative, positive = self.class_names
        shares = f"{positive}: {row['probability']:.2%} | {negative}: {row['normal_probability']:.2%}"
        lines = [Path(row["image"]).name, f"Predicted: {row['label']} | {shares}", row["recommendation"]]
        return "\n".join(lines + ([f"True label (from path): {row['true_label']}"] if row["true_label"] else []))


def predict_files(registry: Registry, reference: str | None, paths: Sequence[Path]) -> Predictions:
    """Classifies image files with a registered model.

    A file that cannot be used is named in `refused`, and does not keep the others from being classified.

    Args:
        registry: that holds the model.
        reference: `NAME@ALIAS`, `NAME/VERSION` or `NAME`; None for the only model there is.
        paths: of JPEG, PNG or DICOM files.

    Raises:
        ModelError: if there is no such model, or its files are gone.
    """
    model = registry.find(reference)
    classifier = registry.python_function(model).get_raw_model()
    usable, pixels, refused, warnings = [], [], [], []
    for path in paths:
        try:
            data = read_bytes(path)
            pixels.append(classifier.pixels(data, str(path)))
            usable.append(path)
            warnings += _warnings(data, path)
        except ValueError as error:  # the model brings classes of its own for its errors; all are ValueErrors
            refused.append(str(error))
    probabilities = classifier.probabilities(np.array(pixels)[..., None]) if pixels else []
    images = [
        ImagePrediction(_row(path, classifier.describe(float(probability)), classifier, model), gray)
        for path, gray, probability in zip(usable, pixels, probabilities, strict=True)
    ]
    negative, positive = classifier.settings.class_names
    return Predictions(model, (negative, positive), _called_from(classifier), images, refused, warnings)


def _called_from(classifier: Any) -> float:
    """Probability from which on the positive class is called."""
    threshold = classifier.settings.threshold
    return DEFAULT_THRESHOLD if threshold is None else float(threshold)


def _warnings(data: bytes, path: Path) -> list[str]:
    try:
        header = read_header(data, name=str(path))
    except ImageError:
        return []  # a model of another version of this program takes what this one does not
    if not header.is_small:
        return []
    size = f"{header.width_px} × {header.height_px} px"
    return [
        f"{path}: expected a radiograph of at least {SMALL_SIDE_PX} px a side, got {size}; it was used all the same."
    ]


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure in the format that the file's ending names.

    Raises:
        StoreError: if the ending is of no picture, or the file cannot be written.

    Side effects:
        Writes the file.
    """
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"--plot {path}: expected a .png, .pdf or .svg file that can be written; {reason}.") from error


def _row(path: Path, prediction: Any, classifier: Any, model: ModelReference) -> dict[str, Any]:
    folder = path.resolve().parent.name
    true_label = folder if folder in classifier.settings.class_names else None
    said = dataclasses.asdict(prediction)
    more = {"threshold": _called_from(classifier), "true_label": true_label, "model_version": str(model)}
    return {"image": str(path), **said, **more}
