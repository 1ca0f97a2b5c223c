"""`tune predict` as people use it: folders, standard input, CSV, a panel, and a warning where one is due."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from matplotlib.figure import Figure
from mlflow.pyfunc import scoring_server
from PIL import Image
from typer.testing import CliRunner

from pneumo_core.classifier import ClassifierSettings
from pneumo_core.dataset import index_dataset
from pneumo_core.errors import ImageError
from pneumo_core.familiarity import FAMILIARITY_FILE, Familiarity
from pneumo_core.images import read_images
from pneumo_core.model import PROBABILITY_LAYER
from pneumo_core.prediction_panel import Panel, plot_predictions
from tuning.cli import app
from tuning.models import prediction
from tuning.models.api import predict as predict_in_notebook
from tuning.models.model_folder import write_model_folder
from tuning.models.prediction import COLUMNS
from tuning.models.registry import ModelReference
from tuning.models.study_images import write_study_images

Predict = Callable[..., tuple[int, str, str]]


def _network(*, with_convolution: bool) -> keras.Model:
    keras.utils.set_random_seed(3)
    pixels = keras.Input((32, 32, 1), name="pixels")
    tensor = keras.layers.Rescaling(1 / 255)(pixels)
    if with_convolution:
        tensor = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(tensor)
    logit = keras.layers.Dense(1)(keras.layers.Flatten()(tensor))
    return keras.Model(pixels, keras.layers.Activation("sigmoid", name=PROBABILITY_LAYER)(logit))


class _Shelf:
    """As much of a registry as prediction needs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, reference: str | None) -> ModelReference:
        return ModelReference("shelf", "1")

    def python_function(self, reference: ModelReference) -> Any:
        return mlflow.pyfunc.load_model(str(self._folder))

    def folder(self, reference: ModelReference) -> Path:
        return self._folder

    def keras_model(self, reference: ModelReference) -> Any:
        return keras.saving.load_model(self._folder / "data/model.keras", compile=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, phantoms: Path) -> Path:
    """A model with a convolution, which knows what the images of train/ look like."""
    folder = tmp_path_factory.mktemp("registered") / "model"
    write_model_folder(folder, _network(with_convolution=True), ClassifierSettings(32, ("NORMAL", "PNEUMONIA"), 0.5))
    dataset = index_dataset(phantoms)
    pool = dataset.manifest[dataset.manifest["split"] != "test"]
    pixels = read_images(dataset.root, pool["path"].tolist(), 32)
    Familiarity.fit(pixels, pool["group"].tolist()).save(folder)
    write_study_images(folder, dataset.manifest)
    return folder


@pytest.fixture
def predict(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Predict:
    """The command, with that model: its exit code, stdout and stderr."""

    def run(*words: object, given: bytes = b"", model: Path = folder) -> tuple[int, str, str]:
        monkeypatch.setattr("tuning.models.registry.Registry", lambda store, uri: _Shelf(model))
        result = CliRunner(env={"TUNE_STORE": str(tmp_path)}).invoke(app, ["predict", *map(str, words)], input=given)
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Black lines on white paper."""
    lines = np.full((120, 90), 250, np.uint8)
    lines[10:110:6, 8:80] = 10
    Image.fromarray(lines).save(tmp_path / "page.png")
    return tmp_path / "page.png"


def test_a_folder_becomes_csv(predict: Predict, phantoms: Path, tmp_path: Path) -> None:
    """A row for each image with all columns, in a file or on stdout; the same numbers as in JSON."""
    code, out, error = predict(phantoms / "test", "--csv", "-")
    assert "are of the test folder of the model's study" in error
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert tuple(rows[0]) == COLUMNS
    assert [row["image"] for row in rows] == sorted(map(str, (phantoms / "test").rglob("*.jpeg")))
    assert {row["true_label"] for row in rows} == {"NORMAL", "PNEUMONIA"}
    code, document, _ = predict(phantoms / "test", "--csv", tmp_path / "rows.csv", "--json")
    assert (tmp_path / "rows.csv").read_text() == out
    assert [str(row["probability"]) for row in json.loads(document)] == [row["probability"] for row in rows]


def test_notebooks_get_the_rows_of_the_command(
    predict: Predict, folder: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A data frame with the same columns and numbers; what is no image is named, and alone it is an error."""
    images = [phantoms / "test", phantoms / "nothing.png"]
    _, document, _ = predict(*images, "--triage", "--json")
    monkeypatch.undo()
    monkeypatch.setattr("tuning.models.registry.Registry.of_existing", lambda store, uri: _Shelf(folder))
    frame = predict_in_notebook(images, triage=True)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(json.loads(document)))
    assert "nothing.png" in capsys.readouterr().err
    with pytest.raises(ImageError, match=r"nothing\.png"):
        predict_in_notebook(phantoms / "nothing.png")
    with pytest.raises(ImageError, match="at least one"):
        predict_in_notebook([])


