"""Registered models on image files: what `tune predict` prints and draws."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from pneumo_core.classifier import DEFAULT_THRESHOLD
from pneumo_core.errors import ImageError, ModelError
from pneumo_core.images import SMALL_SIDE_PX, read_header
from pneumo_core.prediction_panel import Panel, plot_predictions
from tuning.models.named_images import NamedImage
from tuning.models.registry import ModelReference, Registry
from tuning.models.study_images import content_digest, test_contents

COLUMNS = ("image", "probability", "normal_probability", "label", "band", "recommendation", "threshold", "true_label",
           "model_version", "warning")  # fmt: skip
"""Of every row."""

BATCH_SIZE = 64
"""Images are read and classified so many at a time, which bounds the memory."""

_PLOTTED = 20
_MANY = 5  # test images that are more than an example


@dataclasses.dataclass(frozen=True, eq=False)
class ImagePrediction:
    """What a registered model says about one image.

    Attributes:
        row: `COLUMNS`.
        pixels: (H, W) uint8, as the model saw it.
        is_familiar: whether it looks like the images that the model was made with, as far as is known.
        warnings: sentences about it.
    """

    row: dict[str, Any]
    pixels: np.ndarray
    is_familiar: bool
    warnings: list[str]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a registered model says about several images.

    Attributes:
        model: the version that said it.
        class_names: of the negative and the positive class.
        threshold: probability from which on the positive class is called.
        rows: `COLUMNS` of each image, in the order of the images; or the most urgent (most probably positive) first.
        drawn: the first images, with their pixels.
        heatmaps: of these, by Grad-CAM; none if they are not wanted or the model has none.
        refused: a sentence for each image that could not be used.
        warnings: sentences about images that were used, but should be looked at.
    """

    model: ModelReference
    class_names: tuple[str, str]
    threshold: float
    rows: list[dict[str, Any]]
    drawn: list[ImagePrediction]
    heatmaps: Sequence[np.ndarray]
    refused: list[str]
    warnings: list[str]

    @property
    def table(self) -> Table:
        """The rows for a terminal."""
        called = f"called from {self.threshold:.3g} on"
        table = Table(title=f"{self.model}: probability of {self.class_names[1]}, {called}")
        labelled = any(row["true_label"] for row in self.rows)
        for heading in ("image", "probability", "label", *(["true label"] if labelled else []), "recommendation"):
            table.add_column(heading, justify="right" if heading == "probability" else "left", overflow="fold")
        for row in self.rows:
            true_label = [row["true_label"] or "–"] if labelled else []
            recommendation = row["recommendation"] + (" (see the warning)" if row["warning"] else "")
            table.add_row(escape(row["image"]), f"{row['probability']:.4f}", row["label"], *true_label, recommendation)
        return table

    @property
    def csv(self) -> str:
        """The rows as CSV, with a line of headings; what is not known is empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @property
    def figure(self) -> Figure:
        """The panel of the images that are drawn."""
        negative, positive = self.class_names
        title = f"{self.model}; called {positive} from {self.threshold:.3g} on"
        if len(self.rows) > len(self.drawn):
            title += f"; the first {len(self.drawn)} of {len(self.rows)} images"
        heatmaps = self.heatmaps if len(self.heatmaps) else [None] * len(self.drawn)
        panels = [_panel(image, heat) for image, heat in zip(self.drawn, heatmaps, strict=True)]
        return plot_predictions(panels, (negative, positive), self.threshold, title)


def _panel(image: ImagePrediction, heatmap: np.ndarray | None) -> Panel:
    row = image.row
    called = f"called {row['label']}" + (f"; true label (from path): {row['true_label']}" if row["true_label"] else "")
    shares = row["normal_probability"], row["probability"]
    lines = (called, row["recommendation"])
    return Panel(image.pixels, heatmap, Path(row["image"]).name, lines, shares, image.is_familiar)


def predict_images(
    registry: Registry,
    reference: str | None,
    images: Sequence[NamedImage],
    *,
    triage: bool = False,
    with_panel: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> Predictions:
    """Classifies images with a registered model.

    An image that cannot be used is named in `refused`, and does not keep the others from being classified.

    Args:
        registry: that holds the model.
        reference: `NAME@ALIAS`, `NAME/VERSION` or `NAME`; None for the only model there is.
        images: in any number; only the pixels of those that are drawn are kept.
        triage: the most urgent first.
        with_panel: whether the first 20 will be drawn.
        advance: is told how many images were looked at since it was told last.

    Raises:
        ModelError: if there is no such model, or its files are gone.
    """
    model = registry.find(reference)
    tested = test_contents(registry.folder(model))
    work = _Work(registry.python_function(model).get_raw_model(), model, triage, _PLOTTED if with_panel else 0, tested)
    for start in range(0, len(images), BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        work.take(batch)
        advance(len(batch))
    warnings = [*work.warnings]
    if work.tested >= _MANY:
        warnings.append(
            f"{work.tested} of these images are of the test folder of the model's study: whoever chooses by what is "
            "said of them has looked at it past the ledger (docs/test-folder.md)."
        )
    if 0 < len(work.drawn) < len(work.rows):
        warnings.append(f"--plot: shows the first {len(work.drawn)} of {len(work.rows)} images.")
    heatmaps = _heatmaps(registry, model, work.drawn, warnings)
    settings = work.classifier.settings
    negative, positive = settings.class_names
    threshold = _called_from(settings)
    rows = sorted(work.rows, key=_urgency) if triage else work.rows
    return Predictions(model, (negative, positive), threshold, rows, work.drawn, heatmaps, work.refused, warnings)


class _Work:
    """What has come of the images so far.

    Args:
        classifier: a `pneumo_core.classifier.Classifier`, of the program version that registered it.
        model: its version.
        triage: whether the most urgent images are drawn, or the first ones.
        plotted: images that are drawn, at most.
        test_contents: digests of the test images of the model's study.

    Attributes:
        tested: how many of the images are among these.
    """

    def __init__(
        self, classifier: Any, model: ModelReference, triage: bool, plotted: int, test_contents: Set[str]
    ) -> None:
        self.classifier, self._model, self._triage, self._plotted = classifier, model, triage, plotted
        self._test_contents, self.tested = test_contents, 0
        self.rows: list[dict[str, Any]] = []
        self.drawn: list[ImagePrediction] = []
        self.refused: list[str] = []
        self.warnings: list[str] = []

    def take(self, images: Sequence[NamedImage]) -> None:
        """Reads and classifies a batch."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            looked = list(pool.map(self._look, images))
        self.refused += [reason for reason in looked if isinstance(reason, str)]
        seen = [image for image in looked if not isinstance(image, str)]
        self.tested += sum(is_tested for *_, is_tested in seen)
        pixels = np.array([gray for _, gray, *_ in seen])[..., None] if seen else np.empty(0)
        said = [
            self._prediction(*image[:3], probability=float(probability))
            for image, probability in zip(seen, self.classifier.probabilities(pixels), strict=True)
        ]
        self.rows += [image.row for image in said]
        self.warnings += [f"{image.row['image']}: {sentence}" for image in said for sentence in image.warnings]
        candidates = [*self.drawn, *said]
        if self._triage:
            candidates.sort(key=lambda image: _urgency(image.row))
        self.drawn = candidates[: self._plotted]

    def _look(self, image: NamedImage) -> tuple[NamedImage, np.ndarray, list[str], bool] | str:
        """Returns the image's pixels, sentences about the file, whether it is a test image; or why it is of no use."""
        try:
            data = image.read()
            is_tested = content_digest(data) in self._test_contents
            return image, self.classifier.pixels(data, image.name), _small(data, image.name), is_tested
        except ValueError as error:  # the model brings classes of its own for its errors; all are ValueErrors
            return str(error)

    def _prediction(
        self, image: NamedImage, pixels: np.ndarray, about: list[str], *, probability: float
    ) -> ImagePrediction:
        # models that were registered by earlier versions of this program do not know what they were made with
        unlike = self.classifier.warning(pixels) if hasattr(self.classifier, "warning") else None
        warnings = [*about, *([unlike] if unlike else [])]
        settings, folder = self.classifier.settings, image.folder_name
        said = dataclasses.asdict(self.classifier.describe(probability)) | {
            "image": image.name,
            "threshold": _called_from(settings),
            "true_label": folder if folder in settings.class_names else None,
            "model_version": str(self._model),
            "warning": " ".join(warnings) or None,
        }
        return ImagePrediction({name: said[name] for name in COLUMNS}, pixels, unlike is None, warnings)


def _urgency(row: dict[str, Any]) -> float:
    return -float(row["probability"])


def _called_from(settings: Any) -> float:
    """Probability from which on the positive class is called."""
    return DEFAULT_THRESHOLD if settings.threshold is None else float(settings.threshold)


def _small(data: bytes, name: str) -> list[str]:
    try:
        header = read_header(data, name=name)
    except ImageError:
        return []  # a model of another version of this program takes what this one does not
    if not header.is_small:
        return []
    size = f"{header.width_px} × {header.height_px} px"
    return [f"expected a radiograph of at least {SMALL_SIDE_PX} px a side, got {size}; it was used all the same."]


def _heatmaps(
    registry: Registry, model: ModelReference, drawn: Sequence[ImagePrediction], warnings: list[str]
) -> Sequence[np.ndarray]:
    """Returns the Grad-CAM of the drawn images; nothing, and a sentence, for a model that has none."""
    if not drawn:
        return []
    from pneumo_core.explain import grad_cam

    keras_model = registry.keras_model(model)
    try:
        return list(grad_cam(keras_model, np.array([image.pixels for image in drawn])[..., None]))
    except ModelError as error:
        warnings.append(f"--plot: without Grad-CAM, as that cannot be made of this model; {error}")
        return []
