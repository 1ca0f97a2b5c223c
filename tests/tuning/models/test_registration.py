"""What `tune registry` and `tune rollback` say and do, on small folders in place of models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import urlparse

import pytest
from mlflow import MlflowClient
from mlflow_server import Server
from typer.testing import CliRunner

from pneumo_core.errors import PromotionError, TrackingError
from tuning.cli import app
from tuning.models.champion import Champion
from tuning.models.registry import Change, ModelReference, Registry
from tuning.models.workbench import store_id, workbench
from tuning.store import Store


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """A store, and the id of a run in it; each test uses a name of its own."""
    store = Store.at(tmp_path_factory.mktemp("registry") / "store")
    client = MlflowClient(Registry(store).uri)
    experiment = client.create_experiment("e", artifact_location=(store.artifacts / "e").as_uri())
    return store, client.create_run(experiment).info.run_id


def register(store: Store, name: str, run_id: str, folder: Path, uri: str | None = None, **change: object) -> str:
    """Registers a small folder and returns its version."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "data").mkdir(parents=True)
    for file in ("MLmodel", "data/model.keras"):
        (folder / file).write_text(f"content of {file}")
    registry = Registry(store, uri)
    numbers = {"test_roc_auc": 0.93, "test_roc_auc_low": 0.9, "test_roc_auc_high": 0.95, "test_brier": float("nan")}
    with workbench(store):
        reference = registry.register(
            folder,
            name,
            "champion",
            run_id=run_id,
            metrics=numbers,
            tags={"pneumo.study": "s", "pneumo.trial": "t0001"},
            change=Change(**({"reason": "better", "numbers": numbers} | change)),  # type: ignore[arg-type]
        )
    return reference.version


def tune(store: Store, *words: object) -> tuple[int, str, str]:
    """Runs a command; returns exit code, stdout, stderr."""
    environment = {"TUNE_STORE": str(store.root), "COLUMNS": "100"}
    result = CliRunner(env=environment).invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def _files(store: Store, name: str, version: str) -> Path:
    client = MlflowClient(Registry(store).uri)
    source = client.get_model_version(name, version).source.removeprefix("models:/")
    return Path(urlparse(client.get_logged_model(source).artifact_location).path)


def test_the_registry_tells_the_story(base: tuple[Store, str], tmp_path: Path) -> None:
    """Versions with their numbers, who replaced whom and why, within 100 columns; the same as JSON."""
    store, run_id = base
    register(store, "story", run_id, tmp_path / "m", policy="default")
    register(store, "story", run_id, tmp_path / "m", policy="default", forced=True, reason="it [had] to be " * 9)
    code, out, err = tune(store, "registry", "story")
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= 100
    assert "story: champion is version 2" in out
    for told in ("0.930", "0.900 – 0.950", "t0001", "instead of 1", "the first", "forced", "it [had] to be"):
        assert told in out
    document = json.loads(tune(store, "registry", "story", "--json")[1])
    assert (document["mended"], document["busy"]) == ([], False)
    (model,) = document["models"]
    assert model["aliases"] == {"champion": "2"}
    assert [event["replaced"] for event in model["history"]] == ["", "1"]
    assert [version["aliases"] for version in model["versions"]] == [[], ["champion"]]
    assert model["versions"][0]["metrics"]["test_roc_auc"] == 0.93
    assert model["versions"][1]["tags"]["pneumo.replaces"] == "1"
    assert "story" in tune(store, "registry")[1]


def test_the_page_in_mlflow_tells_the_story_unless_somebody_wrote_another(
    base: tuple[Store, str], tmp_path: Path
) -> None:
    """It follows each change; a description by hand stays."""
    store, run_id = base
    client = MlflowClient(Registry(store).uri)
    register(store, "told", run_id, tmp_path / "m")
    register(store, "told", run_id, tmp_path / "m")
    assert "**promoted 2 instead of 1**: better; ROC AUC 0.930" in client.get_registered_model("told").description
    client.update_registered_model("told", "Ask Ann before you change it.")
    assert tune(store, "rollback", "told", "--reason", "worse")[0] == 0
    assert client.get_registered_model("told").description == "Ask Ann before you change it."