def test_an_image_may_come_by_standard_input(predict: Predict, phantoms: Path) -> None:
    """It gets the same probability as the file; what is no image gets one line."""
    image = next((phantoms / "test" / "NORMAL").iterdir())
    code, out, _ = predict("-", image, "--json", given=image.read_bytes())
    piped, named = json.loads(out)
    assert (code, piped["image"], piped["true_label"]) == (0, "-", None)
    assert piped["probability"] == named["probability"]
    code, out, err = predict("-", "--json", given=b"hello")
    assert (code, json.loads(out)) == (2, [])
    assert err.splitlines() == [line for line in err.splitlines() if "-: expected a JPEG, PNG or DICOM image" in line]


def test_nothing_is_loaded_where_no_image_is_named(predict: Predict, tmp_path: Path) -> None:
    """A hostile folder: one line each, exit 2, nothing on stdout."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    code, out, err = predict(tmp_path / "other", tmp_path / "empty", "--json", model=tmp_path / "no model")
    assert (code, out, len(err.splitlines())) == (2, "", 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--plot", "panel.xyz"), "--plot panel.xyz: expected a name that ends in .png, .pdf, .svg"),
        (("--csv", "nowhere/rows.csv"), "there is no folder nowhere"),
        (("--csv", "/"), "got a folder"),
        (("--csv", "-", "--json"), "both want stdout"),
        (("--csv", "other.JPEG"), "got that of an image"),
        (("--csv", "missing.png"), "got that of an image"),
        (("--plot", "./missing.png"), "got one of the images"),
    ],
)
def test_impossible_outputs_are_refused_before_anything_is_read(
    predict: Predict, words: tuple[str, ...], message: str
) -> None:
    """One line and exit 2, not after an hour of reading."""
    code, out, err = predict("missing.png", *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_what_is_no_chest_is_warned_about_and_classified_all_the_same(
    predict: Predict, folder: Path, phantoms: Path, page: Path
) -> None:
    """On stderr and in the row; by the python_function face too, as over HTTP. Chests of others are not."""
    found = sorted((phantoms / "test").rglob("*.jpeg"))
    chests = [path for path in found if min(Image.open(path).size) >= 64]
    code, out, err = predict(page, *chests, "--json")
    strange, *familiar = json.loads(out)
    assert code == 0
    assert strange["warning"].startswith("expected a frontal chest radiograph like the model's training images")
    assert f"tune: {page}: {strange['warning']}" in err.splitlines()
    assert [row["warning"] for row in familiar] == [None] * len(chests)
    images = pd.DataFrame({"image": [page.read_bytes(), b"no image", chests[0].read_bytes()]})
    answer = mlflow.pyfunc.load_model(str(folder)).predict(images)
    assert answer["warning"].tolist() == [strange["warning"], None, None]
    assert answer["error"].notna().tolist() == [False, True, False]


def test_the_warning_arrives_over_http(folder: Path, phantoms: Path, page: Path) -> None:
    """MLflow's own server answers with it, or with null; nothing in the answer is NaN, which JSON does not know."""
    chest = max((phantoms / "test" / "NORMAL").iterdir(), key=lambda path: path.stat().st_size)
    images = [[base64.b64encode(path.read_bytes()).decode()] for path in (page, chest)] + [["no image"]]
    client = TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(folder))))
    answer = client.post("/invocations", json={"dataframe_split": {"columns": ["image"], "data": images}})
    strange, familiar, unusable = json.loads(answer.text, parse_constant=pytest.fail)["predictions"]
    assert "expected a frontal chest radiograph" in strange["warning"]
    assert (familiar["warning"], familiar["error"]) == (None, None)
    assert (unusable["warning"], unusable["probability"]) == (None, None)


