"""A Keras model as a file for other runtimes, which must score images as the model does.

The only importer of these runtimes: onnxruntime, LiteRT.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pneumo_core.errors import ExportError, ModelError

Run = Callable[[np.ndarray], np.ndarray]
"""From pixels (N, size, size, 1) float32 to probabilities (N, 1)."""

TOLERANCE = {"keras": 1e-6, "tflite": 1e-4, "onnx": 1e-4}
"""A file may differ from the Keras face by this much in a probability: other runtimes add in another order."""

_ENDINGS = {"keras": ".keras", "tflite": ".tflite", "onnx": ".onnx"}
_OPTIONAL = ("onnx", "onnxruntime", "tf2onnx")
_AT_A_TIME = 16
_LEAST_SPREAD = 0.05


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of an exported model.

    Attributes:
        name: that the runtime knows it by.
        shape: with None for the number of images, which is free.
        dtype: numpy's name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How an exported model's probabilities differ from those of the Keras face.

    Attributes:
        images: how many were compared.
        largest_difference: in a probability.
        tolerance: that was allowed.
        lowest: probability among the images.
        highest: likewise.
    """

    images: int
    largest_difference: float
    tolerance: float
    lowest: float
    highest: float

    @property
    def warning(self) -> str:
        """The sentence that the images are too much alike to show a difference; empty if they are not."""
        if self.highest - self.lowest >= _LEAST_SPREAD:
            return ""
        spread = f"{self.lowest:.3f} to {self.highest:.3f}"
        return f"all images compared score alike ({spread}), which shows little; name others with --images."


def check_target(file_format: str, path: Path) -> None:
    """Makes sure that a model can be exported so, before the work.

    Raises:
        ModelError: if there is no such format, what it needs is not installed, or the file cannot have that name.
    """
    if file_format not in _ENDINGS:
        raise ModelError(f"--format {file_format}: expected one of {', '.join(_ENDINGS)}.")
    missing = [name for name in _OPTIONAL if importlib.util.find_spec(name) is None] if file_format == "onnx" else []
    if missing:
        raise ModelError(
            f"--format onnx: expected {', '.join(missing)} to be installed; pip install 'pneumo-tune[onnx]' does that."
        )
    if path.suffix != _ENDINGS[file_format]:
        raise ModelError(
            f"--out {path}: expected a name that ends in {_ENDINGS[file_format]}, as --format {file_format} has."
        )
    for taken in (path, described_in(path)):
        if taken.exists():
            raise ModelError(f"--out {path}: expected a new file, but {taken} exists; name another, or remove it.")
    if not path.absolute().parent.is_dir():
        raise ModelError(f"--out {path}: expected a file in a folder that exists; make {path.absolute().parent} first.")


def described_in(path: Path) -> Path:
    """Returns where it is described how to use an exported file."""
    return path.with_name(f"{path.name}.json")


def export_file(
    model: Any,
    file_format: str,
    path: Path,
    pixels: np.ndarray,
    describe: Callable[[Path, Port, Port, Comparison], str],
) -> Comparison:
    """Exports a Keras model, and declares the file good if it scores images as the model does.

    Args:
        model: from gray pixels (N, size, size, 1), 0 to 255, to probabilities (N, 1).
        file_format: `keras`, `tflite` or `onnx`.
        path: of the new file.
        pixels: of the images to compare on, (N, size, size, 1) uint8, N at least 1.
        describe: from the finished file, its input, its output and the comparison to the text that is put beside it.

    Raises:
        ExportError: if the model cannot be written so, or the file scores differently; no file is left.
        ModelError: if the disk refuses.

    Side effects:
        Writes the file, and beside it `described_in(path)`.
    """
    expected = _probabilities(lambda batch: np.asarray(model(batch, training=False)), pixels)
    try:
        with _scratch_beside(path) as scratch:
            file = scratch / path.name
            with _quiet(file_format):
                run, source, target = _WRITERS[file_format](model, file)
                got = _probabilities(run, pixels)
            comparison = _agreeing(expected, got, file_format)
            described_in(file).write_text(describe(file, source, target, comparison))
            described_in(file).replace(described_in(path))
            file.replace(path)
    except OSError as error:
        raise ModelError(f"--out {path}: cannot be written ({error.strerror or error}).") from error
    return comparison