def test_rollbacks_go_back_and_are_recorded(base: tuple[Store, str], tmp_path: Path) -> None:
    """Two in a row two steps; then there is nothing; --to brings back what was left; another alias is apart."""
    store, run_id = base
    for _ in range(3):
        register(store, "back", run_id, tmp_path / "m")
    assert tune(store, "rollback", "back", "--reason", "odd")[:2] == (
        0,
        "back/2 is champion again, instead of version 3: models:/back@champion\n",
    )
    event = json.loads(tune(store, "rollback", "back", "--reason", "odd too", "--json")[1])
    assert (event["version"], event["replaced"], event["action"], event["state"]) == ("1", "2", "rolled back", "done")
    code, _, err = tune(store, "rollback", "back", "--reason", "odd")
    assert (code, err) == (
        1,
        "tune: model back: its history names no champion before version 1; --to names another of 1, 2, 3.\n",
    )
    assert tune(store, "rollback", "back", "--reason", "better after all", "--to", "3")[0] == 0
    code, _, err = tune(store, "rollback", "back", "--reason", "again", "--to", "3")
    assert (code, "is champion already" in err) == (1, True)
    code, _, err = tune(store, "rollback", "back", "--reason", "x", "--alias", "other")
    assert (code, "no version is other" in err) == (1, True)
    for words, said in (
        (("back", "--reason", "x", "--to", "9"), "has no version 9; it has 1, 2, 3"),
        (("no", "--reason", "x"), "model no: not found"),
        (("back", "--reason", " "), "reason: expected 1 to 1000 characters"),
        (("a/b", "--reason", "x"), "expected a name"),
    ):
        code, _, err = tune(store, "rollback", *words)
        assert (code, len(err.splitlines()), said in err) == (2, 1, True), err
    assert [event.version for event in Registry(store).model("back").events] == ["1", "2", "3", "2", "1", "3"]


def test_what_was_forced_stays_forced_when_it_comes_back(base: tuple[Store, str], tmp_path: Path) -> None:
    """A rollback is no way round the mark."""
    store, run_id = base
    register(store, "marked", run_id, tmp_path / "m", policy="strict", forced=True)
    register(store, "marked", run_id, tmp_path / "m", policy="strict")
    code, _, err = tune(store, "rollback", "marked", "--reason", "x")
    assert (code, err) == (0, "marked/1 did not pass policy strict to be champion; the history marks this as forced\n")
    event = Registry(store).model("marked").events[-1]
    assert (event.version, event.policy, event.forced) == ("1", "strict", True)


def test_an_alias_that_moves_while_a_model_is_judged_stays_where_it_is(base: tuple[Store, str], tmp_path: Path) -> None:
    """Else a version would be replaced that it was never compared with; what was uploaded is removed."""
    store, run_id = base
    for before in ("", "1"):
        register(store, "moved", run_id, tmp_path / "m", instead_of=before)
    with pytest.raises(PromotionError, match="champion came to be version 2 while this one was judged beside 1"):
        register(store, "moved", run_id, tmp_path / "m", instead_of="1")
    model = Registry(store).model("moved")
    assert (model.aliases, len(model.versions), len(model.events)) == ({"champion": "2"}, 2, 2)


def test_a_champion_that_somebody_removed_is_still_to_be_beaten(base: tuple[Store, str], tmp_path: Path) -> None:
    """The alias alone, or the version with it; the next event names it, and no move goes unsaid."""
    store, run_id = base
    for _ in range(2):
        register(store, "removed", run_id, tmp_path / "m")
    registry, client = Registry(store), MlflowClient(Registry(store).uri)
    client.delete_registered_model_alias("removed", "champion")
    found = Champion.of(registry, "removed", "champion")
    assert found is not None
    assert (str(found.reference), found.tags["pneumo.study"]) == ("removed/2", "s")
    client.delete_model_version("removed", "2")
    found = Champion.of(registry, "removed", "champion")
    assert found is not None
    assert (str(found.reference), found.tags) == ("removed/2", {})
    register(store, "removed", run_id, tmp_path / "m", instead_of="2")
    assert registry.model("removed").events[-1].replaced == "2"
    client.set_registered_model_alias("removed", "champion", "1")
    register(store, "removed", run_id, tmp_path / "m")
    assert (
        "champion had been moved to version 1 by another hand than `tune` before"
        in tune(store, "registry", "removed")[2]
    )


