"""What becomes the champion has passed the gate, or bears the mark of having been forced through it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from pneumo_core.dataset import Dataset, index_dataset
from pneumo_core.errors import PolicyError
from tuning.api import run_study
from tuning.cli import app
from tuning.models.champion import Champion
from tuning.models.ledger import Ledger, LedgerEntry
from tuning.models.promotion import PromotionResult, promote
from tuning.models.registered import RegisteredClassifier
from tuning.models.registry import Registry
from tuning.models.study_images import STUDY_IMAGES_FILE
from tuning.ranking import load_record
from tuning.store import Store

SPACE = """\
name: faces
trials: 2
epochs: 1
algorithm: grid
confirm: {top: 0}
fixed: {weights: random, image_size: 32, pooling: average, batch_size: 16, unfrozen_layers: 0, learning_rate: 1.0e-3}
parameters:
  head_units: {type: choice, values: [4, 8]}
"""
POLICY = """\
name: better
test: {roc_auc: {at_least: 0.5, bound: upper}}
champion: {superior: {roc_auc: 0.0}}
limits: {latency_ms: 10000}
"""


def _study(root: Path, name: str, data: Path) -> Store:
    (root / "faces.yaml").write_text(SPACE)
    run_study(str(root / "faces.yaml"), data, study=name, folds=1, store=root, workers=0, plots=False, progress=False)
    return Store.at(root)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Asks for a ROC AUC that is not shown to be under a half, and over the champion's."""
    path = tmp_path_factory.mktemp("policy") / "better.yaml"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, phantoms: Path) -> Store:
    """A study of two trials that none could tell apart."""
    return _study(tmp_path_factory.mktemp("store"), "faces", phantoms)


@pytest.fixture(scope="module")
def first(store: Store, policy: str) -> PromotionResult:
    """The first champion."""
    return promote(store, "faces", trial="t0001", policy=policy)


def _promote(store: Store, policy: str, *words: str) -> tuple[int, dict[str, Any]]:
    """t0002 by the command line, as JSON."""
    asked = ["promote", "faces", "--trial", "t0002", "--policy", policy, "--store", str(store.root), "--json"]
    done = CliRunner().invoke(app, [*asked, *words])
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture(scope="module")
def tied(store: Store, policy: str, first: PromotionResult) -> tuple[int, dict[str, Any]]:
    """A challenger that is not shown to be better: exit code and document."""
    return _promote(store, policy)