def test_a_model_that_does_not_know_its_training_images_never_warns(
    predict: Predict, folder: Path, page: Path, tmp_path: Path
) -> None:
    """As those that were registered before: without a description, or with a classifier that knows no such thing."""
    import shutil

    shutil.copytree(folder, tmp_path / "older")
    (tmp_path / "older" / FAMILIARITY_FILE).unlink()
    code, out, err = predict(page, "--json", model=tmp_path / "older")
    assert (code, json.loads(out)[0]["warning"], err) == (0, None, "")
    (code_file,) = (tmp_path / "older" / "code").rglob("classifier.py")
    code_file.write_text(code_file.read_text().replace("def warning(", "def unknown_then("))
    renamed = code_file.parent.rename(code_file.parent.with_name("pneumo_classifier_before"))
    model = tmp_path / "older" / "MLmodel"
    model.write_text(model.read_text().replace(code_file.parent.name, renamed.name))
    code, out, err = predict(page, "--json", model=tmp_path / "older")
    assert (code, json.loads(out)[0]["warning"], err) == (0, None, "")


def test_the_panel_shows_the_first_or_the_most_urgent(
    predict: Predict, phantoms: Path, page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Batches do not change who is drawn, only the drawn are kept, and it says how many there are."""
    monkeypatch.setattr(prediction, "_PLOTTED", 3)
    drawn = []

    def plot(panels: list[Panel], *rest: Any) -> Figure:
        drawn.append(panels)
        return plot_predictions(panels, *rest)

    monkeypatch.setattr(prediction, "plot_predictions", plot)
    words = (page, phantoms / "test", "--plot", tmp_path / "panel.png", "--json")
    for batch_size in (2, 64):
        monkeypatch.setattr(prediction, "BATCH_SIZE", batch_size)
        _, out, err = predict(*words, "--triage")
        rows = json.loads(out)
        assert [panel.name for panel in drawn[-1]] == [Path(row["image"]).name for row in rows[:3]]
        assert f"--plot: shows the first 3 of {len(rows)} images" in err
    predict(*words)
    assert (drawn[-1][0].name, drawn[-1][0].is_familiar) == ("page.png", False)
    assert all(panel.heatmap is not None for panel in drawn[-1])
    assert Image.open(tmp_path / "panel.png").width > 800


def test_a_model_without_convolution_is_drawn_without_grad_cam(
    predict: Predict, phantoms: Path, tmp_path: Path
) -> None:
    """With a sentence that says so."""
    model, settings = tmp_path / "flat", ClassifierSettings(32, ("NORMAL", "PNEUMONIA"), 0.5)
    write_model_folder(model, _network(with_convolution=False), settings)
    image = next((phantoms / "test" / "NORMAL").iterdir())
    code, _, err = predict(image, "--plot", tmp_path / "panel.svg", model=model)
    assert (code, len(err.splitlines())) == (0, 1)
    assert "without Grad-CAM" in err
    assert (tmp_path / "panel.svg").stat().st_size > 1000


def test_odd_names_are_shown_as_they_are(predict: Predict, phantoms: Path, tmp_path: Path) -> None:
    """No markup, no formulas: a name is a name."""
    odd = tmp_path / "[red]$x^2$ [b].png"
    odd.write_bytes(next((phantoms / "test" / "NORMAL").iterdir()).read_bytes())
    code, out, _ = predict(odd, "--plot", tmp_path / "panel.png")
    assert code == 0
    assert "[red]$x^2$ [b].png" in "".join(out.split("\n"))
