"""The model that leaves is the model that was tried, and nothing is registered that is not."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image
from scipy.special import expit
from typer.testing import CliRunner

from pneumo_core.dataset import index_dataset
from pneumo_core.errors import DatasetError, ModelError, PromotionError, StudyError, WeightsError
from pneumo_core.images import read_images
from pneumo_core.preprocessing import Preprocessing
from tuning.api import run_study
from tuning.cli import app
from tuning.models import promotion as promotion_module
from tuning.models.api import promote_study
from tuning.models.promotion import PromotionResult, promote
from tuning.models.registry import Registry, check_alias
from tuning.models.study_images import acquaintance
from tuning.record import StudyRecord
from tuning.store import Store

SPACE = """\
name: faces
trials: 2
epochs: 1
algorithm: grid
confirm: {top: 0}
fixed:
  {weights: random, activation_precision: float32, image_size: 32, batch_size: 16, head_units: 16, second_head_units: 8,
  contrast: clahe, resize: pad, learning_rate: 1.0e-4}
parameters:
  unfrozen_layers: {type: choice, values: [0, 2]}
start_with: [{unfrozen_layers: 0}]
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, phantoms: Path) -> tuple[Store, StudyRecord]:
    """A study with a frozen and an unfrozen trial; standardized features, two head layers."""
    root = tmp_path_factory.mktemp("store")
    (root / "faces.yaml").write_text(SPACE)
    result = run_study(
        str(root / "faces.yaml"), phantoms, study="faces", store=root, workers=0, plots=False, progress=False
    )
    return Store.at(root), result.record


@pytest.fixture(scope="module")
def promoted(study: tuple[Store, StudyRecord]) -> dict[str, PromotionResult]:
    """Both trials, each under an alias of its own: t0001 champion, t0002 challenger."""
    store, _ = study
    return {
        alias: promote(store, "faces", trial=trial, alias=alias, policy="demo")
        for trial, alias in (("t0001", "champion"), ("t0002", "challenger"))
    }


def _artifact(record: StudyRecord, trial: str, name: str) -> pd.DataFrame:
    client = MlflowClient(record.started.tracking_uri)
    return pd.read_csv(client.download_artifacts(record.trials[trial].run_id or "", name))


@pytest.mark.parametrize(("trial", "alias"), [("t0001", "champion"), ("t0002", "challenger")])
def test_both_faces_and_the_stored_table_agree(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult], trial: str, alias: str
) -> None:
    """Keras face, python_function face and stored scores within 1e-5; the trial's own scores within 1e-3."""
    _, record = study
    mlflow.set_tracking_uri(record.started.tracking_uri)
    uri = f"models:/faces@{alias}"
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    stored = pd.read_csv(folder / "checked_scores.csv")
    root = Path(record.started.data_root)
    keras_face = mlflow.keras.load_model(uri)
    pixels = read_images(root, stored["path"].tolist(), 32, Preprocessing("clahe", "none", "pad"))
    by_keras = np.asarray(keras_face(pixels.astype(np.float32)))[:, 0]
    images = pd.DataFrame({"image": [(root / path).read_bytes() for path in stored["path"]]})
    by_function = mlflow.pyfunc.load_model(uri).predict(images)["probability"].to_numpy()
    np.testing.assert_allclose(by_keras, stored["probability"], atol=1e-5)
    np.testing.assert_allclose(by_function, stored["probability"], atol=1e-5)
    own = _artifact(record, trial, "scores.csv")
    assert own["path"].tolist() == stored["path"].tolist()
    calibrated = expit(own["logit"] / promoted[alias].operating_point["temperature"])
    np.testing.assert_allclose(calibrated, stored["probability"], atol=1e-3)
    assert by_keras.std() > 1e-4  # a model that says the same of every image would agree with anything


def test_the_keras_face_is_made_of_standard_layers(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult]
) -> None:
    """Pixels in, probability out, nothing of ours needed to load it."""
    _, record = study
    mlflow.set_tracking_uri(record.started.tracking_uri)
    model = mlflow.keras.load_model("models:/faces@champion")
    assert model.input_shape == (None, 32, 32, 1)
    assert model.output_shape == (None, 1)
    assert {layer.__class__.__module__.split(".")[0] for layer in model._flatten_layers()} == {"keras"}


def test_the_version_knows_its_studys_images(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult], phantoms: Path
) -> None:
    """All of them, so that an external validation can tell what is new."""
    store, _ = study
    registry = Registry(store)
    manifest = index_dataset(phantoms).manifest
    met = acquaintance(registry.folder(registry.find("faces@champion")), manifest)
    assert met is not None
    assert met.trained.tolist() == (~met.tested).tolist() == (manifest["split"] != "test").tolist()