def test_a_rollback_to_what_is_not_whole_is_refused(base: tuple[Store, str], tmp_path: Path) -> None:
    """A changed file, a lost one, a deleted version: each is named, the alias stays where it is."""
    store, run_id = base
    for _ in range(2):
        register(store, "damaged", run_id, tmp_path / "m")
    model = _files(store, "damaged", "1") / "data" / "model.keras"
    content = model.read_text()
    model.write_text("other")
    code, _, err = tune(store, "rollback", "damaged", "--reason", "x")
    assert (code, len(err.splitlines()), "(data/model.keras was changed)" in err) == (2, 1, True)
    model.unlink()
    code, _, err = tune(store, "rollback", "damaged", "--reason", "x")
    assert (code, "(model.keras cannot be read" in err) == (2, True)
    model.write_text(content)
    (model.parent / "registered_model_meta").write_text("MLflow's")
    MlflowClient(Registry(store).uri).delete_model_version("damaged", "1")
    code, _, err = tune(store, "rollback", "damaged", "--reason", "x")
    assert (code, "version 1, the champion before, was deleted" in err) == (2, True)
    assert Registry(store).holder("damaged", "champion") == ModelReference("damaged", "2")
    assert len(Registry(store).model("damaged").events) == 2


def test_versions_from_before_there_was_a_history(base: tuple[Store, str], tmp_path: Path) -> None:
    """They are shown, can be replaced and gone back to if their files are there; an alias moved by hand is named."""
    store, run_id = base
    client = MlflowClient(Registry(store).uri)
    register(store, "other", run_id, tmp_path / "m")
    source = client.get_model_version("other", "1").source
    client.create_registered_model("old")
    client.create_model_version("old", source, run_id=run_id, tags={"pneumo.trial": "t0009"})
    code, out, err = tune(store, "registry", "old")
    assert (code, "t0009" in out) == (0, True)
    assert "no version is champion" in err
    assert "has no history" in err
    client.set_registered_model_alias("old", "champion", "1")
    code, _, err = tune(store, "rollback", "old", "--reason", "x")
    assert (code, "names no champion before version 1" in err) == (1, True)
    register(store, "old", run_id, tmp_path / "m")
    assert tune(store, "rollback", "old", "--reason", "x")[0] == 0
    assert Registry(store).find("old").version == "1"
    client.set_registered_model_alias("old", "champion", "2")
    assert "champion points to version 2 by another hand than `tune`" in tune(store, "registry", "old")[2]


def test_where_nothing_is_registered(tmp_path: Path, base: tuple[Store, str]) -> None:
    """An empty folder is asked without being written to; what is no store, or no model, is named."""
    empty = tmp_path / "empty"
    empty.mkdir()
    code, out, err = tune(Store(empty), "registry")
    assert (code, out, "nothing is registered in" in err) == (0, "", True)
    assert json.loads(tune(Store(empty), "registry", "--json")[1])["models"] == []
    for words in (("registry", "m"), ("rollback", "m", "--reason", "x")):
        code, _, err = tune(Store(empty), *words)
        assert (code, len(err.splitlines()), "nothing is registered in it yet" in err) == (2, 1, True)
    assert list(empty.iterdir()) == []
    code, _, err = tune(Store(tmp_path / "none"), "registry")
    assert (code, "expected a folder that `tune run` has written to" in err) == (2, True)
    code, _, err = tune(base[0], "registry", "nobody")
    assert (code, "model nobody: not found; registered are: " in err) == (2, True)


