"""A registered model on images of anywhere: its own threshold, nothing fitted, and no back door to a test folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_registered import SIZE_PX, THRESHOLD, Shelf, branched_model
from typer.testing import CliRunner

from pneumo_core.dataset import Dataset, digest_of_test, index_dataset
from pneumo_core.errors import ConfigError, DatasetError
from pneumo_core.evaluation import compute_metrics
from pneumo_core.images import read_images
from pneumo_core.phantom_set import write_phantoms
from tuning.cli import app
from tuning.models.external import ExternalValidation, class_folders, validate_externally
from tuning.models.ledger import Ledger
from tuning.models.study_images import STUDY_IMAGES_FILE, acquaintance


@pytest.fixture(scope="module")
def known(phantoms: Path) -> Dataset:
    """The data set that the registered model is of."""
    return index_dataset(phantoms)


@pytest.fixture(scope="module")
def other_hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs of other patients, in the Kaggle layout."""
    return write_phantoms(tmp_path_factory.mktemp("other"), patients=16, seed=7, size_px=(48, 80))


@pytest.fixture
def clinic(tmp_path: Path, other_hospital: Path) -> Path:
    """The same, with folders called otherwise, and names that nobody has used."""
    for folder, name in (("NORMAL", "ward 1/healthy"), ("PNEUMONIA", "Sick")):
        (tmp_path / "clinic" / name).mkdir(parents=True)
        for file in (other_hospital / "train" / folder).iterdir():
            shutil.copyfile(file, tmp_path / "clinic" / name / f"x{file.name}")
    return tmp_path / "clinic"


def _validate(shelf: Shelf, directory: Path, **options: object) -> ExternalValidation:
    store, registry, _ = shelf
    return validate_externally(store, registry, "tiny@champion", directory, **options)  # type: ignore[arg-type]


def test_the_scores_are_those_of_the_model_and_nothing_is_fitted(shelf: Shelf, clinic: Path) -> None:
    """Folders mapped to its classes; probabilities of the Keras face, calls at the model's own threshold."""
    (clinic / "Sick" / "cut.jpeg").write_bytes(b"\xff\xd8\xff no image")
    (clinic / "notes.txt").write_text("x")
    said = _validate(shelf, clinic, classes=("healthy", "sick"), patient_pattern=r"x(?P<patient>person\d+|.*IM-\d+)")
    table = said.scores
    pixels = read_images(clinic, table["path"].tolist(), SIZE_PX)
    expected = np.asarray(branched_model()(pixels.astype(np.float32)))[:, 0]
    np.testing.assert_allclose(table["probability"], expected, atol=1e-5)
    assert table["label"].tolist() == [int(path.startswith("Sick")) for path in table["path"]]
    assert table["group"].nunique() < len(table)
    point = said.report.operating_point
    assert (point.threshold, point.temperature, said.report.fitted_here) == (THRESHOLD, 1.0, False)
    assert said.report.metrics["roc_auc"].value == pytest.approx(compute_metrics(table, THRESHOLD)["roc_auc"])
    assert said.folders == {"healthy": "NORMAL", "sick": "PNEUMONIA"}
    assert [line.partition(":")[0] for line in said.dataset.skipped] == ["Sick/cut.jpeg"]
    assert "Left out: files that cannot be used as images (1)." in said.warnings
    assert any("do not end in" in sentence for sentence in said.warnings)
    assert any("smaller than 64 px" in sentence for sentence in said.warnings)
    assert not Ledger(shelf[0]).openings(digest_of_test(said.dataset.manifest))


def test_several_folders_may_be_of_one_class() -> None:
    """By `--map`, each to a class of the model; nothing else is taken."""
    names = ("NORMAL", "PNEUMONIA")
    assert class_folders(names, None, ["COVID=PNEUMONIA", "No Finding = NORMAL"]) == {
        "NORMAL": 0,
        "PNEUMONIA": 1,
        "COVID": 1,
        "No Finding": 0,
    }
    for wrong in ("COVID", "=NORMAL", "COVID=SICK"):
        with pytest.raises(ConfigError, match="expected FOLDER=NORMAL or FOLDER=PNEUMONIA"):
            class_folders(names, None, [wrong])
    with pytest.raises(ConfigError, match="both for Normal"):
        class_folders(names, ("Normal", "PNEUMONIA"), ["NORMAL=PNEUMONIA"])
    with pytest.raises(ConfigError, match="left none for NORMAL"):
        class_folders(names, None, ["NORMAL=PNEUMONIA"])


def test_images_that_trained_the_model_are_refused(shelf: Shelf, phantoms: Path, clinic: Path) -> None:
    """They are told by their contents, whatever they are called; `--new-only` leaves their patients out."""
    sick = sorted((phantoms / "train" / "PNEUMONIA").iterdir())
    shutil.copyfile(sick[0], clinic / "Sick" / "new.jpeg")
    with pytest.raises(DatasetError, match=r"found 1 images that trained or chose tiny/1, the first Sick/new\.jpeg"):
        _validate(shelf, clinic, classes=("healthy", "sick"))
    said = _validate(shelf, clinic, classes=("healthy", "sick"), leave_out_known=True)
    assert "Sick/new.jpeg" not in said.scores["path"].tolist()
    assert "Left out: 1 images, of the patients of 1 images that trained or chose tiny/1." in said.warnings
    with pytest.raises(DatasetError, match="expected new images of both classes, found 0 beside"):
        _validate(shelf, phantoms / "train", leave_out_known=True)