def test_the_result_keeps_its_contract(promoted: dict[str, PromotionResult], study: tuple[Store, StudyRecord]) -> None:
    """Scripts rely on these fields; versions count up, the run is the trial's."""
    _, record = study
    result = promoted["challenger"]
    assert (result.promoted, result.model, result.alias, result.reasons) == (True, "faces", "challenger", [])
    assert result.version == str(int(promoted["champion"].version or 0) + 1)
    assert result.run_id == record.trials["t0002"].run_id
    assert result.metrics["val_roc_auc"] == pytest.approx(record.trials["t0002"].metrics["val_roc_auc"], abs=0.05)


def test_the_version_says_where_it_comes_from(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult]
) -> None:
    """Study, trial, digests and run stand on the version; requirements are pinned; the signature is there."""
    _, record = study
    client = MlflowClient(record.started.tracking_uri)
    version = client.get_model_version_by_alias("faces", "challenger")
    assert version.tags["pneumo.trial"] == "t0002"
    assert version.tags["pneumo.data_digest"] == record.started.data_digest
    assert version.run_id == record.trials["t0002"].run_id
    folder = Path(mlflow.artifacts.download_artifacts("models:/faces@challenger"))
    pins = (folder / "requirements.txt").read_text().split()
    assert all("==" in pin for pin in pins)
    assert {pin.split("==")[0] for pin in pins} == {
        "mlflow",
        "tensorflow",
        "keras",
        "numpy",
        "pandas",
        "pillow",
        "pydicom",
        "opencv-python-headless",
    }
    signature = mlflow.models.get_model_info("models:/faces@challenger").signature
    assert [field.name for field in signature.inputs] == ["image"]
    assert not list(folder.rglob("*.pkl"))


def test_the_model_brings_its_card_and_its_origin_along(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult]
) -> None:
    """The card's numbers are the registered ones, and so are the description's; space, split and packages are there."""
    _, record = study
    client = MlflowClient(record.started.tracking_uri)
    version = client.get_model_version_by_alias("faces", "challenger")
    folder = Path(mlflow.artifacts.download_artifacts("models:/faces@challenger"))
    card, page = (folder / "model_card.md").read_text(), (folder / "model_card.html").read_text()
    metrics = client.get_logged_model(version.source.removeprefix("models:/")).metrics
    registered = {metric.key: metric.value for metric in metrics}
    for row, name in (("ROC AUC", "roc_auc"), ("sensitivity", "sensitivity"), ("log loss (nats)", "loss")):
        numbers = [
            f"{registered[f'{of}_{name}']:.3f} ({registered[f'{of}_{name}_low']:.3f} to "
            f"{registered[f'{of}_{name}_high']:.3f})"
            for of in ("test", "val")
        ]
        assert f"| {row} | {' | '.join(numbers)} |" in card
        assert all(number in page for number in numbers)
        assert name == "loss" or f"{row} {numbers[0]}" in version.description
    assert base64.b64encode((folder / "grad_cam.png").read_bytes()).decode() in page
    assert str(record.started.data_root) not in card + page
    assert (version.tags["pneumo.git_dirty"], version.tags["pneumo.run_id"]) == (
        str(record.started.commit.endswith("-dirty")).lower(),
        record.trials["t0002"].run_id,
    )
    assert json.loads((folder / "space.json").read_text()) == record.started.definition
    origin = json.loads((folder / "lineage.json").read_text())
    assert origin["tags"].items() <= version.tags.items()
    assert all(text in card for text in origin["tags"].values())
    assert origin["split"]["digest"] == record.started.split_digest
    assert origin["packages_of_study"] == record.started.versions
    settings = json.loads((folder / "classifier.json").read_text())
    assert settings["temperature"] == promoted["challenger"].operating_point["temperature"]


def test_a_dry_run_registers_nothing(study: tuple[Store, StudyRecord]) -> None:
    """Built and checked, by what needs no test folder, and no trace in the registry."""
    store, record = study
    result = promote_study("faces", model="dry", dry_run=True, store=store.root, progress=False)
    assert (result.promoted, result.version, result.policy) == (False, None, "default")
    assert [check.requirement for check in result.checks] == ["latency of one image", "size", "trial"]
    assert result.reasons[1:] == ["trial: not confirmed, required: confirmed"]
    assert not MlflowClient(record.started.tracking_uri).search_registered_models("name = 'dry'")


