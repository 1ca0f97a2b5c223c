"""A registered version, loaded to score images: it decodes and resizes them with the code that it brought along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuning.models.registry import ModelReference, Registry

if TYPE_CHECKING:
    import pandas as pd


class RegisteredClassifier:
    """A version of a registered model.

    Args:
        registry: that holds it.
        reference: of the version.

    Attributes:
        reference: of the version.
        folder: of its files.
        classifier: its `pneumo_core.classifier.Classifier`, of the program version that registered it.
        keras_model: from gray pixels (N, image_size, image_size, 1), 0 to 255, to probabilities (N, 1).

    Raises:
        ModelError: if its files are gone or damaged.
    """

    def __init__(self, registry: Registry, reference: ModelReference) -> None:
        self.reference = reference
        self.folder = registry.folder(reference)
        self.classifier: Any = registry.python_function(reference).get_raw_model()
        self.keras_model = registry.keras_model(reference)

    @property
    def threshold(self) -> float:
        """Probability from which on the positive class is called."""
        from pneumo_core.classifier import DEFAULT_THRESHOLD

        threshold = self.classifier.settings.threshold
        return DEFAULT_THRESHOLD if threshold is None else float(threshold)

    def pixels(self, root: Path, paths: list[str]) -> np.ndarray:
        """Returns what the model sees of image files: (N, image_size, image_size, 1) uint8.

        Args:
            root: folder that the paths are relative to.
            paths: of JPEG, PNG or DICOM files.

        Raises:
            ImageError: if a file cannot be used.
        """
        from pneumo_core.images import read_bytes

        return np.stack([self.classifier.pixels(read_bytes(root / path), path) for path in paths])[..., None]

    def score(self, root: Path, rows: pd.DataFrame) -> pd.DataFrame:
        """Returns the score table of images.

        Args:
            root: folder that the rows' paths are relative to.
            rows: of a manifest: path, group, subtype, label.
        """
        from pneumo_core.evaluation import score_table
        from pneumo_core.model import classifier_logits

        return score_table(rows, classifier_logits(self.keras_model, self.pixels(root, rows["path"].tolist())))