@pytest.mark.parametrize("part", ["train", "test"])
def test_pictures_saved_anew_are_suspected_by_their_names(
    shelf: Shelf, phantoms: Path, clinic: Path, part: str
) -> None:
    """An image called as one of the model's study, its test folder included, may be the same: a warning says so."""
    name = next((phantoms / part / "PNEUMONIA").iterdir()).name
    next((clinic / "Sick").iterdir()).rename(clinic / "Sick" / name)
    warnings = _validate(shelf, clinic, classes=("healthy", "sick")).warnings
    suspected = [sentence for sentence in warnings if "called as some of the model's study" in sentence]
    assert len(suspected) == 1
    assert name in suspected[0]


def test_the_models_own_test_folder_is_opened_by_the_ledger_alone(
    shelf: Shelf, known: Dataset, phantoms: Path, tmp_path: Path
) -> None:
    """Counted once, then read from what was kept; a copy under another name is no way round."""
    store, _, _ = shelf
    digest = digest_of_test(known.manifest)
    first = _validate(shelf, phantoms / "test")
    again = _validate(shelf, phantoms, leave_out_known=True)  # the data set as a whole, without what trained
    assert [(entry.outcome, entry.model) for entry in Ledger(store).entries() if entry.test_digest == digest] == [
        ("opened", "tiny"),
        ("scored", "tiny"),
        ("reused", "tiny"),
    ]
    pd.testing.assert_frame_equal(first.scores, again.scores)
    assert any("test images of the model's own study" in sentence for sentence in first.warnings)
    copied = shutil.copytree(phantoms / "test", tmp_path / "renamed")
    with pytest.raises(DatasetError, match="of its study's test folder, elsewhere"):
        _validate(shelf, Path(copied))
    part = tmp_path / "part"
    shutil.copytree(phantoms / "test", part / "test")
    (part / "train").mkdir()  # by which it looks like a data set of its own
    next((part / "test" / "NORMAL").iterdir()).unlink()
    with pytest.raises(DatasetError, match="expected the whole test folder of the model's study, found"):
        _validate(shelf, part / "test")


def test_another_data_sets_test_folder_counts_too(shelf: Shelf, other_hospital: Path) -> None:
    """With a train folder beside it, it is one that choices must not be made by; the other images need no ledger."""
    said = _validate(shelf, other_hospital)
    digest = digest_of_test(index_dataset(other_hospital).manifest)
    assert Ledger(shelf[0]).openings(digest) == 1
    images = len(list(other_hospital.rglob("*.jpeg")))
    assert len(said.scores) == said.report.sizes["images"] == images
    in_test = said.scores[said.scores["path"].str.startswith("test/")]
    kept = Ledger(shelf[0]).entries()[-1]
    assert (kept.test_digest, kept.images) == (digest, len(in_test))


def test_a_folder_of_one_class_is_refused(shelf: Shelf, clinic: Path) -> None:
    """There is no ROC curve of one class; the message says what to do."""
    shutil.rmtree(clinic / "ward 1")
    with pytest.raises(DatasetError, match=r"found 0 of NORMAL and \d+ of PNEUMONIA; .* take `tune predict`"):
        _validate(shelf, clinic, classes=("healthy", "sick"))


def test_a_model_without_a_list_says_that_nothing_was_checked(shelf: Shelf, known: Dataset, tmp_path: Path) -> None:
    """Models of earlier versions; the list itself holds neither paths nor names."""
    assert acquaintance(tmp_path, known.manifest) is None
    folder = shelf[1].folder(shelf[2])
    met = acquaintance(folder, known.manifest)
    assert met is not None
    assert met.trained.tolist() == (known.manifest["split"] != "test").tolist()
    assert met.tested.tolist() == (known.manifest["split"] == "test").tolist()
    text = (folder / STUDY_IMAGES_FILE).read_text()
    assert "person" not in text
    assert "IM-" not in text


def test_the_command_prints_one_document_and_leaves_a_folder(shelf: Shelf, clinic: Path, tmp_path: Path) -> None:
    """Report, scores and figures; a folder with something in it is not written over."""
    out = tmp_path / "report"
    words = ["evaluate", "--store", str(shelf[0].root), "--data", str(clinic), "--classes", "healthy,sick"]
    result = CliRunner().invoke(app, [*words, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads((out / "report.json").read_text())
    assert document["model"] == "tiny/1"
    assert sum(map(sum, document["report"]["confusion"])) == document["data"]["images"]
    assert len(pd.read_csv(out / "scores.csv")) == document["data"]["images"]
    assert {path.stem for path in (out / "plots").iterdir()} == {
        "roc",
        "precision_recall",
        "confusion_matrix",
        "calibration",
    }
    assert (out / "report.md").read_text().startswith(f"# tiny/1 on {clinic}\n")
    again = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert (again.exit_code, again.stdout) == (2, "")
    assert "expected a new folder" in again.stderr
    wrong = CliRunner().invoke(app, [*words[:-1], "healthy", "--no-plots"])
    assert wrong.exit_code == 2
    assert "expected two folder names" in wrong.stderr
