"""A registered model treats images as training did: preprocessing, DICOM, and a word on every odd file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from dicom_files import PATIENT, dicom_bytes
from odd_files import CONVERTED, PIXELS, REFUSED, WARNED, write_odd_files

from pneumo_core.classifier import ClassifierSettings
from pneumo_core.images import decode_gray, read_images
from pneumo_core.preprocessing import Preprocessing, preprocess
from tuning.models.model_folder import write_model_folder
from tuning.models.named_images import NamedImage
from tuning.models.prediction import Predictions, predict_images
from tuning.models.registry import ModelReference

SETTINGS = ClassifierSettings(32, ("NORMAL", "PNEUMONIA"), 0.5, Preprocessing("clahe", "gaussian", "pad"))


def _model() -> keras.Model:
    """A stand-in for a network, to which every pixel counts differently."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((32, 32, 1), name="pixels")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(flat))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a registered model with every step of preprocessing switched on."""
    place = tmp_path_factory.mktemp("registered") / "model"
    write_model_folder(place, _model(), SETTINGS)
    return place


class _Shelf:
    """As much of a registry as prediction needs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, reference: str | None) -> ModelReference:
        return ModelReference("odd", "1")

    def python_function(self, reference: ModelReference) -> Any:
        return mlflow.pyfunc.load_model(str(self._folder))

    def folder(self, reference: ModelReference) -> Path:
        return self._folder


def _predicted(folder: Path, paths: list[Path]) -> Predictions:
    return predict_images(_Shelf(folder), None, [NamedImage(path) for path in paths])  # type: ignore[arg-type]


def test_a_registered_model_preprocesses_as_training_does(folder: Path, tmp_path: Path) -> None:
    """CLAHE, blur and bars of a DICOM file and a PNG: `python_function` agrees with computing it step by step."""
    files = {"a.dcm": dicom_bytes(PIXELS.astype(np.uint16) * 16, BitsStored=12, HighBit=11), **{
        name: data for name, (data, _) in CONVERTED.items()
    }}  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    gray = [preprocess(decode_gray(data, name="a"), 32, SETTINGS.preprocessing) for data in files.values()]
    trained_on = read_images(tmp_path, list(files), 32, SETTINGS.preprocessing)
    np.testing.assert_array_equal(trained_on[..., 0], gray)
    by_hand = np.asarray(_model()(np.array(gray, np.float32)[..., None]))[:, 0]
    said = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame({"image": list(files.values())}))
    assert said["error"].isna().all()
    np.testing.assert_allclose(said["probability"], by_hand, atol=1e-6)
    plain = np.asarray(_model()(read_images(tmp_path, ["a.dcm"], 32).astype(np.float32)))[0, 0]
    assert abs(plain - by_hand[0]) > 1e-3


def test_a_model_asks_for_opencv_only_if_it_uses_it(folder: Path, tmp_path: Path) -> None:
    """DICOM is read by every model; CLAHE and blurring by those that were trained on them."""
    write_model_folder(tmp_path / "plain", _model(), ClassifierSettings(32, ("A", "B"), None))
    pinned = [
        {line.partition("==")[0] for line in (place / "requirements.txt").read_text().split()}
        for place in (folder, tmp_path / "plain")
    ]
    assert pinned[0] - pinned[1] == {"opencv-python-headless"}
    assert "pydicom" in pinned[1]


def test_prediction_has_the_documented_word_on_every_odd_file(folder: Path, tmp_path: Path) -> None:
    """Refused with the reason, converted to the same answer as the plain image, or used with a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="PIL")
        said = _predicted(folder, write_odd_files(tmp_path))
    assert len(said.refused) == len(REFUSED)
    for name, (_, word) in REFUSED.items():
        assert [line for line in said.refused if f"/{name}: expected" in line and word in line]
    assert PATIENT not in "".join(said.refused)
    rows = {Path(row["image"]).name: row["probability"] for row in said.rows}
    assert set(rows) == {*CONVERTED, *WARNED}
    assert len({rows[name] for name in CONVERTED}) == 1
    assert len(said.warnings) == 1
    assert "twenty.png: expected a radiograph of at least 64 px a side, got 20 × 20 px" in said.warnings[0]


def test_a_dicom_file_is_recognised_by_its_contents(folder: Path, tmp_path: Path) -> None:
    """Whatever it is called, or if it has no name at all, as over HTTP."""
    (tmp_path / "a.jpeg").write_bytes(CONVERTED["plain.dicom"][0])
    said = _predicted(folder, [tmp_path / "a.jpeg"])
    assert (len(said.rows), said.refused, said.warnings) == (1, [], [])
