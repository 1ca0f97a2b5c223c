"""MLflow runs: a parent run for the study, a child run for each trial, written by the study's process alone.

The only module, next to the model registry's, that knows MLflow. It listens to the study's events; nothing in a
training knows that it is tracked, and a tracking store that fails never fails a trial.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pneumo_core.errors import StoreError, TrackingError
from tuning.events import (
    EpochEnded,
    Event,
    RunLinked,
    StudyEnded,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
    TrialStarted,
)
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store, StudyFolder

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it when it is first imported
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its default blocks 4 minutes a call when a server dies
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

_RUN_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_DIGEST_LIMIT = 36
_TAG_LIMIT, _TEXT_LIMIT = 8000, 5000  # MLflow's ends are 6000 characters for a parameter, 8000 for a tag


def embedded_uri(store: Store) -> str:
    """Returns the tracking URI of the SQLite database in the store."""
    return f"sqlite:///{store.database}"


def absolute_uri(uri: str) -> str:
    """Returns the URI so that it means the same from every working directory: SQLite paths are made absolute."""
    scheme, _, path = uri.partition(":///")
    if scheme == "sqlite" and path and not path.startswith("/"):
        return f"sqlite:///{Path(path).resolve()}"
    return uri


def redacted(uri: str) -> str:
    """Returns a URI, or a text with URIs in it, without passwords: for messages and for the record."""
    return re.sub(r"(://[^/@:\s]*:)[^/@\s]*@", r"\1***@", uri)


def prepare_embedded(store: Store) -> None:
    """Creates or migrates the embedded database, one process at a time, and sets it to write-ahead logging.

    Several processes on a fresh database would otherwise migrate it side by side and fail.

    Raises:
        TrackingError: if the file is not a database, or belongs to a newer MLflow.

    Side effects:
        Creates the database and its lock file in the store.
    """
    from mlflow import MlflowClient

    with (store.root / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with translated(f"MLflow database {store.database}"):
            if not store.database.exists():
                # Made under another name: a migration that is cut short cannot be taken up again.
                unfinished = store.root / ".mlflow.db.new"
                unfinished.unlink(missing_ok=True)
                MlflowClient(f"sqlite:///{unfinished}").search_experiments(max_results=1)
                unfinished.rename(store.database)
            with contextlib.closing(sqlite3.connect(store.database)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            MlflowClient(embedded_uri(store)).search_experiments(max_results=1)


def experiment_of(record: StudyRecord) -> str:
    """Returns the id of the MLflow experiment that holds a study's runs.

    Raises:
        TrackingError: if the study has no run, or its tracking store cannot be reached.
    """
    from mlflow import MlflowClient

    uri = record.started.tracking_uri
    with translated(f"MLflow at {uri}"):
        return str(MlflowClient(uri).get_run(record.run_id or "").info.experiment_id)


def fetch_run_file(record: StudyRecord, trial: TrialRecord, name: str, folder: Path) -> Path:
    """Downloads one artifact of a trial's run.

    Args:
        record: of the study.
        trial: whose file it is.
        name: path of the file among the run's artifacts.
        folder: where it shall be put.

    Raises:
        TrackingError: if MLflow does not have it or cannot be reached.

    Side effects:
        Writes the file.
    """
    from mlflow import MlflowClient

    uri = record.started.tracking_uri
    with translated(f"{name} of trial {trial.trial} in MLflow at {uri}"):
        return Path(MlflowClient(uri).download_artifacts(trial.run_id or "", name, str(folder)))


def prepared_uri(store: Store, uri: str | None) -> str:
    """Returns the absolute address of a tracking store: the one given, or the store's own database, ready for use.

    Raises:
        TrackingError: if the database cannot be made or used.

    Side effects:
        As `prepare_embedded`, if no address is given.
    """
    if uri is not None:
        return absolute_uri(uri)
    prepare_embedded(store)
    return embedded_uri(store)


class Tracker:
    """Writes a study to MLflow as it happens.

    Args:
        store: where an embedded database and the artifacts lie.
        folder: of the study; finished trials' files are taken from its staging folder.
        uri: of the tracking store or server; None for the embedded database.
        space: name of the search space, and so of the experiment.
        warn: takes a sentence for the user when MLflow fails.

    Attributes:
        uri: as given, or the embedded database's.
        announce: takes the `RunLinked` events that this tracker makes; to be set before the first event.

    Raises:
        TrackingError: if the tracking store cannot be reached, or the experiment was deleted there.
    """

    def __init__(
        self,
        store: Store,
        folder: StudyFolder,
        uri: str | None,
        space: str,
        warn: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        from mlflow import MlflowClient

        self.uri = prepared_uri(store, uri)
        self._store, self._folder, self._warn = store, folder, warn
        self.announce: Callable[[Event], None] = lambda event: None
        with translated(f"MLflow at {self.uri}"):
            self._client = MlflowClient(self.uri)
            self._client.search_experiments(max_results=1)
            self._experiment = self._experiment_id(space)
        self._runs: dict[str, str] = {}
        self._open: set[str] = set()
        self._unlogged: set[str] = set()
        self._parent_tags: dict[str, str] = {}

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Writes one event; if MLflow fails, says so and leaves the trial's files where they are."""
        trial = getattr(event, "trial", "")
        needed = {StudyStarted: set(), TrialStarted: {""}}.get(type(event), {trial})
        if not needed <= self._runs.keys():
            return  # a run could not be made, and the user was told then
        try:
            self._write(event, record)
        except StoreError:
            raise  # the journal, not MLflow
        except Exception as error:  # MLflow passes on errors of SQLAlchemy, requests and the file system
            if trial not in self._unlogged:
                self._unlogged.add(trial)
                sentence = f"MLflow at {self.uri} failed ({_first_line(error)}); the study goes on, "
                self._warn(redacted(sentence) + f"unlogged files stay in {self._folder.root / 'staging'}.")

    def _write(self, event: Event, record: StudyRecord) -> None:
        match event:
            case StudyStarted():
                self._start_study(event)
            case TrialStarted():
                self._start_trial(event, record)
            case EpochEnded():
                self._log_metrics(event.trial, {f"epoch/{k}": v for k, v in event.metrics.items()}, event.epoch + 1)
            case TrialCompleted():
                self._complete_trial(record.trials[event.trial])
            case TrialFailed():
                self._client.set_tag(self._runs[event.trial], "pneumo.failure", event.reason[:_TEXT_LIMIT])
                self._close(event.trial, "FAILED")
            case StudyEnded():
                self._end_study(event, record)

    def _start_study(self, event: StudyStarted) -> None:
        self._parent_tags = {
            "pneumo.study": event.study,
            "pneumo.space": event.space,
            "pneumo.space_digest": event.space_digest,
            "pneumo.data_digest": event.data_digest,
            "pneumo.split_digest": event.split_digest,
            "pneumo.git_commit": event.commit,
            "pneumo.threads": str(event.threads),
            "pneumo.algorithm": event.algorithm,
            "mlflow.source.name": "tune run",
            **{f"pneumo.version.{name}": version for name, version in event.versions.items()},
        }
        run = self._client.create_run(
            self._experiment, run_name=event.study, tags={**self._parent_tags, "pneumo.kind": "study"}
        )
        self._link("", run.info.run_id)
        settings = {
            "objective": event.objective,
            "direction": event.direction,
            "algorithm": event.algorithm,
            "trials": event.trials,
            "seed": event.seed,
            "searched": ", ".join(event.parameters),
            "data": event.data,
            **{f"{role}_images": count for role, count in event.images.items()},
        }
        self._log_params("", settings)
        self._log_dataset("", event)
        self._client.log_dict(run.info.run_id, event.definition, "space.json")

    def _start_trial(self, event: TrialStarted, record: StudyRecord) -> None:
        tags = {
            **self._parent_tags,
            "pneumo.kind": "trial",
            "pneumo.trial": event.trial,
            "mlflow.parentRunId": self._runs[""],
        }
        run = self._client.create_run(self._experiment, run_name=event.trial, tags=tags)
        self._link(event.trial, run.info.run_id)
        self._log_params(event.trial, event.config)
        self._log_dataset(event.trial, record.started)

    def _complete_trial(self, trial: TrialRecord) -> None:
        run_id = self._runs[trial.trial]
        marks = {"best_epoch": (trial.best_epoch or 0) + 1.0, "duration_s": trial.duration_s or 0.0}
        self._log_metrics(trial.trial, trial.metrics | marks, 0)
        self._client.set_tag(run_id, "pneumo.weights_digest", trial.weights_digest or "")
        self._client.set_tag(run_id, "pneumo.activations_digest", trial.activations_digest or "")
        if trial.variant_digests:
            self._client.set_tag(run_id, "pneumo.variant_digests", " ".join(trial.variant_digests)[:_TAG_LIMIT])
        staging = self._folder.staging(trial.trial)
        self._client.log_artifacts(run_id, str(staging))
        self._close(trial.trial, "FINISHED")
        shutil.rmtree(staging)

    def _end_study(self, event: StudyEnded, record: StudyRecord) -> None:
        for trial in record.trials.values():
            if trial.trial in self._open:
                self._close_late(trial)
        parent = self._runs[""]
        best = record.best()
        if best is not None:
            self._log_metrics("", {f"best_{name}": value for name, value in best.metrics.items()}, 0)
            self._client.set_tag(parent, "pneumo.best_trial", best.trial)
            self._client.set_tag(parent, "pneumo.best_run", best.run_id or "")
        self._client.log_artifact(parent, str(self._folder.journal))
        study_files = self._folder.staging("study")
        if study_files.is_dir():
            self._client.log_artifacts(parent, str(study_files))
            shutil.rmtree(study_files)
        if event.reason:
            name = "pneumo.ended" if event.status == "finished" else "pneumo.failure"
            self._client.set_tag(parent, name, event.reason[:_TEXT_LIMIT])
        self._close("", _RUN_STATUS[event.status])

    def _close_late(self, trial: TrialRecord) -> None:
        """Ends a run that is still open because the trial was interrupted, or because MLflow failed at its end."""
        if trial.status == "completed" and self._folder.staging(trial.trial).is_dir():
            self._complete_trial(trial)
        else:
            self._close(trial.trial, {"completed": "FINISHED", "failed": "FAILED"}.get(trial.status, "KILLED"))

    def _close(self, trial: str, status: str) -> None:
        self._client.set_terminated(self._runs[trial], status)
        self._open.discard(trial)

    def _experiment_id(self, name: str) -> str:
        """One experiment a space, so that studies of a space can be compared in one list."""
        from mlflow.exceptions import MlflowException

        location = (self._store.artifacts / name).as_uri() if self.uri.startswith("sqlite:") else None
        tags = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens with its tools for chat bots
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=location, tags=tags))
            except MlflowException as error:
                experiment = self._client.get_experiment_by_name(name)  # another study may just have made it
                if experiment is None:
                    raise error from None
        if experiment.lifecycle_stage == "deleted":
            raise TrackingError(f"experiment {name} was deleted in MLflow; restore it there, or rename the space.")
        return str(experiment.experiment_id)

    def _link(self, trial: str, run_id: str) -> None:
        self._runs[trial] = run_id
        self._open.add(trial)
        self.announce(RunLinked(trial, run_id))

    def _log_params(self, trial: str, values: dict[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:_TEXT_LIMIT]) for name, value in values.items()]
        self._client.log_batch(self._runs[trial], params=params)

    def _log_metrics(self, trial: str, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items() if math.isfinite(value)]
        self._client.log_batch(self._runs[trial], metrics=metrics)

    def _log_dataset(self, trial: str, study: StudyStarted) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=Path(study.data_root).name,
            digest=study.data_digest[:_DIGEST_LIMIT],
            source_type="local",
            source=json.dumps({"uri": study.data_root}),
            profile=json.dumps(study.images),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(self._runs[trial], datasets=[DatasetInput(dataset, tags)])


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns whatever MLflow raises in the block into a `TrackingError` of one line about `what`."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # MLflow passes on errors of SQLAlchemy, requests and the file system
        sentence = f"{what}: cannot be used ({_first_line(error)}); check --tracking-uri and --store, or leave "
        sentence += "--tracking-uri out to log to the store's own database."
        raise TrackingError(redacted(sentence)) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
