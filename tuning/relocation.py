"""What a journal says of places inside its store, told anew for a store that was moved or copied since.

Journals are never rewritten. A study says in which store it began, or was taken up again; whoever reads it in another
place finds the paths inside that store where they are now.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tuning.events import Event, StudyResumed, StudyStarted

_SQLITE = "sqlite:///"


def relocated(text: str, old: str, new: str) -> str:
    """Returns a path, or a SQLite address, with the folder it lies in replaced; any other text as it is.

    Args:
        text: path, address, or something else.
        old: absolute path of the folder as it was.
        new: absolute path of the folder as it is.
    """
    head, path = (_SQLITE, text.removeprefix(_SQLITE)) if text.startswith(_SQLITE) else ("", text)
    inside = path == old or path.startswith(f"{old}/")
    return head + new + path[len(old) :] if inside else text


def at_home(event: Event, journal: Path) -> Event:
    """Returns an event with its paths as they are in the store in which the journal lies now.

    Args:
        event: as it was recorded.
        journal: file of a study in its store.
    """
    if not isinstance(event, StudyStarted | StudyResumed):
        return event  # the others speak of no places
    root = store_of(journal)
    if not root:
        return event
    if isinstance(event, StudyStarted):
        old = event.store or _unrecorded_store(event, journal)
        return event if old in ("", root) else _moved(event, old, root)
    if event.identity.get("store", root) != root:
        moved = {
            name: relocated(event.identity[name], event.identity["store"], root) for name in ("data_root", "store")
        }
        return dataclasses.replace(event, identity=event.identity | moved)
    return event


def store_of(journal: Path) -> str:
    """Returns the folder of the store in which a study's journal lies; nothing for a journal that lies in none."""
    folder = journal.absolute().parent.parent
    return str(folder.parent) if folder.name == "studies" else ""


def _moved(started: StudyStarted, old: str, root: str) -> StudyStarted:
    """What was given as `--data` stays as it was given: MLflow has it as a parameter, which nothing can change."""
    cache = started.work.get("cache")
    return dataclasses.replace(
        started,
        data_root=relocated(started.data_root, old, root),
        space_source=relocated(started.space_source, old, root),
        store=root,
        tracking_uri=relocated(started.tracking_uri, old, root),
        work=started.work | ({"cache": relocated(cache, old, root)} if cache else {}),
    )


def _unrecorded_store(started: StudyStarted, journal: Path) -> str:
    """Studies of earlier versions named their store by its database alone, which may be that of another store."""
    database = Path(started.tracking_uri.removeprefix(_SQLITE))
    here = Path(store_of(journal)) / database.name
    if not started.tracking_uri.startswith(_SQLITE) or database.name != "mlflow.db" or not here.exists():
        return ""
    was_there = (database.parent / "studies" / started.study).is_dir() or not database.parent.exists()
    return str(database.parent) if was_there else ""
