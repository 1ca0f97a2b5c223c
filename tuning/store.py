"""The store: where studies, the MLflow database, artifacts and generated data lie. Nothing else knows these paths."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pneumo_core.errors import StoreError, StudyError
from pneumo_core.places import resolved
from tuning.journal import begun_at

_LOCK_LOOKS, _LOCK_PAUSE_S = 5, 0.1
_UNADDRESSABLE = {"%", "?", "#"}
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder with everything that outlives a command, `./mlruns` by default.

    Attributes:
        root: absolute path, so that nothing depends on the working directory.
    """

    root: Path

    @classmethod
    def at(cls, root: Path | str) -> Store:
        """Returns the store at a path, which need not exist yet.

        Raises:
            StoreError: if MLflow could not find it there again.
        """
        path = resolved(root)
        if found := sorted(_UNADDRESSABLE & set(str(path))):
            raise StoreError(
                f"store {path}: has {' and '.join(found)} in its path, which MLflow's addresses cannot hold; choose "
                "another with --store."
            )
        return cls(path)

    @property
    def database(self) -> Path:
        """MLflow's SQLite file."""
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, a folder for each experiment."""
        return self.root / "artifacts"

    @property
    def studies(self) -> Path:
        """A folder for each study."""
        return self.root / "studies"

    @property
    def cache(self) -> Path:
        """Activations of frozen layers."""
        return self.root / "cache"

    @property
    def data(self) -> Path:
        """Generated data sets."""
        return self.root / "data"

    @property
    def test_ledger(self) -> Path:
        """Append-only record of every opening of a test set."""
        return self.root / "test_ledger.jsonl"

    @property
    def test_scores(self) -> Path:
        """Score tables of test sets, a folder for each set, a file for each model."""
        return self.root / "test_scores"

    def existing(self) -> Store:
        """Returns this store if it is there.

        Raises:
            StoreError: if not; a typo should not make a new one.
        """
        if not self.root.is_dir():
            raise StoreError(f"store {self.root}: expected a folder that `tune run` has written to; check --store.")
        return self

    def study(self, name: str) -> StudyFolder:
        """Returns the folder of an existing study.

        Raises:
            StudyError: if there is none of that name; the message lists those there are.
        """
        folder = StudyFolder(self.studies / checked_study_name(name))
        if not folder.has_begun():
            known = ", ".join(self.study_names()) or "none yet"
            raise StudyError(f"study {name}: not found in {self.root}; studies there: {known}.")
        return folder

    def study_names(self) -> list[str]:
        """Returns the names of all studies, oldest first.

        Raises:
            StoreError: if the store is not a folder.
        """
        if self.root.exists():
            self.existing()
        journals = sorted(self.studies.glob("*/journal.jsonl"), key=lambda path: (begun_at(path), path))
        return [path.parent.name for path in journals]

    def create_study(self, name: str | None, *, space: str) -> StudyFolder:
        """Makes the folder of a new study, named `<space>-1`, `-2`, … where no name is given.

        Raises:
            StudyError: if the name is taken or not one.
            StoreError: if the store cannot be written.

        Side effects:
            Creates the folder, which nobody else can then create.
        """
        self.check_writable()
        if name is not None:
            checked_study_name(name)
        try:
            self.studies.mkdir(exist_ok=True)
            for number in itertools.count(1):
                with contextlib.suppress(FileExistsError):
                    return self._claim(name or f"{space}-{number}")
                if name is not None:
                    return self._reclaim(name)
        except OSError as error:
            raise StoreError(f"store {self.root}: no study can be made in it ({error}).") from error
        raise AssertionError("numbers never end")

    def refuse_taken(self, name: str) -> None:
        """Makes sure that a new study may have the name.

        Raises:
            StudyError: if the name is taken or not one.
        """
        folder = StudyFolder(self.studies / checked_study_name(name))
        if folder.has_begun() or folder.is_held():
            raise StudyError(
                f"study {name}: already exists in {self.root}; go on with it by `tune resume {name}`, choose another "
                "name with --study, or leave --study out to have one chosen."
            )

    def check_writable(self) -> None:
        """Makes sure that files can be created in the store.

        Raises:
            StoreError: naming the folder and the reason.

        Side effects:
            Creates the store's folder.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise StoreError(
                f"store {self.root}: cannot be written ({error.strerror or error}); choose another with --store."
            ) from error

    def _claim(self, name: str) -> StudyFolder:
        folder = StudyFolder(self.studies / name)
        folder.root.mkdir()
        return folder

    def _reclaim(self, name: str) -> StudyFolder:
        """The folder of a study whose process died before it began; any other is taken."""
        self.refuse_taken(name)
        folder = StudyFolder(self.studies / name)
        folder.journal.unlink(missing_ok=True)
        return folder