def test_what_differs_from_the_trial_is_not_registered(
    study: tuple[Store, StudyRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of another training: the whole model scores differently, and the promotion fails."""
    store, record = study
    from tuning.models import whole_model as model

    read = model.read_weights

    def disturbed(path: Path) -> dict[str, np.ndarray]:
        return {name: array + (0.5 if name == "logit/bias" else 0) for name, array in read(path).items()}

    monkeypatch.setattr(model, "read_weights", disturbed)
    with pytest.raises(PromotionError, match="differs from the trial by"):
        promote(store, "faces", trial="t0001", model="wrong")
    assert not MlflowClient(record.started.tracking_uri).search_registered_models("name = 'wrong'")


def test_changed_images_or_weights_are_refused(
    study: tuple[Store, StudyRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a trial was scored on, and what it started from, must still be there."""
    store, _ = study
    real = promotion_module.load_record

    def elsewhere(store: Store, name: str, **changes: str) -> StudyRecord:
        record = real(store, name)
        for field, value in changes.items():
            object.__setattr__(record.started, field, value)
        return record

    for changes in ({"data_root": str(tmp_path)}, {"data_digest": "0" * 64}):
        monkeypatch.setattr(promotion_module, "load_record", lambda s, n, c=changes: elsewhere(s, n, **c))
        with pytest.raises(DatasetError):
            promote(store, "faces")

    def other_weights(store: Store, name: str) -> StudyRecord:
        record = real(store, name)
        record.trials["t0001"].weights_digest = "0" * 64
        return record

    monkeypatch.setattr(promotion_module, "load_record", other_weights)
    with pytest.raises(WeightsError, match="no longer those"):
        promote(store, "faces", trial="t0001")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"study": "nothing"}, StudyError, "not found"),
        ({"study": "faces", "trial": "t0099"}, StudyError, "has no trial t0099"),
        ({"study": "faces", "alias": "latest"}, ModelError, "reserved"),
        ({"study": "faces", "alias": "V12"}, ModelError, "reserved"),
        ({"study": "faces", "alias": "a b"}, ModelError, "expected letters"),
        ({"study": "faces", "model": "a/b"}, ModelError, "expected a name"),
    ],
)
def test_impossible_requests_are_refused_before_anything_is_built(
    study: tuple[Store, StudyRecord], arguments: dict[str, str], error: type[Exception], message: str
) -> None:
    """One clear line, and the registry as it was."""
    with pytest.raises(error, match=message):
        promote(study[0], **arguments)  # type: ignore[arg-type]


def test_a_study_without_a_completed_trial_has_nothing_to_promote(
    tmp_path: Path, wild_space: Path, phantoms: Path
) -> None:
    """Said so, instead of promoting the least bad failure."""
    run_study(str(wild_space), phantoms, study="wild", store=tmp_path, workers=0, plots=False, progress=False)
    with pytest.raises(StudyError, match="no completed trial"):
        promote(Store.at(tmp_path), "wild")
    with pytest.raises(StudyError, match="is failed, expected a completed one"):
        promote(Store.at(tmp_path), "wild", trial="t0001")


@pytest.mark.parametrize("alias", ["champion", "challenger", "v", "version2", "latest-good"])
def test_ordinary_aliases_are_allowed(alias: str) -> None:
    """Only what MLflow keeps for itself is refused."""
    assert check_alias(alias) == alias


def test_models_are_found_by_name_alias_and_version(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult]
) -> None:
    """NAME is its champion; what is not there is named, with what is."""
    registry = Registry(study[0])
    champion, challenger = (promoted[alias].version for alias in ("champion", "challenger"))
    assert registry.find("faces").version == registry.find("faces@champion").version == champion
    assert registry.find(None).name == "faces"
    assert registry.find(f"faces/{challenger}") == registry.find("faces@challenger")
    for wrong, message in (("x", "registered are: faces"), ("faces@x", "it has"), ("faces/99", "no version 99")):
        with pytest.raises(ModelError, match=message):
            registry.find(wrong)


