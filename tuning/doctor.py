"""`tune doctor`: everything that can be in the way of work, looked at in one go; and repairing what can be repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tuning import installation_health, store_health
from tuning.diagnosis import Check, Diagnosis, diagnosed
from tuning.moved_store import former_roots, repair_moved
from tuning.store import Store


def examine(
    store: Store, tracking_uri: str | None = None, cache: Path | None = None, *, tensorflow: bool = True
) -> Iterator[Diagnosis]:
    """Looks at installation and store, one thing after another; nothing is made, migrated or changed.

    Args:
        store: which need not be there.
        tracking_uri: of the MLflow with the registry; None for the store's own database.
        cache: folder of activations; the store's own if None.
        tensorflow: start TensorFlow (11 s or more), to see whether it loads and what it computes on.
    """
    yield from diagnosed("python", installation_health.python)
    yield from diagnosed("packages", installation_health.packages)
    yield from diagnosed("libraries", lambda: installation_health.imports(tensorflow))
    yield from diagnosed("command", installation_health.command)
    yield from diagnosed("memory", installation_health.memory)
    yield from diagnosed("disk", lambda: installation_health.disk(store.root))
    yield from diagnosed("GPU", lambda: installation_health.processors(tensorflow))
    yield from diagnosed("Kaggle", installation_health.kaggle)
    yield from diagnosed("ImageNet weights", installation_health.weights)
    if not store.root.is_dir():
        yield Diagnosis(
            "store", "note", f"none at {store.root} yet", "tune run makes one; check --store if it should be"
        )
        return
    for what, check in _store_checks(store, tracking_uri, cache):
        yield from diagnosed(what, check)


def _store_checks(store: Store, tracking_uri: str | None, cache: Path | None) -> Iterator[tuple[str, Check]]:
    from tuning.models.registry_health import ledger

    yield "store", lambda: store_health.place(store)
    yield "MLflow database", lambda: store_health.database(store)
    yield "studies", lambda: store_health.studies(store)
    yield "servers", lambda: store_health.servers(store, tracking_uri)
    yield "test ledger", lambda: ledger(store)
    yield "cache", lambda: store_health.cache(cache or store.cache)
    yield "registry", lambda: _registry(store, tracking_uri)


def _registry(store: Store, tracking_uri: str | None) -> Iterator[Diagnosis]:
    """A database that is not there is not made, and one that is broken or moved was told of already."""
    from tuning.models.holdings import Holdings
    from tuning.models.registry_health import registry
    from tuning.tracking import absolute_uri, embedded_uri

    if tracking_uri is None:
        sound = all(found.state in ("ok", "note") for found in store_health.database(store))
        if not store.database.is_file() or not sound or former_roots(store):
            return
    yield from registry(Holdings(embedded_uri(store) if tracking_uri is None else absolute_uri(tracking_uri)))


def mend(store: Store, tell: Callable[[str], None]) -> list[str]:
    """Repairs what can be repaired without losing anything: the places in the database of a store that was moved.

    Returns:
        A sentence for everything that was done.

    Raises:
        PneumoError: if that is not possible now.

    Side effects:
        Writes to MLflow's database in the store, after a copy of it.
    """
    done = repair_moved(store) if store.root.is_dir() else None
    if done is None:
        return []
    sentence = (
        f"store moved from {', '.join(done.roots)} to {store.root}: {done.rows} addresses in MLflow's database "
        f"changed; the database as it was is {done.backup.name}"
    )
    tell(sentence)
    return [sentence]
