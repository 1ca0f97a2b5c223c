"""What a model costs where it is used: the time for one image, and the size of its folder."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM_UP, REPEATS = 2, 7


def latency_ms(folder: Path, model: Any, encoded: bytes, clock: Callable[[], float] = time.perf_counter) -> float:
    """Returns the median time from an encoded image to a prediction, in milliseconds, on this machine.

    Args:
        folder: of the model, as `tuning.models.model_folder.write_model_folder` wrote it.
        model: its Keras model.
        encoded: a JPEG, PNG or DICOM file.
        clock: in seconds.

    Returns:
        Of `REPEATS` predictions, after `WARM_UP` that are not counted, as the first ones compile.
    """
    from pneumo_core.classifier import Classifier, ClassifierSettings

    classifier = Classifier(ClassifierSettings.load(folder), lambda pixels: model(pixels, training=False))
    times = []
    for _ in range(WARM_UP + REPEATS):
        begun = clock()
        pixels = classifier.pixels(encoded, "image")[None, ..., None]
        classifier.describe(float(classifier.probabilities(pixels)[0]))
        times.append(clock() - begun)
    return 1000 * statistics.median(times[WARM_UP:])


def size_mb(folder: Path) -> float:
    """Returns the size of a folder's files in MB (10^6 bytes)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