@pytest.fixture(scope="module")
def forced(store: Store, policy: str, tied: tuple[int, dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """The same challenger, forced through."""
    return _promote(store, policy, "--force", "--reason", "the ward asked for it")


def _entries(store: Store, trial: str) -> list[LedgerEntry]:
    return [entry for entry in Ledger(store).entries() if entry.trial == trial]


def _tags(store: Store, version: str | None) -> dict[str, str]:
    client = MlflowClient(load_record(store, "faces").started.tracking_uri)
    return dict(client.get_model_version("faces", version).tags)


def test_the_first_champion_has_nobody_to_beat(store: Store, first: PromotionResult) -> None:
    """Judged by test folder and limits; the version bears the policy, its folder the verdict and what it knows."""
    assert (first.promoted, first.version, first.policy, first.replaced, first.forced) == (True, "1", "better", None, 0)
    assert [check.requirement for check in first.checks] == ["roc_auc", "latency of one image"]
    tags = _tags(store, "1")
    assert (tags["pneumo.gate"], tags["pneumo.policy"]) == ("passed", "better")
    mlflow.set_tracking_uri(load_record(store, "faces").started.tracking_uri)
    folder = Path(mlflow.artifacts.download_artifacts("models:/faces/1"))
    verdict = json.loads((folder / "gate.json").read_text())
    assert (verdict["passed"], verdict["champion"], verdict["policy"]["name"]) == (True, None, "better")
    known = pd.read_csv(folder / STUDY_IMAGES_FILE)
    images = load_record(store, "faces").started.images
    assert (known["part"] == "train").sum() == images["training"] + images["validation"]


def test_a_tie_keeps_the_champion_and_is_recorded_with_its_reason(
    store: Store, tied: tuple[int, dict[str, Any]]
) -> None:
    """Exit code 1 and one document with each requirement; compared by the champion's kept scores."""
    code, document = tied
    assert (code, document["promoted"], document["version"], document["replaced"]) == (1, False, None, None)
    assert [(check["requirement"], check["passed"]) for check in document["checks"]] == [
        ("roc_auc", True),
        ("roc_auc, better than faces/1", False),
        ("latency of one image", True),
    ]
    (reason,) = document["reasons"]
    assert reason.startswith("roc_auc, better than faces/1: ")
    assert reason.endswith("required: lower bound over 0")
    outcomes = [(entry.outcome, entry.reason) for entry in _entries(store, "t0002")]
    assert outcomes[:3] == [("opened", ""), ("scored", ""), ("refused", reason)]
    assert [entry.outcome for entry in _entries(store, "t0001")][:3] == ["opened", "scored", "reused"]


def test_a_forced_model_bears_a_mark(
    store: Store, tied: tuple[int, dict[str, Any]], forced: tuple[int, dict[str, Any]]
) -> None:
    """Tags, ledger and result say by whose policy, against what, and why; the refused look is not paid again."""
    code, document = forced
    assert (code, document["promoted"], document["forced"]) == (0, True, True)
    assert (document["version"], document["replaced"], document["test"]["openings"]) == ("2", "1", 2)
    tags = _tags(store, "2")
    assert (tags["pneumo.gate"], tags["pneumo.forced_reason"]) == ("forced", "the ward asked for it")
    entries = _entries(store, "t0002")
    assert [entry.outcome for entry in entries][:5] == ["opened", "scored", "refused", "reused", "forced"]
    assert entries[4].reason == f"the ward asked for it (not met: {tied[1]['reasons'][0]})"


def test_the_champion_itself_is_not_promoted_again(
    store: Store, policy: str, forced: tuple[int, dict[str, Any]]
) -> None:
    """Not by force either; no version, no look at the test folder."""
    code, document = _promote(store, policy, "--force", "--reason", "because")
    assert (code, document["promoted"], document["checks"], document["test"]) == (1, False, [], None)
    assert "it is already the champion, faces/2" in document["reasons"][0]
    assert _entries(store, "t0002")[-1].outcome == "refused"
    versions = MlflowClient(load_record(store, "faces").started.tracking_uri).search_model_versions("name = 'faces'")
    assert len(versions) == 2


def test_force_needs_a_reason_and_policies_must_be_there(store: Store, first: PromotionResult) -> None:
    """Before anything is built: one line, exit code 2."""
    with pytest.raises(PolicyError, match="expected --reason as well"):
        promote(store, "faces", force=True, reason=" ")
    done = CliRunner().invoke(app, ["promote", "faces", "--policy", "defalt", "--store", str(store.root)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "tune: 'defalt': no such policy; did you mean default?; a file of your own ends in .yaml\n"


@pytest.fixture
def grown(phantoms: Path, tmp_path: Path) -> Path:
    """The same images and one more patient in the test folder."""
    data = Path(shutil.copytree(phantoms, tmp_path / "grown"))
    image = next(path for path in sorted((data / "test/PNEUMONIA").iterdir()))
    # another patient's image has other bytes; trailing ones are no part of the picture
    (image.parent / "person990_virus_1.jpeg").write_bytes(image.read_bytes() + b"\0")
    return data


@pytest.mark.slow
def test_when_the_data_has_grown_the_champion_is_scored_on_the_new_test_folder(
    store: Store, policy: str, forced: tuple[int, dict[str, Any]], grown: Path
) -> None:
    """A new study in the same store; each model is looked at once, on the record."""
    _study(store.root, "grown", grown)
    result = promote(store, "grown", trial="t0001", policy=policy)
    assert result.checks[1].requirement == "roc_auc, better than faces/2"
    digest = (result.test or {})["digest"]
    story = [(entry.outcome, entry.study) for entry in Ledger(store).entries() if entry.test_digest == digest]
    assert story == [
        *[("opened", "grown"), ("scored", "grown"), ("opened", "faces"), ("scored", "faces"), ("refused", "grown")]
    ]
    kept = pd.read_csv(store.test_scores / digest / f"{_tags(store, '2')['pneumo.model_digest']}.csv")
    assert kept["path"].str.contains("person990").sum() == 1


def _champion(store: Store) -> Champion:
    champion = Champion.of(Registry(store), "faces", "champion")
    assert champion is not None
    return champion


def _obstacle(store: Store, dataset: Dataset) -> str:
    rows = dataset.manifest[dataset.manifest["split"] == "test"]
    scores = rows[["path", "group", "subtype", "label"]].assign(probability=0.5, logit=0.0)
    return _champion(store).rivalry(dataset, scores, 0.5, Ledger(store)).obstacle


def test_a_champion_that_knows_patients_of_the_test_folder_is_not_compared(
    store: Store, forced: tuple[int, dict[str, Any]], phantoms: Path, tmp_path: Path
) -> None:
    """By name or by content; the folder is not opened for it."""
    data = Path(shutil.copytree(phantoms, tmp_path / "data"))
    image = next(path for path in sorted((data / "train/PNEUMONIA").iterdir()))
    shutil.move(image, data / "test/PNEUMONIA/person991_virus_1.jpeg")
    before = len(Ledger(store).entries())
    assert _obstacle(store, index_dataset(data)) == (
        "it was trained on images of 1 of these patients, the first virus-991: its scores on them would flatter it"
    )
    assert len(Ledger(store).entries()) == before


def test_a_champion_that_is_gone_or_of_other_classes_is_told_without_a_look(
    store: Store, forced: tuple[int, dict[str, Any]], grown: Path, tmp_path: Path
) -> None:
    """Its files are renamed and brought back; then the folders' classes have other names."""
    before = len(Ledger(store).entries())
    dataset = index_dataset(grown)
    (folder,) = store.artifacts.glob("*/models")
    folder.rename(tmp_path / "away")
    assert "its files cannot be loaded" in _obstacle(store, dataset)
    (tmp_path / "away").rename(folder)
    for part in ("train", "val", "test"):
        (grown / part / "NORMAL").rename(grown / part / "CLEAR")
    others = index_dataset(grown, class_names=("CLEAR", "PNEUMONIA"))
    assert _obstacle(store, others) == "it tells NORMAL from PNEUMONIA, and these images are of CLEAR and PNEUMONIA"
    assert len(Ledger(store).entries()) == before


def test_a_champion_whose_tags_somebody_edited_is_not_compared(
    store: Store, forced: tuple[int, dict[str, Any]], phantoms: Path
) -> None:
    """With a threshold of nearly 1 anybody would find more of the sick."""
    champion = _champion(store)
    dataset = index_dataset(phantoms)
    edited = dataclasses.replace(champion, tags={**champion.tags, "pneumo.threshold": "0.999"})
    rows = dataset.manifest[dataset.manifest["split"] == "test"]
    obstacle = edited.rivalry(dataset, rows, 0.5, Ledger(store)).obstacle
    assert obstacle.startswith("its tag pneumo.threshold was changed in MLflow; it was 0.")


def test_a_registered_model_scores_as_its_assembly_did(
    store: Store, forced: tuple[int, dict[str, Any]], phantoms: Path
) -> None:
    """So a champion that is scored again is compared by the same numbers."""
    champion, manifest = _champion(store), index_dataset(phantoms).manifest
    rows = manifest[manifest["split"] == "test"].sort_values("path", ignore_index=True)
    again = RegisteredClassifier(champion.registry, champion.reference).score(phantoms, rows)
    kept = pd.read_csv(store.test_scores / forced[1]["test"]["digest"] / f"{champion.tags['pneumo.model_digest']}.csv")
    assert kept["path"].tolist() == again["path"].tolist()
    assert kept["probability"].to_numpy() == pytest.approx(again["probability"].to_numpy(), abs=1e-6)
