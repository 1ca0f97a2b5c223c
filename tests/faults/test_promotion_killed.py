"""`tune promote` is killed while it builds, scores the test folder, uploads, and around the flip of the alias."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from promoter import Promoter
from registries import done, mended

from tuning.api import run_study
from tuning.commands.promote import promote
from tuning.models.ledger import Ledger
from tuning.models.registry import Registry
from tuning.store import Store

KILLED = -9
FORCED = ["--force", "--reason", "tried"] if "force" in inspect.signature(promote).parameters else []
SPACE = """\
name: fragile
trials: 2
epochs: 1
algorithm: grid
confirm: {top: 0}
fixed: {weights: random, image_size: 32, batch_size: 16, pooling: average, learning_rate: 1.0e-3}
parameters:
  head_units: {type: choice, values: [8, 16]}
"""
MOMENTS = [
    ("t0001", {"at": "tuning.models.model_folder:_write_code"}, None, 0),
    ("t0001", {"at": "tuning.models.kept_scores:KeptScores.write"}, None, 1),
    ("t0001", {"at": "shutil:copyfile", "after": "mlflow:MlflowClient.log_model_artifacts", "times": 2}, None, 2),
    ("t0001", {"at": "mlflow:MlflowClient.set_registered_model_alias", "late": True}, "1", 2),
    ("t0002", {"at": "mlflow:MlflowClient.create_model_version", "late": True}, "1", 3),
    ("t0002", {"at": "mlflow:MlflowClient.set_registered_model_alias"}, "1", 3),
]
"""The trial that is promoted, when its process dies, which version is champion then, how often the test folder was
opened: while the folder is written; when the images are scored and the scores are not kept; in the upload; right after
the flip; after the version was made; right before the flip."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Store:
    """A study of two trials."""
    root = tmp_path_factory.mktemp("store")
    (root / "fragile.yaml").write_text(SPACE)
    run_study(
        str(root / "fragile.yaml"), images, study="s", store=root, folds=1, workers=0, plots=False, progress=False
    )
    return Store.at(root)


@pytest.fixture(scope="module")
def promoter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoter]:
    """Runs `tune promote` in processes that can be killed."""
    promoter = Promoter(tmp_path_factory.mktemp("log") / "log", "--tensorflow")
    yield promoter
    promoter.close()


def _words(store: Store, trial: str, model: str = "fragile") -> list[str]:
    return ["promote", "s", "--trial", trial, "--model", model, "--store", str(store.root), *FORCED]


def test_a_promotion_killed_at_any_moment_is_mended(store: Store, promoter: Promoter) -> None:
    """The champion is the old or the new one, nothing half-made is left, and openings of the test folder count."""
    registry = Registry(store)
    for trial, moment, champion, openings in MOMENTS:
        assert promoter.ask("tune", words=_words(store, trial), **moment) == KILLED, promoter.said
        assert (store.root / "promotion" / "model").is_dir()
        mended(store, registry)
        holder = registry.holder("fragile", "champion")
        assert (holder and holder.version) == champion
        assert sum(entry.outcome == "opened" for entry in Ledger(store).entries()) == openings
    assert promoter.ask("tune", words=_words(store, "t0002"), at="") == 0, promoter.said
    mended(store, registry)
    assert [(event.version, event.replaced) for event in done(registry, "fragile")] == [("1", ""), ("4", "1")]
    assert [event.state for event in registry.model("fragile").events] == ["done", "abandoned", "done"]
    assert registry.tags(registry.find("fragile"))["pneumo.replaces"] == "1"


@pytest.mark.slow
def test_two_promotions_at_once_come_one_after_the_other(store: Store, promoter: Promoter) -> None:
    """The second waits, says so, and replaces the first."""
    before = promoter.said
    assert promoter.ask("at_once", words=[_words(store, trial, "both") for trial in ("t0001", "t0002")]) == 0
    assert promoter.said.removeprefix(before).count("waiting: another promotion") == 1
    registry = Registry(store)
    assert mended(store, registry) == []
    assert [(event.version, event.replaced) for event in done(registry, "both")] == [("1", ""), ("2", "1")]
    tags = [version.tags["pneumo.trial"] for version in registry.model("both").versions]
    assert sorted(tags) == ["t0001", "t0002"]
