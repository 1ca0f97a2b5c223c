"""A process that writes to the registry is killed before each single one of its writes; the next command mends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from promoter import Promoter
from registries import done, half_made, mended

from tuning.models.registry import Registry
from tuning.store import Store

KILLED = -9


@pytest.fixture(scope="module")
def promoter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoter]:
    """Registers small folders in processes that can be killed."""
    promoter = Promoter(tmp_path_factory.mktemp("log") / "log")
    yield promoter
    promoter.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Registry, dict[str, str]]:
    """A store with a run, its registry, and what a registration is asked with; each test has a name of its own."""
    folder = tmp_path_factory.mktemp("registry")
    store, folder = Store.at(folder / "store"), folder / "model"
    registry = Registry(store)
    client = MlflowClient(registry.uri)
    experiment = client.create_experiment("e", artifact_location=(store.artifacts / "e").as_uri())
    (folder / "data").mkdir(parents=True)
    for name in ("MLmodel", "data/model.keras", "data/more"):
        (folder / name).write_text(f"content of {name}")
    run_id = client.create_run(experiment).info.run_id
    return store, registry, {"store": str(store.root), "run_id": run_id, "folder": str(folder)}


def test_a_registration_killed_before_any_of_its_writes_leaves_the_old_or_the_new_champion(
    promoter: Promoter, base: tuple[Store, Registry, dict[str, str]]
) -> None:
    """Eleven writes or more, the first champion and a later one; nothing half-made is left, the story holds."""
    store, registry, request = *base[:2], base[2] | {"name": "m"}
    for first in (True, False):
        step, status = 1, KILLED
        while status == KILLED:
            before = registry.holder("m", "champion")
            status = promoter.ask("register", reason=f"step {step}", step=step, **request)
            assert status in (KILLED, 0), promoter.said
            reached = registry.holder("m", "champion")
            sentences = mended(store, registry)
            after = registry.holder("m", "champion")
            assert after == reached
            assert status == KILLED or not sentences
            assert status == KILLED or after != before
            if first and after != before:
                break  # the writes that follow are tried on the second champion
            step += 1
        assert step >= (9 if first else 12)
    states = [event.state for event in registry.model("m").events]
    assert states.count("abandoned") >= 2


def test_a_registration_killed_in_the_middle_of_the_upload_leaves_no_files(
    promoter: Promoter, base: tuple[Store, Registry, dict[str, str]]
) -> None:
    """Some files are there, no version is; they go with the next command, the name with them."""
    store, registry, request = *base[:2], base[2] | {"name": "uploaded"}
    before = _files(store)
    assert promoter.ask("upload", reason="cut off", at_file=3, **request) == KILLED
    assert len(_files(store) - before) == 2
    assert half_made(store, registry.uri)
    assert mended(store, registry) == [
        "mended: files of uploaded, uploaded by a promotion that was cut off, were removed"
    ]
    assert "uploaded" not in [model.name for model in registry.models()]
    assert _files(store) == before


def test_mending_killed_before_any_of_its_writes_is_mended(
    promoter: Promoter, base: tuple[Store, Registry, dict[str, str]]
) -> None:
    """Of a promotion cut off before its alias was set, and of one cut off right after."""
    store, registry, request = *base[:2], base[2] | {"name": "mended"}
    for step, champions in ((8, 0), (9, 1)):
        assert promoter.ask("register", reason="cut off", step=step, **request) == KILLED
        die = 1
        while promoter.ask("mend", store=str(store.root), step=die) == KILLED:
            die += 1
            assert (registry.holder("mended", "champion") is None) == (not champions)
        mended(store, registry)
        assert len(done(registry, "mended")) == champions


def test_a_rollback_killed_before_any_of_its_writes_happened_or_did_not(
    promoter: Promoter, base: tuple[Store, Registry, dict[str, str]]
) -> None:
    """Before it is announced, before the alias, and before it is recorded as done."""
    store, registry, request = *base[:2], base[2] | {"name": "back"}
    for number in range(3):
        assert promoter.ask("register", reason=f"number {number}", step=0, **request) == 0, promoter.said
    for step, version in ((1, "3"), (2, "3"), (3, "2")):
        assert promoter.ask("roll_back", store=str(store.root), name="back", step=step) == KILLED
        assert len(mended(store, registry)) == (step > 1)
        holder = registry.holder("back", "champion")
        assert holder is not None
        assert holder.version == version
    assert promoter.ask("roll_back", store=str(store.root), name="back", step=0) == 0, promoter.said
    mended(store, registry)
    assert [event.version for event in done(registry, "back")] == ["1", "2", "3", "2", "1"]


def _files(store: Store) -> set[Path]:
    return {path for path in store.artifacts.rglob("*") if path.is_file() and path.name != "registered_model_meta"}
