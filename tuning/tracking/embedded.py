"""MLflow's database in a store: made and migrated once, by one process at a time."""

from __future__ import annotations

import contextlib
import sqlite3

from tuning.moved_store import locked_database, refuse_moved
from tuning.store import Store
from tuning.tracking.addresses import embedded_uri, tracking_address
from tuning.tracking.outcomes import translated


def prepare_embedded(store: Store) -> None:
    """Creates or migrates the embedded database, one process at a time, and sets it to write-ahead logging.

    Several processes on a fresh database would otherwise migrate it side by side and fail.

    Raises:
        TrackingError: if the file is not a database, belongs to a newer MLflow, or the store was moved.

    Side effects:
        Creates the database and its lock file in the store.
    """
    from mlflow import MlflowClient

    refuse_moved(store)
    with locked_database(store), translated(f"MLflow database {store.database}"):
        if not store.database.exists():
            # Made under another name: a migration that is cut short cannot be taken up again.
            unfinished = store.root / ".mlflow.db.new"
            unfinished.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{unfinished}").search_experiments(max_results=1)
            unfinished.rename(store.database)
        with contextlib.closing(sqlite3.connect(store.database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        MlflowClient(embedded_uri(store)).search_experiments(max_results=1)
    _forget_places()


def _forget_places() -> None:
    """MLflow remembers for a whole process where a run's files lie, by an id that copies of a store share."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


def prepared_uri(store: Store, uri: str | None) -> str:
    """Returns the absolute address of a tracking store: the one given, or the store's own database, ready for use.

    Raises:
        TrackingError: if the database cannot be made or used.

    Side effects:
        As `prepare_embedded`, if the address is the store's own database.
    """
    address = tracking_address(store, uri)
    if address == embedded_uri(store):
        prepare_embedded(store)
    return address
