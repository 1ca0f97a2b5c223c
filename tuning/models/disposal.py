"""`tune gc`: removes what nothing needs, and nothing that a registered version, a journal or the test ledger needs.

Kept scores of test images and journals are never among it: the first keep the test folder shut, the second are the
truth. Of what MLflow knows, files go before their row, so that whatever is broken off is found again the next time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time

from pneumo_core.errors import PneumoError, StoreError, StudyError
from tuning.events import RunLinked
from tuning.journal import read_journal
from tuning.models.holdings import Holdings
from tuning.models.leftovers import Leftover, study_leftovers, unfinished_files
from tuning.models.mlflow_leftovers import MlflowLeftovers, needs_of
from tuning.models.workbench import free_workbench
from tuning.record import replay
from tuning.store import Store, StudyFolder

DEFAULT_AGE_S = 30 * 86_400.0


@dataclasses.dataclass(frozen=True)
class Disposal:
    """What went, or would go.

    Attributes:
        items: in the order in which they go.
        remarks: sentences about what stays although it might be expected to go.
    """

    items: list[Leftover]
    remarks: list[str]

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return sum(item.size for item in self.items)


def dispose(
    store: Store, older_than_s: float = DEFAULT_AGE_S, *, dry_run: bool = False, now: float | None = None
) -> Disposal:
    """Removes what nothing needs from a store. Studies that are being run are left alone.

    Args:
        store: which must be there. Runs on an MLflow server are not touched.
        older_than_s: what was deleted in MLflow goes for good when that is so long ago.
        dry_run: only say what would go.
        now: in seconds since 1970; the present if None.

    Raises:
        StoreError: if there is no such store, or a file cannot be removed.
        StudyError: if a promotion or rollback is under way.
        TrackingError: if MLflow's database cannot be used, as after the store was moved.

    Side effects:
        Deletes files, and rows of MLflow's database.
    """
    now = time.time() if now is None else now
    with contextlib.nullcontext(True) if dry_run else free_workbench(store.existing()) as free:
        if not free:
            raise StudyError(f"store {store.root}: a promotion or rollback is under way; wait for its end.")
        return _disposal(store, older_than_s, dry_run, now)


def _disposal(store: Store, older_than_s: float, dry_run: bool, now: float) -> Disposal:
    holdings = _holdings(store.existing())
    known = _Studies.of(store)
    items = [item for name in store.study_names() for item in _tidied(StudyFolder(store.studies / name), dry_run)]
    remarks = list(known.remarks)
    rest = list(unfinished_files(store, older_than_s, now))
    if holdings:
        found = MlflowLeftovers(store, holdings, older_than_s, now, known.busy, known.linked)
        rows = [item for item in found.all() if item.row or not known.elsewhere]
        rest, remarks = [*rest, *rows], [*remarks, *found.kept]
    if not dry_run:
        rest = [item for item in rest if _remove(item, holdings)]
        _drop_empty_folders(store)
    return Disposal([*items, *rest], remarks)


@dataclasses.dataclass(frozen=True)
class _Studies:
    """What the journals of a store say.

    Attributes:
        busy: ids of studies that are being run.
        linked: ids of all runs.
        elsewhere: whether a study was logged to another database, whose artifacts may lie in this store.
        remarks: what is not touched because of that.
    """

    busy: set[str]
    linked: set[str]
    elsewhere: bool
    remarks: list[str]

    @classmethod
    def of(cls, store: Store) -> _Studies:
        from tuning.tracking import embedded_uri

        busy, linked, remarks, addresses = set(), set[str](), [], set[str]()
        unread = False
        for name in store.study_names():
            folder = StudyFolder(store.studies / name)
            if not folder.has_begun():
                continue
            try:
                events = list(read_journal(folder.journal))
                record = replay(events)
            except PneumoError as error:
                remarks.append(f"{error} Stray folders of artifacts are kept, as they may belong to that study.")
                unread = True
                continue
            linked |= {event.run_id for event in events if isinstance(event, RunLinked)}
            addresses |= {record.started.tracking_uri} - {embedded_uri(store)}
            if folder.is_held():
                busy.add(record.started.study_id)
                remarks.append(f"study {name}: is being run; nothing of it is touched")
        remarks += [f"{one}: studies were logged to it; what it holds is not touched" for one in sorted(addresses)]
        return cls(busy, linked, unread or any(not one.startswith("http") for one in addresses), remarks)


def _holdings(store: Store) -> Holdings | None:
    from tuning.tracking import embedded_uri, prepare_embedded

    if not store.database.is_file():
        return None
    prepare_embedded(store)
    return Holdings(embedded_uri(store))


def _tidied(folder: StudyFolder, dry_run: bool) -> list[Leftover]:
    """What a study has left, removed while no process can take the study up."""
    if folder.is_held() or not folder.has_begun():
        return []
    with contextlib.suppress(StudyError), contextlib.nullcontext() if dry_run else folder.hold():
        try:
            record = replay(read_journal(folder.journal))
        except StoreError:  # a damaged journal, which was told of
            return []
        items = list(study_leftovers(folder, record))
        for item in items if not dry_run else ():
            _remove(item, None)
        return items
    return []


def _remove(item: Leftover, holdings: Holdings | None) -> bool:
    """Removes one item; returns whether it could be, as a version may have come to need it in the meantime."""
    if item.row and holdings and _is_needed(item, holdings):
        return False
    try:
        if item.path and item.path.is_dir():
            shutil.rmtree(item.path)
        elif item.path:
            item.path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{item.path}: cannot be removed ({error.strerror or error}).") from error
    if item.row and holdings:
        kind, identifier = item.row
        remove = {"run": holdings.remove_run, "model": holdings.remove_model, "experiment": holdings.remove_experiment}
        remove[kind](identifier)
    return True


def _is_needed(item: Leftover, holdings: Holdings) -> bool:
    needs = needs_of(holdings.versions(), holdings.runs(), [*holdings.logged_models(), *holdings.deleted_models(0)])
    return item.row is not None and item.row[1] in (needs.models if item.row[0] == "model" else needs.runs)


def _drop_empty_folders(store: Store) -> None:
    """Of experiments that went; a folder with anything in it stays."""
    for folder in [*store.artifacts.glob("*/models"), *store.artifacts.glob("*")]:
        with contextlib.suppress(OSError):
            folder.rmdir()