def _predict(store: Store, *words: object) -> tuple[int, str, str]:
    environment = {"TUNE_STORE": str(store.root)}
    result = CliRunner(env=environment).invoke(app, ["predict", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_predict_prints_rows_and_draws_the_panel(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult], phantoms: Path, tmp_path: Path
) -> None:
    """All keys of the contract; the true label from the folder; the most urgent first on request."""
    images = [*sorted((phantoms / "test/NORMAL").iterdir())[:2], *sorted((phantoms / "test/PNEUMONIA").iterdir())[:2]]
    (tmp_path / "other.jpeg").write_bytes(images[0].read_bytes())
    code, out, _ = _predict(
        study[0], *images, tmp_path / "other.jpeg", "--json", "--triage", "--plot", tmp_path / "p.png"
    )
    rows = json.loads(out)
    assert code == 0
    keys = "image probability normal_probability label band recommendation threshold true_label model_version warning"
    assert list(rows[0]) == keys.split()
    assert [row["probability"] for row in rows] == sorted((row["probability"] for row in rows), reverse=True)
    labels = {Path(row["image"]).name: row["true_label"] for row in rows}
    assert labels[images[0].name] == "NORMAL"
    assert labels[images[3].name] == "PNEUMONIA"
    assert labels["other.jpeg"] is None
    assert rows[0]["model_version"] == f"faces/{promoted['champion'].version}"
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_predict_names_what_it_cannot_use_and_classifies_the_rest(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult], phantoms: Path, tmp_path: Path
) -> None:
    """Corrupt, absurd and missing files: a line each on stderr, exit 2, the good ones still on stdout."""
    good = max((phantoms / "test/NORMAL").iterdir(), key=lambda path: path.stat().st_size)
    (tmp_path / "text.jpeg").write_text("hello")
    (tmp_path / "cut.jpeg").write_bytes(good.read_bytes()[:200])
    code, out, err = _predict(study[0], good, tmp_path / "text.jpeg", tmp_path / "cut.jpeg", tmp_path / "no", "--json")
    assert code == 2
    assert [row["image"] for row in json.loads(out)] == [str(good)]
    assert len(err.splitlines()) == 3
    assert all(name in err for name in ("text.jpeg", "cut.jpeg", "no"))
    Image.new("L", (20, 20)).save(tmp_path / "small.png")
    code, out, err = _predict(study[0], tmp_path / "small.png", "--json")
    assert (code, len(err.splitlines())) == (0, 2)
    assert "small.png: expected a radiograph of at least 64 px a side, got 20 × 20 px" in err
    assert "small.png: expected a frontal chest radiograph like the model's training images" in err
    (row,) = json.loads(out)
    assert "at least 64 px a side" in row["warning"]
    assert "do not rely on the prediction" in row["warning"]
    code, _, err = _predict(study[0], good, "--plot", tmp_path / "p.xyz")
    assert (code, "--plot" in err) == (2, True)


def test_a_model_whose_files_are_gone_is_said_to_be(tmp_path: Path, phantoms: Path) -> None:
    """The registry still has the version; its folder was deleted."""
    import shutil

    (tmp_path / "faces.yaml").write_text(SPACE.replace("trials: 2", "trials: 1"))
    run_study(str(tmp_path / "faces.yaml"), phantoms, study="s", store=tmp_path, workers=0, plots=False, progress=False)
    promote(Store.at(tmp_path), "s", policy="demo")
    shutil.rmtree(tmp_path / "artifacts" / "faces" / "models")
    code, out, err = _predict(Store.at(tmp_path), next((phantoms / "test/NORMAL").iterdir()))
    assert (code, out) == (2, "")
    assert "its files cannot be loaded" in err
    assert len(err.splitlines()) == 1


def test_another_process_in_another_folder_can_use_the_store(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult], phantoms: Path, tmp_path: Path
) -> None:
    """Nothing depends on the working directory or on this process."""
    image = next((phantoms / "test/PNEUMONIA").iterdir())
    command = [sys.executable, "-c", "from tuning.cli import main; main()", "predict", str(image), "--json"]
    done = subprocess.run(
        [*command, "--store", str(study[0].root)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert json.loads(done.stdout)[0]["image"] == str(image)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_fresh_environment_with_the_listed_requirements_predicts_the_same(
    study: tuple[Store, StudyRecord], promoted: dict[str, PromotionResult], phantoms: Path, tmp_path: Path
) -> None:
    """The python_function face needs its listed requirements and nothing of this repository."""
    _, record = study
    mlflow.set_tracking_uri(record.started.tracking_uri)
    folder = Path(mlflow.artifacts.download_artifacts("models:/faces@champion", dst_path=str(tmp_path / "model")))
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", folder / "requirements.txt"], check=True)
    code = (
        "import sys, json, pandas as pd, mlflow\n"
        "images = [open(path, 'rb').read() for path in sys.argv[2:]]\n"
        "answer = mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame({'image': images}))\n"
        "assert not [name for name in sys.modules if name.startswith('pneumo_core')]\n"
        "print('ANSWER', json.dumps(answer['probability'].tolist()))"
    )
    stored = pd.read_csv(folder / "checked_scores.csv")
    paths = [str(Path(record.started.data_root) / path) for path in stored["path"]]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code, folder, *paths], cwd=tmp_path, capture_output=True, text=True, check=True, env=environment
    )
    answer = json.loads(done.stdout.split("ANSWER ")[1])
    np.testing.assert_allclose(answer, stored["probability"], atol=1e-5)
