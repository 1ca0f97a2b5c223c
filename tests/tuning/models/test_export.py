"""An exported file scores images as the registered model does, or there is no file."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_registered import SIZE_PX, THRESHOLD, Shelf, branched_model
from typer.testing import CliRunner

from pneumo_core.errors import ExportError, ModelError
from pneumo_core.images import read_images
from tuning.cli import app
from tuning.models import runtimes
from tuning.models.export import CHECKED_IMAGES, export_registered
from tuning.models.runtimes import check_target


@pytest.fixture
def images(phantoms: Path) -> Path:
    """Images to compare on."""
    return phantoms / "train"


def _export(shelf: Shelf, file_format: str, path: Path, images: Path) -> Any:
    store, registry, _ = shelf
    return export_registered(store, registry, "tiny@champion", file_format, path, [images])


def _probabilities(file_format: str, path: Path, port: dict[str, Any], pixels: np.ndarray) -> np.ndarray:
    """Runs a file as somebody would who has nothing but it and its description."""
    if file_format == "onnx":
        import onnxruntime

        return np.asarray(onnxruntime.InferenceSession(path).run(None, {port["name"]: pixels})[0])
    if file_format == "tflite":
        import tensorflow as tf

        with pytest.warns(UserWarning, match="deprecated"):
            interpreter = tf.lite.Interpreter(str(path))
        (result,) = interpreter.get_signature_runner()(**{port["name"]: pixels}).values()
        return np.asarray(result)
    import keras

    return np.asarray(keras.saving.load_model(path, compile=False)(pixels))


@pytest.mark.parametrize("file_format", ["keras", "tflite", "onnx"])
def test_a_file_can_be_used_by_its_description(
    shelf: Shelf, images: Path, tmp_path: Path, file_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its input is named, any number of images goes in, the same probabilities come out; converters keep quiet."""
    path = tmp_path / f"tiny.{file_format}"
    exported = _export(shelf, file_format, path, images)
    assert capfd.readouterr() == ("", "")
    described = json.loads((tmp_path / f"tiny.{file_format}.json").read_text())
    assert described == exported.description
    assert described["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert described["input"]["shape"] == [None, SIZE_PX, SIZE_PX, 1]
    assert described["output"]["shape"] == [None, 1]
    assert (described["threshold"], described["class_names"]) == (THRESHOLD, ["NORMAL", "PNEUMONIA"])
    assert described["bands"]["moderate_from"] < THRESHOLD < described["bands"]["high_from"]
    files = [str(file) for file in sorted(images.rglob("*.jpeg"))]
    pixels = read_images(Path(), files, SIZE_PX).astype(np.float32)
    for some in (pixels, pixels[:3], pixels[:1]):
        by_file = _probabilities(file_format, path, described["input"], some)
        np.testing.assert_allclose(by_file, np.asarray(branched_model()(some)), atol=1e-5)
    assert described["comparison"]["images"] == min(len(files), CHECKED_IMAGES)
    assert 0 <= exported.comparison.largest_difference <= exported.comparison.tolerance
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, f"{path.name}.json"]


def test_a_file_that_scores_differently_is_removed(
    shelf: Shelf, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here because another model was written."""
    write = runtimes._write_keras
    monkeypatch.setitem(runtimes._WRITERS, "keras", lambda model, file: write(branched_model(seed=4), file))
    with pytest.raises(ExportError, match=r"differs from the Keras face by 0\.\d+ .* at most 1e-06; it was removed"):
        _export(shelf, "keras", tmp_path / "a.keras", images)
    assert not list(tmp_path.iterdir())


def test_a_model_that_a_format_cannot_hold_is_one_sentence(
    shelf: Shelf, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a converter raises."""
    monkeypatch.setitem(runtimes._WRITERS, "keras", lambda model, file: [][1])
    with pytest.raises(
        ExportError, match=r"--format keras: the model cannot be written so \(list index out of range\)\."
    ):
        _export(shelf, "keras", tmp_path / "a.keras", images)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Format, ending, folder, a file that is there; and what has to be installed."""
    (tmp_path / "there.keras").touch()
    for file_format, name, word in (
        ("h5", "a.h5", "expected one of keras, tflite, onnx"),
        ("onnx", "a.keras", "ends in .onnx"),
        ("keras", "there.keras", "expected a new file"),
        ("keras", "none/a.keras", "folder that exists"),
    ):
        with pytest.raises(ModelError, match=word):
            check_target(file_format, tmp_path / name)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ModelError, match=r"expected tf2onnx to be installed; pip install 'pneumo-tune\[onnx\]'"):
        check_target("onnx", tmp_path / "a.onnx")


def test_the_command_compares_on_real_images_or_asks_for_some(shelf: Shelf, images: Path, tmp_path: Path) -> None:
    """The study of this model is not in the store; with images it is one line, and one document for scripts."""
    words = ["export", "--store", str(shelf[0].root), "--format", "keras"]
    refused = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "a.keras")])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "name some with --images" in refused.stderr
    told = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "a.keras"), "--images", str(images)])
    assert told.exit_code == 0, told.stderr
    assert told.stdout.count("\n") == 1
    assert "differs from its Keras face by 0.0e+00 in a probability at most" in told.stdout
    one = next(images.rglob("*.jpeg"))
    printed = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "b.keras"), "--images", str(one), "--json"])
    assert json.loads(printed.stdout)["comparison"]["images"] == 1
    assert "score alike" in printed.stderr