def test_while_a_promotion_runs_nothing_is_mended(base: tuple[Store, str], tmp_path: Path) -> None:
    """What bears the mark of this store may be in the making just now; the command says so and shows it."""
    store, run_id = base
    register(store, "busy", run_id, tmp_path / "m")
    client = MlflowClient(Registry(store).uri)
    source, mark = client.get_model_version("busy", "1").source, {"pneumo.making": store_id(store)}
    client.create_model_version("busy", source, run_id=run_id, tags=mark)
    with workbench(store):
        code, out, err = tune(store, "registry", "busy", "--json")
        assert (code, json.loads(out)["busy"], "is under way" in err) == (0, True, True)
        assert [version["being_made"] for version in json.loads(out)["models"][0]["versions"]] == [False, True]
    code, out, err = tune(store, "registry", "busy", "--json")
    assert json.loads(out)["mended"] == ["mended: busy/2, left by a promotion that was cut off, was removed"]
    assert len(json.loads(out)["models"][0]["versions"]) == 1
    assert Registry(store).folder(ModelReference("busy", "1")).is_dir()  # the files of both, which 1 needs


def test_a_registration_that_fails_removes_what_it_made(
    base: tuple[Store, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow takes the files and not the version: the error is one line, and nothing is left of either."""
    store, run_id = base
    before = set(store.artifacts.glob("*/models/*"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no more room")

    monkeypatch.setattr(MlflowClient, "create_model_version", refuse)
    with pytest.raises(TrackingError, match="no more room"):
        register(store, "failed", run_id, tmp_path / "m")
    assert set(store.artifacts.glob("*/models/*")) == before
    assert "failed" not in [model.name for model in Registry(store).models()]


def test_what_another_store_is_making_is_left_alone(base: tuple[Store, str], tmp_path: Path) -> None:
    """Two stores share a registry: one mends while the other is in the middle."""
    store, run_id = base
    uri, other = Registry(store).uri, Store.at(tmp_path / "other")
    register(store, "shared", run_id, tmp_path / "m")
    client = MlflowClient(uri)
    version = client.create_model_version(
        "shared", client.get_model_version("shared", "1").source, tags={"pneumo.making": "feedfeedfeed"}
    )
    event = Registry(store).model("shared").events[0]
    text = event.to_text().replace(event.store, "feedfeedfeed").replace('"done"', '"intended"')
    client.set_registered_model_tag(
        "shared", "pneumo.history.0002.feedfeedfeed", text.replace('"number":1', '"number":2')
    )
    assert tune(other, "registry", "shared", "--tracking-uri", uri)[0] == 2  # it is no store yet
    other.check_writable()
    for one in (store, other):
        code, out, _ = tune(one, "registry", "shared", "--tracking-uri", uri)
        assert (code, "being made" in out, "intended" in out) == (0, True, True)
    assert client.get_model_version("shared", version.version).tags["pneumo.making"] == "feedfeedfeed"


def test_a_tracking_server_keeps_the_history_too(tmp_path: Path) -> None:
    """Register, look, go back and mend over HTTP; files of what was cut off go from the folder of the server."""
    served, mine = Store.at(tmp_path / "served"), Store.at(tmp_path / "mine")
    mine.check_writable()
    Registry(served)
    server = Server(served, tmp_path / "server.log")
    server.start()
    try:
        client = MlflowClient(server.uri)
        run_id = client.create_run(client.create_experiment("e")).info.run_id
        versions = [register(mine, "far", run_id, tmp_path / "m", server.uri) for _ in range(2)]
        assert versions == ["1", "2"]
        registry = Registry(mine, server.uri)
        half = client.create_logged_model("1", name="far", source_run_id=run_id, tags={"pneumo.making": store_id(mine)})
        client.log_model_artifacts(half.model_id, str(tmp_path / "m"))
        there = len(list(served.artifacts.rglob("model.keras")))
        code, out, err = tune(mine, "rollback", "far", "--reason", "x", "--tracking-uri", server.uri)
        assert (code, out) == (0, "far/1 is champion again, instead of version 2: models:/far@champion\n")
        assert "mended: files of far, uploaded by a promotion that was cut off, were removed" in err
        assert len(list(served.artifacts.rglob("model.keras"))) == there - 1
        document = json.loads(tune(mine, "registry", "far", "--tracking-uri", server.uri, "--json")[1])
        assert [event["state"] for event in document["models"][0]["history"]] == ["done"] * 3
        assert registry.holder("far", "champion") == ModelReference("far", "1")
    finally:
        server.kill()