def _probabilities(run: Run, pixels: np.ndarray) -> np.ndarray:
    """Scores the first image alone, then all in batches: the number of images must be free."""
    starts = range(0, len(pixels), _AT_A_TIME)
    batches = [pixels[:1], *(pixels[start : start + _AT_A_TIME] for start in starts)]
    return np.concatenate([np.asarray(run(batch.astype(np.float32)), np.float64) for batch in batches])[:, 0]


def _agreeing(expected: np.ndarray, got: np.ndarray, file_format: str) -> Comparison:
    difference, tolerance = float(np.abs(got - expected).max()), TOLERANCE[file_format]
    if not difference <= tolerance:  # NaN is not
        raise ExportError(
            f"--format {file_format}: the file differs from the Keras face by {difference:.2g} in a probability, "
            f"expected at most {tolerance:g}; it was removed."
        )
    return Comparison(len(expected) - 1, difference, tolerance, float(expected.min()), float(expected.max()))


def _write_keras(model: Any, file: Path) -> tuple[Run, Port, Port]:
    import keras

    model.save(file)
    loaded = keras.saving.load_model(file, compile=False, safe_mode=True)
    ports = [Port(of.name, tuple(of.shape), str(of.dtype)) for of in (loaded.inputs[0], loaded.outputs[0])]
    return lambda batch: np.asarray(loaded(batch, training=False)), ports[0], ports[1]


def _write_tflite(model: Any, file: Path) -> tuple[Run, Port, Port]:
    import tensorflow as tf

    file.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    if importlib.util.find_spec("ai_edge_litert"):
        interpreter: Any = importlib.import_module("ai_edge_litert.interpreter").Interpreter
    else:
        interpreter = tf.lite.Interpreter  # deprecated, but there with TensorFlow
    runner = interpreter(model_path=str(file)).get_signature_runner("serving_default")
    (source, given), (target, gives) = (
        next(iter(details.items())) for details in (runner.get_input_details(), runner.get_output_details())
    )
    ports = [
        Port(name, _free(one["shape_signature"]), np.dtype(one["dtype"]).name)
        for name, one in ((source, given), (target, gives))
    ]
    return lambda batch: runner(**{source: batch})[target], ports[0], ports[1]


def _write_onnx(model: Any, file: Path) -> tuple[Run, Port, Port]:
    import onnxruntime

    model.export(str(file), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given, gives = session.get_inputs()[0], session.get_outputs()[0]
    ports = [Port(one.name, _free(one.shape), "float32") for one in (given, gives)]
    return lambda batch: session.run([gives.name], {given.name: batch})[0], ports[0], ports[1]


_WRITERS: dict[str, Callable[[Any, Path], tuple[Run, Port, Port]]] = {
    "keras": _write_keras,
    "tflite": _write_tflite,
    "onnx": _write_onnx,
}


def _free(shape: Any) -> tuple[int | None, ...]:
    """A runtime's shape; what is not a number of its own is free."""
    return tuple(int(side) if isinstance(side, (int, np.integer)) and side > 0 else None for side in shape)


@contextlib.contextmanager
def _scratch_beside(path: Path) -> Iterator[Path]:
    scratch = Path(tempfile.mkdtemp(prefix=".tune-export-", dir=path.absolute().parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _quiet(file_format: str) -> Iterator[None]:
    """Keeps to itself what converters print, log and warn.

    Raises:
        ExportError: if they raise anything but what this program or the operating system does.
    """
    words = io.StringIO()
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with _native_output_muted(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
                yield
        except (ExportError, OSError):
            raise
        except Exception as error:  # converters raise whatever they meet
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ExportError(f"--format {file_format}: the model cannot be written so ({lines[0]}).") from error


@contextlib.contextmanager
def _native_output_muted() -> Iterator[None]:
    """File descriptors 1 and 2 lead nowhere: TensorFlow's libraries write there, past Python."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        yield
    finally:
        for descriptor, before in zip((1, 2), kept, strict=True):
            os.dup2(before, descriptor)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)
