"""MLflow brought up to date about studies that nobody runs: by the user's wish, or because their process died."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path

from tuning.backlog import Cursor
from tuning.journal import Journal, drop_torn_line, read_journal
from tuning.moved_store import refuse_moved
from tuning.projection import Projection
from tuning.record import StudyRecord, replay
from tuning.store import Store, StudyFolder
from tuning.tracking import Tracker, reachable_uri, recorded_uri, tracking_address

_SYNC_PATIENCE_S = 30.0
_ABANDONED_LIMIT_S = 10.0


def sync_study(store: Store, name: str, tracking_uri: str | None, tell: Callable[[str], None]) -> bool:
    """Writes to MLflow what it lacks of a study that nobody runs, and closes runs that a dead process left open.

    Args:
        store: where the study is kept.
        name: of the study.
        tracking_uri: MLflow's; None for where the study was logged.
        tell: takes sentences for the user.

    Returns:
        Whether MLflow has everything that it takes.

    Raises:
        StudyError: if there is no such study, or a process runs it.
        StoreError: if its files cannot be read or written.
        TrackingError: if MLflow's address is not known.

    Side effects:
        Writes to MLflow and to the study's folder.
    """
    folder = store.existing().study(name)
    refuse_moved(store)
    with folder.hold():
        record = _begun(folder)
        projection = _dead_study(store, folder, record, recorded_uri(record, tracking_uri), tell)
        projection.start()
        return projection.finish(_SYNC_PATIENCE_S)


def close_abandoned(store: Store, uri: str | None, limit_s: float = _ABANDONED_LIMIT_S) -> list[str]:
    """Writes to MLflow what it lacks of studies whose process died, and closes the runs that these left open.

    What MLflow cannot take now is left for the next time. Studies that are complete cost a look at their cursor.

    Args:
        store: with the studies.
        uri: of an MLflow in use, with its password; None for the store's own database.
        limit_s: for all of it.

    Returns:
        The names of the studies that were brought to an end in MLflow.

    Side effects:
        Writes to MLflow and to the folders of the studies.
    """
    deadline = time.monotonic() + limit_s
    current, away, closed = tracking_address(store, uri), set[str](), []
    for name in store.study_names():
        folder = StudyFolder(store.studies / name)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        if Cursor.read(folder).is_settled(folder) or folder.is_held():
            continue
        # Nothing that is wrong with another study stops this one; it is told of when it is used.
        with contextlib.suppress(Exception), folder.hold():
            record = _begun(folder)
            address = reachable_uri(record, current)
            if address is None or address in away or not record.started.study_id:
                continue
            projection = _dead_study(store, folder, record, address, lambda text: None)
            projection.start()
            if projection.finish(left_s, left_s):
                closed.append(name)
            else:
                away.add(address)
    return closed


def _dead_study(
    store: Store, folder: StudyFolder, record: StudyRecord, uri: str, tell: Callable[[str], None]
) -> Projection:
    tracker = Tracker(store, folder, uri, record.started.space, must_answer=False)
    announce = Journal(folder.journal).append

    def draw_study() -> None:  # without a model: neither TensorFlow nor the images may be at hand
        from tuning.analysis.closing import write_closing_report

        write_closing_report(store, record.started.study)

    plots = record.started.work.get("plots", True)
    drawn = draw_study if plots else None
    return Projection(folder, tracker, announce, tell, _draw_plots, draw_study=drawn, study_is_dead=True)


def _begun(folder: StudyFolder) -> StudyRecord:
    """The record of a study's first event; its journal is ready to be appended to."""
    drop_torn_line(folder.journal)
    return replay(itertools.islice(read_journal(folder.journal), 1))


def _draw_plots(folder: Path, best_epoch: int, class_names: tuple[str, str]) -> None:
    from tuning.figures import draw_plots  # brings TensorFlow along, which is seldom needed here

    draw_plots(folder, best_epoch, class_names)
