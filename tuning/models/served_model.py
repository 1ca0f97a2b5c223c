"""A registered version as a server needs it: loaded once, what it tells of itself, predictions as plain rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuning.models.registry import Registry

RESEARCH_ONLY = "For research only. Not a medical device; not for diagnosis."

_LINEAGE = (
    "study",
    "trial",
    "git_commit",
    "space_digest",
    "data_digest",
    "split_digest",
    "weights_digest",
    "model_digest",
    "test_digest",
)
"""Tags that say where a version comes from, and hold neither paths nor names of people."""


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A registered version that answers requests.

    Attributes:
        name: of the model.
        version: that answers, whatever its alias points to meanwhile.
        asked_for: reference that led to the version when it was loaded.
        class_names: of the negative and the positive class.
        threshold: probability from which on the positive class is called.
        image_size: side of the square that images are resized to, in px.
        lineage: where the version comes from.
        rows: from encoded images to a row of its `python_function` face for each.
    """

    name: str
    version: str
    asked_for: str
    class_names: tuple[str, str]
    threshold: float
    image_size: int
    lineage: Mapping[str, str]
    rows: Callable[[Sequence[bytes]], list[dict[str, Any]]]

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def load_served(registry: Registry, reference: str | None) -> ServedModel:
    """Loads a version, and has it answer once, so that the first request need not wait for TensorFlow.

    Args:
        registry: that holds it.
        reference: `NAME@ALIAS`, `NAME/VERSION` or `NAME`; None for the only model there is.

    Raises:
        ModelError: if there is no such model, or its files are gone.
    """
    import numpy as np

    from pneumo_core.classifier import DEFAULT_THRESHOLD

    found = registry.find(reference)
    model = registry.python_function(found)
    classifier = model.get_raw_model()
    settings, tags = classifier.settings, registry.tags(found)
    classifier.probabilities(np.zeros((1, settings.image_size, settings.image_size, 1), np.uint8))
    asked_for = reference or found.name
    negative, positive = settings.class_names
    return ServedModel(
        name=found.name,
        version=found.version,
        asked_for=asked_for if "@" in asked_for or "/" in asked_for else f"{asked_for}@champion",
        class_names=(negative, positive),
        threshold=DEFAULT_THRESHOLD if settings.threshold is None else float(settings.threshold),
        image_size=settings.image_size,
        lineage={name: tags[f"pneumo.{name}"] for name in _LINEAGE if tags.get(f"pneumo.{name}")},
        rows=lambda images: _rows(model, images),
    )


def _rows(model: Any, images: Sequence[bytes]) -> list[dict[str, Any]]:
    """Whatever fields the version has; those without a value are None."""
    import pandas as pd

    frame = model.predict(pd.DataFrame({"image": list(images)}))
    return [
        {field: None if isinstance(value, float) and value != value else value for field, value in row.items()}
        for row in frame.to_dict("records")
    ]
