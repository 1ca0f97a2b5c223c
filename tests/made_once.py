"""What every small study would make anew, and always the same: made once for a whole test run."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from tuning import tracking
from tuning.store import Store


@contextlib.contextmanager
def migrations(empty: Store) -> Iterator[None]:
    """MLflow makes a new database by all migrations there ever were, which takes seconds; stores get a copy of one.

    Args:
        empty: a store whose database is that one; made with the first that is needed.
    """
    real = tracking.prepare_embedded

    def prepare(store: Store) -> None:
        if store.root.is_dir() and not store.database.exists():
            real(empty)
            with (
                contextlib.closing(sqlite3.connect(empty.database)) as made,
                contextlib.closing(sqlite3.connect(store.database)) as copy,
            ):
                made.backup(copy)
        real(store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "prepare_embedded", prepare)
        yield


@contextlib.contextmanager
def audits() -> Iterator[None]:
    """Whether file properties give labels away is asked of the same images by every study of them."""
    from pneumo_core import audit

    real, found = audit.shortcut_baseline, dict[str, Any]()

    @functools.wraps(real)
    def shortcut_baseline(manifest: Any) -> Any:
        key = manifest.to_csv()
        if key not in found:
            found[key] = real(manifest)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "shortcut_baseline", shortcut_baseline)
        yield
