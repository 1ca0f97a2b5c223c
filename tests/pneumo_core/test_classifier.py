"""The deployable classifier decides consistently and survives every kind of input."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumo_core.classifier import (
    SETTINGS_FILE,
    Bands,
    Classifier,
    ClassifierSettings,
    InputLimits,
    PythonFunction,
    encoded_bytes,
)
from pneumo_core.errors import ImageError
from pneumo_core.preprocessing import Preprocessing


def _brightness(pixels: np.ndarray) -> np.ndarray:
    """A stand-in for a model: the mean brightness as probability."""
    return pixels.mean(axis=(1, 2)) / 255


def _classifier(threshold: float | None = None) -> Classifier:
    return Classifier(ClassifierSettings(32, ("NORMAL", "PNEUMONIA"), threshold), _brightness)


def _encoded(gray: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("L", (40, 60), gray).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize("threshold", [0.01, 0.2, 0.5, 0.77, 0.99])
def test_label_and_band_never_contradict(threshold: float) -> None:
    """Nothing called positive is `low`, nothing called negative is `high`, and bands rise with the probability."""
    classifier = _classifier(threshold)
    bands = []
    for probability in np.linspace(0, 1, 1001):
        prediction = classifier.describe(float(probability))
        assert prediction.label == ("PNEUMONIA" if probability >= threshold else "NORMAL")
        assert prediction.band != ("low" if prediction.label == "PNEUMONIA" else "high")
        bands.append(("low", "moderate", "high").index(prediction.band))
    assert bands == sorted(bands)
    assert set(bands) == {0, 1, 2}


def test_without_a_threshold_the_edges_are_the_notebooks() -> None:
    """0.3 and 0.7, with its three sentences."""
    classifier = _classifier(None)
    edges = {0.29: "low", 0.3: "moderate", 0.69: "moderate", 0.71: "high"}
    assert {p: classifier.describe(p).band for p in edges} == edges
    assert Bands.around(0.5).of(0.3) == "moderate"
    assert classifier.describe(0.9).recommendation == "HIGH CONFIDENCE - Pneumonia likely"
    assert classifier.describe(0.5).recommendation == "MODERATE CONFIDENCE - Manual review recommended"
    assert classifier.describe(0.1).recommendation == "LOW CONFIDENCE - Likely normal"


def test_settings_survive_their_file(tmp_path: Path) -> None:
    """A threshold of none stays none, and preprocessing stays what it was."""
    for settings in (
        ClassifierSettings(64, ("A", "B"), None),
        ClassifierSettings(224, ("A", "B"), 0.31, Preprocessing("clahe", "none", "pad"), temperature=1.7),
        ClassifierSettings(64, ("A", "B"), 0.5, bands=Bands(0.1, 0.9), limits=InputLimits(("PNG",), 1, 2, 3, 4)),
    ):
        settings.save(tmp_path)
        assert ClassifierSettings.load(tmp_path) == settings


def test_the_file_speaks_for_itself(tmp_path: Path) -> None:
    """Every setting stands there as a number or name, with a word on each; the limits are those that are obeyed."""
    ClassifierSettings(64, ("A", "B"), 0.2, temperature=1.7).save(tmp_path)
    content = json.loads((tmp_path / SETTINGS_FILE).read_text())
    assert set(content["about"]) == set(content) - {"about", "format"}
    assert (content["threshold"], content["temperature"]) == (0.2, 1.7)
    assert content["bands"] == {"moderate_from": pytest.approx(0.12), "high_from": pytest.approx(0.52)}
    limits = content["input_limits"]
    with pytest.raises(ImageError, match=f"at most {limits['largest_bytes']} bytes"):
        encoded_bytes(bytes(limits["largest_bytes"] + 1), "image")
    classifier = Classifier(ClassifierSettings.load(tmp_path), _brightness)
    for side, refused in ((limits["smallest_side_px"] - 1, True), (limits["smallest_side_px"], False)):
        file = io.BytesIO()
        Image.new("L", (side, side)).save(file, "PNG")
        with pytest.raises(ImageError) if refused else contextlib.nullcontext():
            classifier.pixels(file.getvalue(), "x")


def test_the_bands_of_the_file_are_obeyed(tmp_path: Path) -> None:
    """They are read, not computed anew from the threshold."""
    ClassifierSettings(64, ("A", "B"), 0.5, bands=Bands(0.1, 0.9)).save(tmp_path)
    classifier = Classifier(ClassifierSettings.load(tmp_path), _brightness)
    assert [classifier.describe(p).band for p in (0.05, 0.2, 0.8, 0.95)] == ["low", "moderate", "moderate", "high"]


def test_settings_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Without temperature, bands and limits: not known, around the threshold, today's."""
    content = {"image_size": 64, "class_names": ["A", "B"], "threshold": 0.2}
    plain = {"contrast": "none", "denoise": "none", "resize": "pad"}
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(content | {"preprocessing": plain}))
    settings = ClassifierSettings.load(tmp_path)
    assert settings == ClassifierSettings(64, ("A", "B"), 0.2, Preprocessing(resize="pad"))
    assert (settings.temperature, settings.bands) == (None, Bands.around(0.2))


def test_bytes_and_base64_give_the_same(tmp_path: Path) -> None:
    """What a program hands over and what arrives over HTTP are the same image."""
    function = PythonFunction(_classifier())
    images = [_encoded(10), _encoded(200, "JPEG")]
    as_bytes = function.predict(pd.DataFrame({"image": images}))
    as_text = function.predict([base64.b64encode(image).decode() for image in images])
    pd.testing.assert_frame_equal(as_bytes, as_text)
    assert as_bytes["label"].tolist() == ["NORMAL", "PNEUMONIA"]
    assert as_bytes["probability"].tolist() == pytest.approx([10 / 255, 200 / 255], abs=1e-6)


def test_a_bad_image_does_not_spoil_the_others() -> None:
    """It gets a sentence, in its place; the others get their predictions."""
    bad = [b"", b"GIF89a", _encoded(1)[:30], "not base64 at all!", 17, None, base64.b64encode(b"text").decode()]
    answer = PythonFunction(_classifier()).predict([_encoded(200), *bad, _encoded(10)])
    assert answer["error"].isna().tolist() == [True, *[False] * len(bad), True]
    assert answer["probability"].notna().tolist() == [True, *[False] * len(bad), True]
    assert all("\n" not in error for error in answer["error"].dropna())
    assert "NaN" not in json.dumps(answer.to_dict("records"))  # as MLflow sends it; NaN is no JSON


def test_only_bad_images_and_no_images_are_answered_too() -> None:
    """The frame always has its columns."""
    function = PythonFunction(_classifier())
    assert function.predict([]).columns.tolist() == function.predict([b"x"]).columns.tolist()
    assert len(function.predict([])) == 0


def test_huge_input_is_refused_before_it_is_decoded() -> None:
    """Neither bytes nor text over the limit are looked into."""
    with pytest.raises(ImageError, match="at most 64000000 bytes"):
        encoded_bytes(b"\0" * 64_000_001, "image")
    with pytest.raises(ImageError, match="at most"):
        encoded_bytes("A" * 90_000_000, "image")
