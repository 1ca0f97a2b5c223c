"""Whether a store is whole: its place, MLflow's database, journals, the cache of activations, MLflow servers."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pneumo_core.activation_store import ActivationStore
from pneumo_core.errors import PneumoError
from tuning.arguments import DEFAULT_CACHE_BUDGET_BYTES
from tuning.backlog import Cursor
from tuning.diagnosis import Diagnosis
from tuning.journal import read_journal
from tuning.moved_store import former_roots, read_only
from tuning.record import StudyRecord, replay
from tuning.store import Store, StudyFolder

_SERVER_PATIENCE_S = 3.0


def place(store: Store) -> Iterator[Diagnosis]:
    """Looks whether the store can be written to, and lies where its database says."""
    try:
        store.check_writable()
    except PneumoError as error:
        yield Diagnosis("store", "problem", str(error), "mend its rights, or choose another with --store")
        return
    roots = former_roots(store)
    if roots:
        seen = f"was moved or copied here from {', '.join(roots)}: MLflow looks for its artifacts there"
        yield Diagnosis("store", "problem", seen, "tune doctor --fix")
    else:
        yield Diagnosis("store", "ok", f"{store.root}, can be written to")


def database(store: Store) -> Iterator[Diagnosis]:
    """Looks at MLflow's database: whole, of a schema that this MLflow knows, with write-ahead logging."""
    what = "MLflow database"
    if not store.database.is_file():
        yield Diagnosis(what, "note", "none yet; it is made when a study begins")
        return
    try:
        with read_only(store.database) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            schema = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except sqlite3.Error as error:
        verdict, mode, schema = str(error), "", ""
    restore = f"restore {store.database.name} from a copy, or move it away and write it anew: tune sync STUDY"
    if verdict != "ok":
        yield Diagnosis(what, "problem", f"damaged ({verdict})", restore)
        return
    known, head = _schemas()
    if schema not in known:
        yield Diagnosis(
            what, "problem", f"of a newer MLflow (schema {schema})", "install that MLflow, or restore a copy"
        )
    elif schema != head:
        yield Diagnosis(what, "note", f"of an older MLflow (schema {schema}); it is migrated when it is next used")
    elif mode != "wal":
        yield Diagnosis(what, "note", f"whole; journal mode {mode}, set to WAL when it is next used")
    else:
        yield Diagnosis(what, "ok", f"whole, {store.database.stat().st_size / 1e6:.1f} MB")


def _schemas() -> tuple[set[str], str]:
    """The schemas that the installed MLflow can migrate from, and the one that it has, by its migration scripts."""
    found = importlib.util.find_spec("mlflow")
    folder = Path(str(found.origin)).parent / "store" / "db_migrations" / "versions" if found else Path()
    texts = [path.read_text() for path in folder.glob("*.py")]
    revisions, followed = (
        {match[1] for text in texts if (match := re.search(rf"^{word} = [\"'](\w+)", text, re.MULTILINE))}
        for word in ("revision", "down_revision")
    )
    return revisions, next(iter(revisions - followed), "")


def studies(store: Store) -> Iterator[Diagnosis]:
    """Reads every journal: damage, studies whose process died, files that they left."""
    names = store.study_names()
    whole = 0
    for name in names:
        found = list(_study(StudyFolder(store.studies / name)))
        whole += not found
        yield from found
    if whole or not names:
        yield Diagnosis("studies", "ok", f"{whole} of {len(names)} as they should be" if names else "none yet")


def _study(folder: StudyFolder) -> Iterator[Diagnosis]:
    what, held = f"study {folder.name}", folder.is_held()
    if not folder.has_begun():
        if not held:
            yield Diagnosis(what, "note", "never began: its process died before", "tune gc")
        return
    try:
        record = replay(read_journal(folder.journal))
    except PneumoError as error:
        yield Diagnosis(
            what, "problem", str(error), "restore the journal from a copy; the other studies are not touched"
        )
        return
    if held:
        return
    if not folder.journal.read_bytes().endswith(b"\n"):
        yield Diagnosis(
            what, "warning", "its last line was cut short by a crash", f"it is dropped by: tune resume {folder.name}"
        )
    if record.ended is None:
        yield Diagnosis(what, "warning", "its process died before the end", f"go on with it: tune resume {folder.name}")
    elif not Cursor.read(folder).is_settled(folder):
        yield Diagnosis(what, "warning", "MLflow lacks some of it", f"tune sync {folder.name}")
    elif left := _left(folder, record):
        yield Diagnosis(what, "note", f"{left / 1e6:.1f} MB of checkpoints and files that nothing needs", "tune gc")


def _left(folder: StudyFolder, record: StudyRecord) -> int:
    """Bytes that `tune gc` would free: see `tuning.models.disposal`."""
    from tuning.models.leftovers import study_leftovers

    return sum(leftover.size for leftover in study_leftovers(folder, record))


def cache(folder: Path) -> Iterator[Diagnosis]:
    """Looks at the entries' sizes; their contents are checked whenever they are used."""
    entries = ActivationStore(folder).entries()
    broken = [entry.address for entry in entries if not _is_whole(folder / entry.address)]
    total = sum(entry.size for entry in entries)
    seen = f"{len(entries)} entries, {total / 1e6:.1f} MB"
    if broken:
        seen += f", of which {', '.join(address[:12] for address in broken)} are damaged"
        yield Diagnosis("cache", "warning", seen, "computed anew when needed; tune cache clear frees the room")
    elif total > DEFAULT_CACHE_BUDGET_BYTES:
        yield Diagnosis("cache", "warning", f"{seen}, more than the usual budget", "tune cache clear")
    else:
        yield Diagnosis("cache", "ok", seen)


def _is_whole(entry: Path) -> bool:
    if entry.name.endswith(".partial"):
        return True  # in the making, or to be gone on with
    try:
        about = json.loads((entry / "entry.json").read_text())
        expected = math.prod(about["shape"]) * np.dtype(about["dtype"]).itemsize
        return bool((entry / "data.bin").stat().st_size == expected)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def servers(store: Store, uri: str | None) -> Iterator[Diagnosis]:
    """Asks the MLflow servers that studies were logged to, and the one that is given, whether they are there."""
    addresses = {uri} if uri else set()
    for name in store.study_names():
        try:
            addresses.add(next(iter(read_journal(store.study(name).journal))).tracking_uri)  # type: ignore[union-attr]
        except PneumoError:
            continue
    for address in sorted(one for one in addresses if one.startswith("http")):
        yield _server(address)


def _server(address: str) -> Diagnosis:
    from tuning.tracking import redacted

    what = f"MLflow at {redacted(address)}"
    if "***@" in address:
        return Diagnosis(what, "note", "its password is not kept, so it was not asked", "give it with --tracking-uri")
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=_SERVER_PATIENCE_S):  # noqa: S310
            return Diagnosis(what, "ok", "answers")
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Diagnosis(what, "warning", f"does not answer ({reason})", "start it, then: tune sync STUDY")