@dataclasses.dataclass(frozen=True)
class StudyFolder:
    """The files of one study."""

    root: Path

    @property
    def name(self) -> str:
        """The study's name."""
        return self.root.name

    @property
    def journal(self) -> Path:
        """The study's append-only record."""
        return self.root / "journal.jsonl"

    def has_begun(self) -> bool:
        """Returns whether the journal has its first line."""
        try:
            with self.journal.open("rb") as file:
                return file.readline().endswith(b"\n")
        except FileNotFoundError:
            return False

    @property
    def checkpoints(self) -> Path:
        """States of trainings that are not over."""
        return self.root / "checkpoints"

    @property
    def confirmation(self) -> Path:
        """Score tables of the trainings that confirm the leaders of the search."""
        return self.root / "confirmation"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the study, whose name it holds."""
        return self.root / "lock"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps every other process from running the study.

        The lock goes with the process, however that ends.

        Raises:
            StudyError: if another process runs the study; names it.
            StoreError: if the folder cannot be written.

        Side effects:
            Writes the lock file.
        """
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(self.lock.open("a+"))
                holder = self._take(file)
            except OSError as error:
                raise StoreError(
                    f"study {self.name}: cannot be locked in {self.root} ({error.strerror or error})."
                ) from error
            if holder:
                raise StudyError(f"study {self.name}: is being run by {holder}; wait for its end or stop it.")
            yield

    def _take(self, file: IO[str]) -> str:
        """Takes the lock and returns nothing, or returns who has it."""
        for _ in range(_LOCK_LOOKS):  # somebody may just be looking
            if _locked(file, fcntl.LOCK_EX):
                break
            time.sleep(_LOCK_PAUSE_S)
        else:
            file.seek(0)
            return file.read().strip() or "another process"
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        return ""

    def is_held(self) -> bool:
        """Returns whether a process runs the study."""
        try:
            with self.lock.open() as file:
                return not _locked(file, fcntl.LOCK_SH)
        except OSError:
            return False

    def holder(self) -> str:
        """Returns the process that runs the study, as `process 12 on somewhere`; nothing if none does."""
        if not self.is_held():
            return ""
        try:
            return self.lock.read_text().strip() or "a process"
        except OSError:
            return "a process"

    def staging(self, trial: str) -> Path:
        """Files of a finished trial on their way to MLflow."""
        return self.root / "staging" / trial

    def discard_if_empty(self) -> None:
        """Gives the name back, if the study never began.

        Side effects:
            Removes the folder unless it holds a journal.
        """
        if not self.has_begun():
            shutil.rmtree(self.root, ignore_errors=True)


def _locked(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def checked_study_name(name: str) -> str:
    """Returns the name if a study may have it.

    Raises:
        StudyError: if it could not be a folder's name everywhere.
    """
    if not _STUDY_NAME.fullmatch(name):
        raise StudyError(
            f"study {name!r}: expected a name of letters, digits, '.', '_' and '-' (at most 80, not starting with "
            "a sign)."
        )
    return name
