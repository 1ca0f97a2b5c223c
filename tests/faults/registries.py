"""What the tests ask of a registry whose writers were killed."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from tuning.models.file_sums import check_sums
from tuning.models.history import DONE, INTENDED, PROMOTED, HistoryEvent
from tuning.models.registration import FILES_DIGEST, MAKING, every
from tuning.models.registry import Registry
from tuning.models.workbench import workbench
from tuning.store import Store


def mended(store: Store, registry: Registry) -> list[str]:
    """Mends, as the next command does, and makes sure that nothing half-made is left; returns what was said."""
    with workbench(store):
        sentences = registry.mend()
        assert not registry.mend()
    assert half_made(store, registry.uri) == []
    for model in registry.models():
        assert_coherent(registry, model.name)
    return sentences


def half_made(store: Store, uri: str) -> list[str]:
    """Whatever should not be there: marks, versions without a record, files of no version, scratch."""
    client, found = MlflowClient(uri, uri), []
    registered, alive = set(), set()
    for model in every(client.search_registered_models):
        found += [f"mark of {model.name}"] if MAKING in model.tags else []
        found += [f"intent {key}" for key, value in model.tags.items() if INTENDED in value]
    for version in every(client.search_model_versions):
        found += [f"mark of {version.name}/{version.version}"] if MAKING in version.tags else []
        registered.add(version.source.removeprefix("models:/"))
    experiments = [experiment.experiment_id for experiment in every(client.search_experiments)]
    for logged in every(client.search_logged_models, experiments):
        found += [f"mark of {logged.model_id}"] if MAKING in logged.tags else []
        alive.add(logged.model_id)
    found += [f"logged models {registered ^ alive}"] if registered != alive else []
    folders = {path.name for path in store.artifacts.glob("*/models/*")}
    found += [f"folders {folders ^ registered}"] if folders != registered else []
    return found + (["scratch"] if (store.root / "promotion").exists() else [])


def assert_coherent(registry: Registry, name: str) -> None:
    """One event follows from the other; the alias is where the last one put it, on a version whose files are whole."""
    model = registry.model(name)
    holder = ""
    for event in done(registry, name):
        assert event.replaced == holder
        holder = event.version
    assert model.aliases.get("champion", "") == holder
    assert [event.number for event in model.events] == list(range(1, len(model.events) + 1))
    promoted = {event.version for event in model.events if (event.action, event.state) == (PROMOTED, DONE)}
    assert {version.version for version in model.versions} == promoted
    if reference := registry.holder(name, "champion"):
        check_sums(Path(registry.folder(reference)), registry.tags(reference)[FILES_DIGEST])


def done(registry: Registry, name: str) -> list[HistoryEvent]:
    """What happened to a model."""
    return [event for event in registry.model(name).events if event.state == DONE]
