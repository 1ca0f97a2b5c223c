"""The place where a store's models are made: one promotion at a time, in a scratch folder that is empty at the start.

Whoever holds the lock knows that nobody else of this store is making a model. So what lies about, here or in the
registry, was left by a process that died. The lock goes with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from pneumo_core.durability import flush
from pneumo_core.errors import StoreError
from tuning.store import Store

_ID_DIGITS = 12


@contextlib.contextmanager
def workbench(store: Store, tell: Callable[[str], None] = lambda text: None) -> Iterator[Path]:
    """Keeps other promotions and rollbacks of the store out; waits for one that is under way.

    Args:
        store: whose models are made.
        tell: takes sentences for the user: that another one is waited for.

    Yields:
        An empty folder in the store. It is removed at the end.

    Raises:
        StoreError: if the store cannot be written.
    """
    with contextlib.ExitStack() as stack:
        _lock(store, stack, lambda: tell("waiting: another promotion or rollback of this store is under way"))
        yield _emptied(store, stack)


@contextlib.contextmanager
def free_workbench(store: Store) -> Iterator[bool]:
    """As `workbench`, without waiting.

    Yields:
        Whether nobody else was at it, so that it is held now.
    """
    with contextlib.ExitStack() as stack:
        free = _lock(store, stack)
        if free:
            _emptied(store, stack)
        yield free


def store_id(store: Store) -> str:
    """Returns what tells a store from all others, also from a copy of it.

    A copy must not take for its own what the other is making on a shared server. So the file says which file it is
    itself (its inode): a copy of it says something that does not hold there.

    Raises:
        StoreError: if the store cannot be written.

    Side effects:
        Writes the file the first time. The caller holds the workbench.
    """
    path = store.root / "store_id.json"
    try:
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            known = json.loads(path.read_text())
            if known["inode"] == path.stat().st_ino:
                return str(known["id"])
        fresh = uuid.uuid4().hex[:_ID_DIGITS]
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        unfinished.touch()
        unfinished.write_text(json.dumps({"id": fresh, "inode": unfinished.stat().st_ino}) + "\n")
        flush(unfinished)
        unfinished.replace(path)
        flush(store.root)
    except OSError as error:
        raise StoreError(f"store {store.root}: {path.name} cannot be used ({error.strerror or error}).") from error
    return fresh


def _lock(store: Store, stack: contextlib.ExitStack, on_wait: Callable[[], None] | None = None) -> bool:
    """Takes the lock until the stack is left; returns whether it has it. Without `on_wait` it does not wait."""
    store.check_writable()
    path = store.root / ".promotion.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is None:
                return False
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreError(f"store {store.root}: {path.name} cannot be locked ({error.strerror or error}).") from error
    return True


def _emptied(store: Store, stack: contextlib.ExitStack) -> Path:
    """Makes the scratch folder anew; its owner before is dead, or done."""
    folder = store.root / "promotion"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    except OSError as error:
        raise StoreError(f"store {store.root}: {folder} cannot be emptied ({error.strerror or error}).") from error
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder
