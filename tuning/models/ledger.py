"""The ledger of the test folder: who looked at which test images, when, with which model, and what came of it.

One line of JSON for each event, on disk before anything follows from it:

- `opened`: the test images are about to be scored. From here on they count as seen, whatever happens next.
- `scored`: the scores of that opening are on disk.
- `failed`: the opening ended in an error.
- `reused`: scores of an earlier opening were read; no image was.
- `refused`: a model was not let near the test folder, or not let through after it.
- `forced`: a model was let through against its policy.

A process that is killed leaves an opening without an end, which is what happened. Scores get their name when all of
them are on disk, so they are whole, or the test folder is opened (and counted) once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo_core.dataset import digest_of_test, rows_of_test
from pneumo_core.durability import flush
from pneumo_core.errors import DatasetError, PromotionError, StoreError
from pneumo_core.evaluation import compute_metrics
from tuning.journal import append_line, drop_torn_line
from tuning.models.kept_scores import KeptScores, file_digest
from tuning.ranking import defined
from tuning.store import Store

SPENT_AFTER = 5
"""A test set that was opened more often says little about new patients."""

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A model that wants to be scored on test images.

    Attributes:
        study: that the trial belongs to.
        trial: id.
        model: name in the registry that it is meant for.
        model_digest: SHA-256 (hex) of what decides its scores, see `tuning.models.kept_scores.model_digest`.
    """

    study: str
    trial: str
    model: str
    model_digest: str


@dataclasses.dataclass(frozen=True)
class LedgerEntry:
    """A line of the ledger.

    Attributes:
        at: when, in seconds since 1970.
        outcome: `opened`, `scored`, `failed`, `reused`, `refused` or `forced`.
        test_digest: of the test images, see `pneumo_core.dataset.digest_of_test`; empty if they were not known yet.
        images: how many these are.
        study: see `Candidate`, here and in the next three.
        trial: see `Candidate`.
        model: see `Candidate`.
        model_digest: see `Candidate`.
        reason: of a refusal, failure or force; empty elsewhere.
        metrics: of the scores; None where there are none, values that are undefined are None.
        scores: file of the scores, relative to the store's root; empty where there are none.
        scores_digest: SHA-256 (hex) of that file.
    """

    at: float
    outcome: str
    test_digest: str
    images: int
    study: str
    trial: str
    model: str
    model_digest: str
    reason: str = ""
    metrics: dict[str, float | None] | None = None
    scores: str = ""
    scores_digest: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredTest:
    """Scores of a candidate on the test images.

    Attributes:
        table: score table of the test images, sorted by path.
        metrics: of the table; what is undefined is NaN.
        reused: whether the scores are those of an earlier opening.
        test_digest: of the test images.
        openings: how many times these images were opened by now.
        warning: the sentence that the test set is spent; empty if it is not.
    """

    table: pd.DataFrame
    metrics: dict[str, float]
    reused: bool
    test_digest: str
    openings: int
    warning: str


def spent_sentence(openings: int) -> str:
    """Returns the warning that a test set is spent, or nothing if it was opened `SPENT_AFTER` times at most."""
    if openings <= SPENT_AFTER:
        return ""
    return (
        f"this test set was opened {openings} times and is spent: every look at it to choose a model makes its numbers "
        "more optimistic; a new claim needs new test images."
    )


