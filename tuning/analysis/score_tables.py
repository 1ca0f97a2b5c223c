"""How a trial scored each validation image: from the study's folder where it lies there, else from MLflow."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from types import TracebackType

import pandas as pd

from pneumo_core.errors import PneumoError, StudyError, TrackingError
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store, StudyFolder
from tuning.tracking import embedded_uri, fetch_run_file, prepared_uri, recorded_uri
from tuning.trial_files import SCORES_FILE

_NEEDED = {"path", "label", "probability"}


class ScoreTables:
    """The score tables of a study's trials (see `pneumo_core.evaluation`), each read once.

    What MLflow has to send is put into a temporary folder, which goes with the end of the `with` block.

    Args:
        store: that holds the study.
        record: of the study.
        tracking_uri: of MLflow; where the study was logged if None. Looked at when it is needed.
    """

    def __init__(self, store: Store, record: StudyRecord, tracking_uri: str | None = None) -> None:
        self._store, self._record, self._tracking_uri = store, record, tracking_uri
        self._folder = StudyFolder(store.studies / record.started.study)
        self._read: dict[str, pd.DataFrame] = {}
        self._logged: StudyRecord | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> ScoreTables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def of(self, trial: TrialRecord) -> list[pd.DataFrame]:
        """Returns the score table of the trial itself, as the only one of a list.

        Raises:
            StudyError: if the trial has no scores, or these cannot be read.
            TrackingError: if MLflow does not have them or cannot be reached.

        Side effects:
            May write to a temporary folder.
        """
        if trial.trial not in self._read:
            self._read[trial.trial] = _read_table(self._file_of(trial), trial)
        return [self._read[trial.trial]]

    def confirmed(self, trial: TrialRecord) -> list[pd.DataFrame]:
        """Returns the score tables of the trainings that confirm a trial, one for each seed.

        Raises:
            StudyError: if the trial was not confirmed, or the scores cannot be read.
            TrackingError: if MLflow does not have them or cannot be reached.

        Side effects:
            May write to a temporary folder.
        """
        if trial.confirmed is None:
            raise StudyError(f"trial {self._named(trial)}: expected a confirmed one; confirm it with `tune confirm`.")
        return [table for run in trial.confirmed.runs for table in self.of(self._record.trials[run])]

    def _file_of(self, trial: TrialRecord) -> Path:
        if trial.status not in ("completed", "pruned"):
            why = f" ({trial.reason})" if trial.reason else ""
            raise StudyError(f"trial {self._named(trial)}: has no scores, as it is {trial.status}{why}.")
        here = [
            self._folder.confirmation / f"{trial.trial}.csv",
            self._folder.staging(trial.trial) / SCORES_FILE,
        ]
        return next((path for path in here if path.is_file()), None) or self._fetched(trial)

    def _fetched(self, trial: TrialRecord) -> Path:
        study = self._record.started.study
        if trial.run_id is None:
            raise StudyError(
                f"trial {self._named(trial)}: its scores are neither in {self._folder.root} nor in MLflow; bring what "
                f"is left with: tune sync {study}"
            )
        logged = self._reached()
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="tune-scores-")
        place = Path(self._scratch.name) / trial.trial
        place.mkdir(exist_ok=True)
        return fetch_run_file(logged, trial, SCORES_FILE, place)

    def _reached(self) -> StudyRecord:
        """The record with the address under which MLflow can be reached."""
        if self._logged is None:
            started = dataclasses.replace(self._record.started, tracking_uri=self._address())
            self._logged = StudyRecord(started)
        return self._logged

    def _address(self) -> str:
        uri, database = recorded_uri(self._record, self._tracking_uri), self._store.database
        if uri == embedded_uri(self._store) and not database.is_file():
            raise TrackingError(f"MLflow database {database}: is not there; bring the file back.")
        try:
            return prepared_uri(self._store, uri)
        except PneumoError:
            raise
        except OSError as error:  # of the lock beside it
            raise TrackingError(f"MLflow database {database}: cannot be used ({error.strerror or error}).") from error

    def _named(self, trial: TrialRecord) -> str:
        return f"{self._record.started.study}/{trial.trial}"


def _read_table(path: Path, trial: TrialRecord) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StudyError(f"scores {path}: cannot be read ({error}); bring the file back.") from error
    if missing := sorted(_NEEDED - set(table.columns)):
        raise StudyError(
            f"scores of trial {trial.trial}: expected a score table, got one without {', '.join(missing)}; bring the "
            "file back."
        )
    return table
