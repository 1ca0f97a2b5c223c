"""A store that was moved or copied: MLflow's database still names its artifacts where they were.

MLflow records absolute addresses. Nothing of the program uses such a database before `tune doctor --fix` has made it
name the place where it lies, or it would read and write in the old one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import shlex
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from pneumo_core.durability import flush
from pneumo_core.errors import StoreError, StudyError, TrackingError
from tuning.store import Store, StudyFolder

_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("datasets", "dataset_source"),
    ("trace_tags", "value"),
)
"""Columns of MLflow 3.17 that hold places; inputs and outputs name runs and models by their ids."""


@dataclasses.dataclass(frozen=True)
class Relocation:
    """A repaired database.

    Attributes:
        roots: where the store was, as far as the database said so.
        rows: how many addresses were changed.
        backup: the database as it was before.
    """

    roots: list[str]
    rows: int
    backup: Path


def former_roots(store: Store) -> list[str]:
    """Returns where a store was when MLflow's database recorded artifacts; nothing if it names only this place.

    An experiment of this program keeps its artifacts in `artifacts/<name>` of its store. Another place counts if that
    folder lies here, or if a study of this store began there; it may be the store of somebody who logs to this
    database otherwise. The old place is not looked at: of a copy it still exists.
    """
    places: dict[str, list[str]] = {}
    for location in _experiment_locations(store):
        path = Path(urllib.parse.unquote(urllib.parse.urlparse(location).path))
        if path.parent.name == "artifacts" and path.parent.parent != store.root:
            places.setdefault(str(path.parent.parent), []).append(path.name)
    lie_here = {root for root, names in places.items() if any((store.artifacts / name).is_dir() for name in names)}
    return sorted(root for root in places if root in lie_here or root in _recorded_roots(store))


def refuse_moved(store: Store) -> None:
    """Makes sure that MLflow's database in the store, if there is one, names the artifacts where they are.

    Raises:
        TrackingError: if the store was moved or copied; names the command that repairs it.
    """
    roots = former_roots(store)
    if roots:
        raise TrackingError(
            f"store {store.root}: was moved or copied here from {', '.join(roots)}, where its MLflow database still "
            f"looks for artifacts; repair it with: tune doctor --fix --store {shlex.quote(str(store.root))}"
        )


def repair_moved(store: Store) -> Relocation | None:
    """Makes MLflow's database in the store name the place where it lies.

    All of it is one transaction: a process that is killed leaves the database as it was or repaired.

    Returns:
        What was done; None if there was nothing to do.

    Raises:
        StudyError: if a process runs a study of the store.
        StoreError: if the database cannot be copied or written.

    Side effects:
        Copies the database to `mlflow-before-move.db`, then writes to it.
    """
    if not former_roots(store):
        return None
    held = [name for name in store.study_names() if StudyFolder(store.studies / name).is_held()]
    if held:
        raise StudyError(f"store {store.root}: study {held[0]} is being run; wait for its end, then repair the store.")
    try:
        with locked_database(store):
            roots = former_roots(store)
            backup = _back_up(store)
            with contextlib.closing(sqlite3.connect(store.database, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                rows = sum(_readdress(connection, root, str(store.root)) for root in roots)
                connection.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"MLflow database {store.database}: cannot be repaired ({error}); it is as it was.") from error
    return Relocation(roots, rows, backup)


@contextlib.contextmanager
def locked_database(store: Store) -> Iterator[None]:
    """Keeps other processes from making, migrating or repairing MLflow's database in the store."""
    with (store.root / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def read_only(database: Path) -> Iterator[sqlite3.Connection]:
    """Opens a SQLite file that exists, without ever making one.

    Raises:
        sqlite3.Error: if it is not there or no database.
    """
    address = f"file:{urllib.parse.quote(str(database))}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
        yield connection


def _experiment_locations(store: Store) -> list[str]:
    if not store.database.is_file():
        return []
    try:
        with read_only(store.database) as connection:
            return [row[0] or "" for row in connection.execute("SELECT artifact_location FROM experiments")]
    except sqlite3.Error:  # damaged, or of another program: whoever uses it says so
        return []


def _recorded_roots(store: Store) -> set[str]:
    """In which stores the studies that lie here began."""
    roots = set()
    for journal in store.studies.glob("*/journal.jsonl"):
        with contextlib.suppress(OSError, ValueError, AttributeError), journal.open("rb") as file:
            first = json.loads(file.readline())
            roots.add(first.get("store") or first.get("tracking_uri", "").removeprefix("sqlite:///"))
    return roots | {str(Path(root).parent) for root in roots if root.endswith("/mlflow.db")}


def _back_up(store: Store) -> Path:
    backup = store.root / "mlflow-before-move.db"
    unfinished = backup.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with read_only(store.database) as source, contextlib.closing(sqlite3.connect(unfinished)) as copy:
        source.backup(copy)
    flush(unfinished)
    unfinished.replace(backup)
    flush(store.root)
    return backup


def _readdress(connection: sqlite3.Connection, old: str, new: str) -> int:
    rows = 0
    for table, column in _ADDRESSES:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        for was, now in _spellings(old, new) if column in columns else ():
            # The end of the old folder's name must be that of a step of the path.
            changed = connection.execute(
                f"UPDATE {table} SET {column} = :now || substr({column}, :length + 1) "  # noqa: S608  # own names
                f"WHERE substr({column}, 1, :length) = :was AND substr({column}, :length + 1, 1) IN ('', '/', '\"')",
                {"now": now, "was": was, "length": len(was)},
            )
            rows += changed.rowcount
    return rows


def _spellings(old: str, new: str) -> list[tuple[str, str]]:
    """How a folder begins an address: as a path, as a URI, in the JSON of a data set's source."""
    json_of = [json.dumps({"uri": root})[:-2] for root in (old, new)]
    return [(old, new), (Path(old).as_uri(), Path(new).as_uri()), (json_of[0], json_of[1])]