class Ledger:
    """The record of a store, and the only way to its test folders' images.

    Args:
        store: that holds record and scores.
        tell: takes sentences for the user: what is waited for.
        clock: wall clock in seconds since 1970.
    """

    def __init__(
        self, store: Store, tell: Callable[[str], None] = lambda text: None, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._tell, self._clock = store, tell, clock
        self._kept = KeptScores(store.test_scores)

    def score(
        self,
        manifest: pd.DataFrame,
        candidate: Candidate,
        compute: Callable[[pd.DataFrame], pd.DataFrame],
        measure: Callable[[pd.DataFrame], Mapping[str, float]] = compute_metrics,
    ) -> ScoredTest:
        """Returns the candidate's scores on the test images: those of an earlier opening, or else opens the folder.

        Processes do so one after another, so that two of the same model open the folder once.

        Args:
            manifest: as of `pneumo_core.dataset.Dataset`.
            candidate: the model.
            compute: from the test images' rows of the manifest, sorted by path, to their score table in that order;
                called only if no scores are stored.
            measure: from a score table to metrics, for the record.

        Raises:
            DatasetError: if the test folder lacks a class; it was not opened.
            PromotionError: if `compute` scored other images.
            StoreError: if record or scores cannot be written or read, or were changed.

        Side effects:
            Appends to the record; writes the scores.
        """
        rows, digest = self._test_set(manifest)
        kept = self._kept.file(digest, candidate.model_digest)
        with self._only_scorer():
            table = self._stored(digest, candidate)
            reused = table is not None
            if table is None:
                self._append("opened", digest, len(rows), candidate)
                table = self._open(rows, digest, candidate, compute)
            metrics = {name: float(value) for name, value in measure(table).items()}
            self._append(
                "reused" if reused else "scored",
                digest,
                len(rows),
                candidate,
                metrics={name: defined(value) for name, value in metrics.items()},
                scores=str(kept.relative_to(self._store.root)),
                scores_digest=file_digest(kept),
            )
        openings = self.openings(digest)
        return ScoredTest(table, metrics, reused, digest, openings, spent_sentence(openings))

    def has_scores(self, manifest: pd.DataFrame, model_digest: str) -> bool:
        """Returns whether a model's scores on a data set's test images are kept, so that `score` opens nothing."""
        return self._kept.file(digest_of_test(manifest), model_digest).exists()

    def refuse(self, candidate: Candidate, reason: str, manifest: pd.DataFrame | None = None) -> None:
        """Records that a model was refused.

        Args:
            candidate: the model.
            reason: a sentence.
            manifest: of the data set whose test images it was, or would have been, scored on, if that is known.

        Raises:
            StoreError: if the record cannot be written.

        Side effects:
            Appends to the record.
        """
        known = manifest is not None
        digest, images = (digest_of_test(manifest), len(rows_of_test(manifest))) if known else ("", 0)
        self._append("refused", digest, images, candidate, reason=reason)

    def force(self, candidate: Candidate, reason: str, manifest: pd.DataFrame) -> None:
        """Records that a model was let through against its policy.

        Args:
            candidate: the model.
            reason: what was not met, and why it was let through all the same.
            manifest: of the data set whose test images it was judged on.

        Raises:
            StoreError: if the record cannot be written.

        Side effects:
            Appends to the record.
        """
        digest, images = digest_of_test(manifest), len(rows_of_test(manifest))
        self._append("forced", digest, images, candidate, reason=reason)

    def entries(self) -> list[LedgerEntry]:
        """Returns all lines in order; a last one that was cut short, as by a crash in mid-write, is left out.

        Raises:
            StoreError: if the record cannot be read or is damaged; names the line.
        """
        path = self._store.test_ledger
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"test ledger {path}: cannot be read ({error.strerror or error}).") from error
        return [_parse(line, f"test ledger {path}, line {number}") for number, line in enumerate(lines[:-1], start=1)]

    def openings(self, test_digest: str) -> int:
        """Returns how many times the test images of a digest were opened, also in vain."""
        return sum(entry.outcome == "opened" and entry.test_digest == test_digest for entry in self.entries())

    @staticmethod
    def _test_set(manifest: pd.DataFrame) -> tuple[pd.DataFrame, str]:
        rows = rows_of_test(manifest)
        counts = [int((rows["label"] == label).sum()) for label in (0, 1)]
        if not all(counts):
            raise DatasetError(
                f"test/: expected images of both classes, found {counts[0]} negative and {counts[1]} positive; add the "
                "missing ones."
            )
        return rows, digest_of_test(manifest)

    def _open(
        self,
        rows: pd.DataFrame,
        digest: str,
        candidate: Candidate,
        compute: Callable[[pd.DataFrame], pd.DataFrame],
    ) -> pd.DataFrame:
        try:
            table = compute(rows)
            if any(list(table[column]) != list(rows[column]) for column in ("path", "label")):
                raise PromotionError(f"trial {candidate.trial}: was scored on other images than those of test/.")
            self._kept.write(table, digest, candidate.model_digest)
        except Exception as error:
            self._append("failed", digest, len(rows), candidate, reason=f"{type(error).__name__}: {error}")
            raise
        # Read back, so that the first time and every later one give the same.
        return self._kept.read(digest, candidate.model_digest)

    def _stored(self, digest: str, candidate: Candidate) -> pd.DataFrame | None:
        if not self._kept.file(digest, candidate.model_digest).exists():
            return None
        recorded = [
            entry.scores_digest
            for entry in self.entries()
            if (entry.test_digest, entry.model_digest) == (digest, candidate.model_digest) and entry.scores_digest
        ]  # none if the process died in between
        return self._kept.read(digest, candidate.model_digest, recorded[-1] if recorded else None)

    def _append(self, outcome: str, digest: str, images: int, candidate: Candidate, **more: Any) -> None:
        of_model = dataclasses.asdict(candidate)
        entry = LedgerEntry(round(self._clock(), 3), outcome, digest, images, **of_model, **more)
        line = json.dumps({"v": FORMAT_VERSION} | dataclasses.asdict(entry), separators=(",", ":"), allow_nan=False)
        path = self._store.test_ledger
        self._store.check_writable()
        try:
            with _locked(path):
                drop_torn_line(path)  # its writer died before it could go on to what the line announced
                begins = path.stat().st_size == 0
                append_line(path, line.encode() + b"\n")
                if begins:
                    flush(path.parent)
        except OSError as error:
            raise StoreError(f"test ledger {path}: cannot be written ({error.strerror or error}).") from error

    @contextlib.contextmanager
    def _only_scorer(self) -> Iterator[None]:
        lock = self._store.test_scores / "lock"
        self._store.check_writable()
        with contextlib.ExitStack() as stack:
            try:
                lock.parent.mkdir(exist_ok=True)
                stack.enter_context(_locked(lock, lambda: self._tell("waiting: another process scores test images")))
            except OSError as error:
                raise StoreError(f"test scores {lock}: cannot be locked ({error.strerror or error}).") from error
            yield


@contextlib.contextmanager
def _locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keeps other processes, and other threads, out of a file. The lock goes with the process, however that ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parse(line: bytes, where: str) -> LedgerEntry:
    try:
        fields = json.loads(line)
        version = fields.pop("v")
        if version == FORMAT_VERSION:
            return LedgerEntry(**fields)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(f"{where}: damaged ({error}); restore the file from a copy.") from error
    raise StoreError(f"{where}: written by another version of this program (format {version}).")
