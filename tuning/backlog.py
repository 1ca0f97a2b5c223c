"""What of a study's journal MLflow may not have yet: how far it has been written, and the news since."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

from pneumo_core.errors import StoreError
from tuning.events import (
    AttemptFailed,
    Event,
    RunLinked,
    StudyConfirmed,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialStarted,
)
from tuning.journal import Entry, read_entries
from tuning.record import replay
from tuning.store import StudyFolder


@dataclasses.dataclass(frozen=True)
class Cursor:
    """How far MLflow has a study's journal.

    Attributes:
        written: bytes of the journal.
        closed: whether all of the study's runs are closed there.
    """

    written: int = 0
    closed: bool = False

    @classmethod
    def read(cls, folder: StudyFolder) -> Cursor:
        """Returns the cursor of a study: the journal's start if its file is missing or damaged."""
        try:
            fields = json.loads(_cursor_file(folder).read_text())
            cursor = cls(int(fields["written"]), bool(fields["closed"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()
        return cursor if cursor.written <= journal_size(folder.journal) else cls()

    def save(self, folder: StudyFolder) -> None:
        """Writes the cursor.

        Raises:
            StoreError: if the disk refuses.

        Side effects:
            Replaces the cursor's file at once.
        """
        place = _cursor_file(folder)
        unfinished = place.with_suffix(".new")
        try:
            unfinished.write_text(json.dumps(dataclasses.asdict(self)) + "\n")
            unfinished.replace(place)
        except OSError as error:
            raise StoreError(f"study {folder.name}: {place} cannot be written ({error.strerror or error}).") from error

    def is_settled(self, folder: StudyFolder) -> bool:
        """Returns whether MLflow has all of the study, and no run of it is open."""
        return self.closed and self.written == journal_size(folder.journal)


class Backlog:
    """What a journal says and MLflow may not know yet.

    Args:
        path: of the journal, which has begun.
        written: bytes of it that MLflow has.
        found: bytes of it when this process came; a version before wrote them to MLflow as they happened.

    Attributes:
        record: of the study, as far as the journal was taken in.
        news: entries by trial, those about the study as a whole under the empty name; to be removed when written.
        runs: ids of the runs that the journal names, by trial.
        losses: why attempts were lost, by trial and attempt.
        read: bytes of the journal that were taken in.
        begun_at: when the study began, in seconds since 1970.
        last_at: when it was last heard of.
    """

    def __init__(self, path: Path, written: int, found: int) -> None:
        entries = list(read_entries(path))
        self.record = replay([entries[0].event])
        if not self.record.started.study_id:
            written = written or found
        self.news: dict[str, list[Entry]] = {}
        self.runs = {entry.event.trial: entry.event.run_id for entry in entries if isinstance(entry.event, RunLinked)}
        self.losses: dict[str, dict[int, str]] = {}
        self.begun_at = self.last_at = entries[0].at
        self.read, self._path = 0, path
        for entry in itertools.takewhile(lambda entry: entry.end <= written, entries):
            self._fold(entry)
        self.news.clear()

    def take_in(self, limit: int) -> int:
        """Reads on, a number of entries at most; returns how many there were."""
        entries = list(itertools.islice(read_entries(self._path, self.read), limit))
        for entry in entries:
            self._fold(entry)
        return len(entries)

    def link(self, trial: str, run: str) -> None:
        """Remembers the run of a trial, or of the study under the empty name."""
        self.runs[trial] = run
        self.record.apply(RunLinked(trial, run))

    def _fold(self, entry: Entry) -> None:
        event = entry.event
        try:
            for name in self._concerned(event):
                self.news.setdefault(name, []).append(entry)
            if self.read:
                self.record.apply(event)
            if isinstance(event, TrialStarted):
                self.record.trials[event.trial].run_id = self.runs.get(event.trial)
        except KeyError as error:
            raise StoreError(f"journal {self._path}: speaks of {error} before that started.") from error
        if isinstance(event, AttemptFailed):
            self.losses.setdefault(event.trial, {})[event.attempt] = event.reason
        self.read, self.last_at = entry.end, entry.at

    def _concerned(self, event: Event) -> list[str]:
        """Whose runs an event changes."""
        match event:
            case RunLinked():
                return []
            case StudyStarted() | StudyConfirmed():
                return [""]
            case StudyEnded():
                return ["", *(trial.trial for trial in self.record.trials.values() if trial.status == "running")]
            case StudyResumed():
                return ["", *(trial.trial for trial in self.record.trials.values() if not trial.over)]
            case _:
                return [event.trial]


def _cursor_file(folder: StudyFolder) -> Path:
    return folder.root / "projection.json"


def entries_behind(path: Path, written: int) -> int:
    """Returns how many entries of a journal follow those that MLflow has.

    Args:
        path: of the journal.
        written: bytes of it that MLflow has.
    """
    try:
        with path.open("rb") as file:
            file.seek(written)
            return file.read().count(b"\n")
    except OSError:
        return 0


def journal_size(path: Path) -> int:
    """Returns the bytes of a journal; 0 if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
