"""MLflow runs: a parent run for the study, a child run for each trial, written by the study's process alone.

The only module, next to the model registry's, that knows MLflow. It writes what the study's journal says, with the
journal's times, so that writing something again changes nothing; `tuning.projection` decides when.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_core.errors import PneumoError, StoreError, TrackingError
from tuning.events import StudyStarted
from tuning.journal import Entry
from tuning.moved_store import locked_database, refuse_moved
from tuning.pages import RUN_STATUS, TEXT_LIMIT, Page, study_page, study_tags, trial_page
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store, StudyFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it when it is first imported
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # where documents for scripts go
# A repeated call may do twice what the first did before its answer was lost; the projection looks before it repeats.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

_DIGEST_LIMIT = 36
_TAG_LIMIT = 8000  # characters; MLflow's own end
_BATCH_LIMIT = 800  # metrics; MLflow's end is 1000 of all kinds
_PAGE = 1000  # runs of one answer
_CHATTY = ("mlflow.store.db.utils", "urllib3.connectionpool")  # they print what is raised as well
_HOPELESS = {
    "ALREADY_EXISTS",
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_PASSING = {401, 403, 404, 407, 408, 409, 425, 429}  # HTTP statuses of a server that is not itself just now
_BUGS = (TypeError, AttributeError, LookupError, NameError, AssertionError, ValueError, MemoryError)


class OutageError(Exception):
    """MLflow cannot be reached, or cannot write at present: the same call may succeed later."""


class RefusalError(Exception):
    """MLflow will never take what it was given, as when its run was deleted."""


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
    uri = re.sub(r"(://[^/@:\s]*:)[^/\s]*@", r"\1***@", uri)  # to the last @: a password may have some itself
    return re.sub(r"(https?://)[^/@:\s]+@", r"\1***@", uri)  # a token in the place of a user


def prepare_embedded(store: Store) -> None:
    """Creates or migrates the embedded database, one process at a time, and sets it to write-ahead logging.

    Several processes on a fresh database would otherwise migrate it side by side and fail.

    Raises:
        TrackingError: if the file is not a database, belongs to a newer MLflow, or the store was moved.

    Side effects:
        Creates the database and its lock file in the store.
    """
    from mlflow import MlflowClient

    refuse_moved(store)
    with locked_database(store), translated(f"MLflow database {store.database}"):
        if not store.database.exists():
            # Made under another name: a migration that is cut short cannot be taken up again.
            unfinished = store.root / ".mlflow.db.new"
            unfinished.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{unfinished}").search_experiments(max_results=1)
            unfinished.rename(store.database)
        with contextlib.closing(sqlite3.connect(store.database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        MlflowClient(embedded_uri(store)).search_experiments(max_results=1)
    _forget_places()


def _forget_places() -> None:
    """MLflow remembers for a whole process where a run's files lie, by an id that copies of a store share."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


def experiment_of(record: StudyRecord, uri: str | None = None) -> str:
    """Returns the id of the MLflow experiment that holds a study's runs.

    Args:
        record: of the study.
        uri: of the MLflow that it was logged to, with its password; what the record says if None.

    Raises:
        TrackingError: if the study has no run, or its tracking store cannot be reached.
    """
    from mlflow import MlflowClient

    uri = uri or record.started.tracking_uri
    with translated(f"MLflow at {uri}"):
        return str(MlflowClient(uri).get_run(record.run_id or "").info.experiment_id)


def experiment_tag(uri: str, experiment: str, name: str) -> str | None:
    """Returns the value of an experiment's tag; None if it has no such tag.

    Raises:
        TrackingError: if MLflow cannot be reached.
    """
    from mlflow import MlflowClient

    with translated(f"MLflow at {uri}"):
        value = MlflowClient(uri).get_experiment(experiment).tags.get(name)
    return None if value is None else str(value)


def set_experiment_tag(uri: str, experiment: str, name: str, value: str) -> None:
    """Gives an experiment a tag.

    Raises:
        TrackingError: if MLflow does not take it.

    Side effects:
        Writes to MLflow.
    """
    from mlflow import MlflowClient

    with translated(f"MLflow at {uri}"):
        MlflowClient(uri).set_experiment_tag(experiment, name, value)


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


def tracking_address(store: Store, uri: str | None) -> str:
    """Returns the absolute address of a tracking store: the one given, or the store's own database."""
    return embedded_uri(store) if uri is None else absolute_uri(uri)


def prepared_uri(store: Store, uri: str | None) -> str:
    """Returns the absolute address of a tracking store: the one given, or the store's own database, ready for use.

    Raises:
        TrackingError: if the database cannot be made or used.

    Side effects:
        As `prepare_embedded`, if the address is the store's own database.
    """
    address = tracking_address(store, uri)
    if address == embedded_uri(store):
        prepare_embedded(store)
    return address


def recorded_uri(record: StudyRecord, uri: str | None = None) -> str:
    """Returns the address of the MLflow that a study is logged to.

    Args:
        record: of the study.
        uri: what the user gave, which counts.

    Raises:
        TrackingError: if the address has a password, which is not recorded, and none was given.
    """
    recorded = record.started.tracking_uri
    if uri is not None:
        return absolute_uri(uri)
    if _lacks_password(recorded):
        raise TrackingError(
            f"study {record.started.study}: was logged to {recorded}, whose password is not kept; give the address "
            "with --tracking-uri."
        )
    return recorded


def reachable_uri(record: StudyRecord, current: str) -> str | None:
    """Returns the address of the MLflow that a study was logged to, as far as it is known without the user.

    Args:
        record: of the study.
        current: an address in use, with its password; it counts if the study was logged there.
    """
    recorded = record.started.tracking_uri
    if redacted(current) == recorded:
        return current
    return None if _lacks_password(recorded) else recorded


def _lacks_password(uri: str) -> bool:
    return "***@" in uri


class Tracker:
    """Writes runs of one study.

    Every call of MLflow ends well, in an `OutageError` or in a `RefusalError`; other errors are bugs of this program.

    Args:
        store: where an embedded database and the artifacts lie.
        folder: of the study; finished trials' files are taken from its staging folder.
        uri: of the tracking store or server; None for the embedded database.
        space: name of the search space, and so of the experiment.
        must_answer: connect at once; otherwise `connect` is called when there is something to write.

    Attributes:
        uri: as given, or the embedded database's.
        given_up: once it is set nothing more is written, whatever call of MLflow comes back then.

    Raises:
        TrackingError: if MLflow must answer and cannot be reached, or the experiment was deleted there.
    """

    def __init__(
        self, store: Store, folder: StudyFolder, uri: str | None, space: str, *, must_answer: bool = True
    ) -> None:
        self.uri = tracking_address(store, uri)
        self._store, self._folder, self._space = store, folder, space
        self._may_make_database = must_answer
        self._connected: tuple[MlflowClient, str] | None = None
        self.given_up = threading.Event()
        if must_answer:
            with translated(f"MLflow at {self.uri}"):
                self._connected = self._connection()

    def connect(self) -> None:
        """Finds or makes the experiment, the first time it is called.

        Raises:
            OutageError: if MLflow does not answer.
        """
        self._connect()

    def has_run(self, run_id: str) -> bool:
        """Returns whether MLflow knows a run.

        Raises:
            OutageError: if MLflow does not answer.
        """
        try:
            with self._judging():
                self._client.get_run(run_id)
        except RefusalError:
            return False
        return True

    def find_runs(self, study_id: str) -> dict[str, list[str]]:
        """Returns the ids of the runs that a study has in MLflow, by trial; its own under the empty name.

        Raises:
            OutageError: if MLflow does not answer.
        """
        found: dict[str, list[str]] = {}
        for run_id, tags in self._search(f"tags.`pneumo.study_id` = '{study_id}'"):
            found.setdefault(tags.get("pneumo.trial", ""), []).append(run_id)
        return found

    def open_study(self, record: StudyRecord, at: float) -> str:
        """Makes the study's run.

        Args:
            record: of the study.
            at: when it began, in seconds since 1970.

        Returns:
            The run's id.

        Raises:
            OutageError: if MLflow does not make it.
        """
        tags = {**study_tags(record.started), "pneumo.kind": "study"}
        return self._create_run(record.started.study, tags, at)

    def open_trial(self, record: StudyRecord, trial: TrialRecord, parent: str, at: float) -> str:
        """Makes a trial's run.

        Args:
            record: of the study.
            trial: whose run it is.
            parent: id of the study's run.
            at: when the trial began, in seconds since 1970.

        Returns:
            The run's id.

        Raises:
            OutageError: if MLflow does not make it.
        """
        tags = {
            **study_tags(record.started),
            "pneumo.kind": "confirmation" if trial.confirms else "trial",
            "pneumo.trial": trial.trial,
            "pneumo.folds": str(trial.folds),
            "mlflow.parentRunId": parent,
        }
        if trial.confirms:
            tags["pneumo.confirms"] = trial.confirms
        if trial.parent:
            tags["pneumo.parent_trial"] = trial.parent
        return self._create_run(trial.trial, tags, at)

    def write_trial(
        self, run_id: str, record: StudyRecord, trial: TrialRecord, news: Sequence[Entry], losses: Mapping[int, str]
    ) -> None:
        """Writes what happened to a trial, its files included; these are removed when MLflow has them.

        Args:
            run_id: of the trial's run.
            record: of the study.
            trial: as it is after the news.
            news: entries about the trial that MLflow may not know yet.
            losses: reasons of all attempts that were lost so far, by attempt.

        Raises:
            OutageError: if MLflow does not answer; everything may be written again.
            RefusalError: if it does not take some of it; the rest is written.

        Side effects:
            Removes the trial's staging folder.
        """
        page = trial_page(record, trial, news, losses)
        staging = self._folder.staging(trial.trial)
        uploads = page.ends_well and staging.is_dir()
        self._each(
            lambda: self._log(run_id, page),
            lambda: self._log_dataset(run_id, record.started) if page.opened else None,
            lambda: self._client.log_artifacts(run_id, str(staging)) if uploads else None,
            lambda: self._set_status(run_id, page),
        )
        if uploads:
            self._discard(staging)

    def write_study(self, run_id: str, record: StudyRecord, news: Sequence[Entry]) -> None:
        """Writes what happened to the study as a whole; at its end the journal and the files about it too.

        Args:
            run_id: of the study's run.
            record: of the study, as it is after the news.
            news: entries about the study that MLflow may not know yet.

        Raises:
            OutageError: if MLflow does not answer; everything may be written again.
            RefusalError: if it does not take some of it; the rest is written.

        Side effects:
            Removes the study's staging folder.
        """
        page = study_page(record, news)
        staging = self._folder.staging("study")
        ends = page.status in RUN_STATUS.values()
        uploads = ends and staging.is_dir()
        self._each(
            *(lambda name=name: self._delete_tag(run_id, name) for name in page.outdated_tags),
            lambda: self._log(run_id, page),
            lambda: self._log_dataset(run_id, record.started) if page.opened else None,
            lambda: self._client.log_dict(run_id, record.started.definition, "space.json") if page.opened else None,
            lambda: self._client.log_artifact(run_id, str(self._folder.journal)) if ends else None,
            lambda: self._client.log_artifacts(run_id, str(staging)) if uploads else None,
            lambda: self._set_status(run_id, page),
        )
        if uploads:
            self._discard(staging)

    def delete_run(self, run_id: str) -> None:
        """Removes a run that nothing was written to; MLflow can restore it.

        Raises:
            OutageError: if MLflow does not answer.
            RefusalError: if it does not know the run.
        """
        with self._judging():
            self._client.delete_run(run_id)

    def end_open_runs(self, study_id: str, at: float) -> None:
        """Marks as killed every run of the study that MLflow takes for running.

        Args:
            study_id: of the study.
            at: when it was last heard of, in seconds since 1970.

        Raises:
            OutageError: if MLflow does not answer.
            RefusalError: if it does not change a run.
        """
        query = f"attributes.status = 'RUNNING' and tags.`pneumo.study_id` = '{study_id}'"
        for run_id, _ in self._search(query):
            self._go_on()
            with self._judging():
                self._client.set_terminated(run_id, "KILLED", _milliseconds(at))

    @property
    def _client(self) -> MlflowClient:
        return self._connect()[0]

    @property
    def _experiment(self) -> str:
        return self._connect()[1]

    def _connect(self) -> tuple[MlflowClient, str]:
        if self._connected is None:
            with self._judging(), self._hoping():
                self._connected = self._connection()
        return self._connected

    def _connection(self) -> tuple[MlflowClient, str]:
        from mlflow import MlflowClient

        if not self._may_make_database:
            self._refuse_lost_database()
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        client = MlflowClient(prepared_uri(self._store, self.uri))
        client.search_experiments(max_results=1)
        return client, self._experiment_id(client)

    def _refuse_lost_database(self) -> None:
        """MLflow would make an empty one where a store was before it was moved."""
        scheme, _, path = self.uri.partition(":///")
        if scheme == "sqlite" and self.uri != embedded_uri(self._store) and not Path(path.partition("?")[0]).exists():
            raise OutageError(f"{path} is not there")

    def _experiment_id(self, client: MlflowClient) -> str:
        """One experiment a space, so that studies of a space can be compared in one list."""
        from mlflow.exceptions import MlflowException

        name = self._space
        location = (self._store.artifacts / name).as_uri() if self.uri.startswith("sqlite:") else None
        tags = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens with its tools for chat bots
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name, artifact_location=location, tags=tags))
            except MlflowException as error:
                experiment = client.get_experiment_by_name(name)  # another study may just have made it
                if experiment is None:
                    raise error from None
        if experiment.lifecycle_stage == "deleted":
            raise TrackingError(f"experiment {name} was deleted in MLflow; restore it there, or rename the space.")
        return str(experiment.experiment_id)

    def _create_run(self, name: str, tags: dict[str, str], at: float) -> str:
        """A refused run is an outage: only the experiment can be at fault, and a user can restore it."""
        with self._judging(), self._hoping():
            run = self._client.create_run(self._experiment, _milliseconds(at), tags, name)
        return str(run.info.run_id)

    def _search(self, query: str) -> Iterator[tuple[str, dict[str, str]]]:
        token = None
        while True:
            with self._judging(), self._hoping():
                page = self._client.search_runs([self._experiment], query, max_results=_PAGE, page_token=token)
            yield from ((run.info.run_id, run.data.tags) for run in page)
            token = page.token
            if not token:
                return

    def _each(self, *steps: Callable[[], object]) -> None:
        """Takes all steps, also after one that is refused."""
        refusals = []
        for step in steps:
            try:
                self._go_on()
                with self._judging():
                    step()
            except RefusalError as refusal:
                refusals.append(refusal)
        if refusals:
            raise refusals[0]

    def _go_on(self) -> None:
        if self.given_up.is_set():
            raise OutageError("given up")

    @contextlib.contextmanager
    def _judging(self) -> Iterator[None]:
        """Tells what may pass from what will not. MLflow raises errors of SQLAlchemy, requests and file systems too."""
        try:
            yield
        except (OutageError, RefusalError):
            raise
        except TrackingError as error:
            raise OutageError(redacted(_first_line(error))) from error
        except PneumoError:
            raise
        except Exception as error:
            if isinstance(error, _BUGS) and not isinstance(error, OSError):  # requests has some that are both
                raise
            kind = RefusalError if _is_hopeless(error) else OutageError
            raise kind(redacted(_first_line(error))) from error

    @contextlib.contextmanager
    def _hoping(self) -> Iterator[None]:
        """Takes a refusal for something that passes; stands inside of `_judging`."""
        try:
            with self._judging():
                yield
        except RefusalError as refusal:
            raise OutageError(*refusal.args) from refusal

    def _log(self, run_id: str, page: Page) -> None:
        from mlflow.entities import Metric, Param, RunTag

        params = [Param(name, str(value)[:TEXT_LIMIT]) for name, value in page.params.items()]
        tags = [RunTag(name, value[:_TAG_LIMIT]) for name, value in page.tags.items()]
        points = [Metric(p.name, p.value, _milliseconds(p.at), p.step) for p in page.points if math.isfinite(p.value)]
        self._client.log_batch(run_id, points[:_BATCH_LIMIT], params, tags)
        for start in range(_BATCH_LIMIT, len(points), _BATCH_LIMIT):
            self._client.log_batch(run_id, points[start : start + _BATCH_LIMIT])

    def _log_dataset(self, run_id: str, study: StudyStarted) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=Path(study.data_root).name,
            digest=study.data_digest[:_DIGEST_LIMIT],
            source_type="local",
            source=json.dumps({"uri": study.data_root}),
            profile=json.dumps(study.images),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags)])

    def _set_status(self, run_id: str, page: Page) -> None:
        if page.status == "RUNNING":
            self._client.update_run(run_id, page.status)
        elif page.status:
            self._client.set_terminated(run_id, page.status, _milliseconds(page.ended_at))

    def _discard(self, staging: Path) -> None:
        try:
            shutil.rmtree(staging)
        except OSError as error:
            raise StoreError(
                f"study {self._folder.name}: {staging} cannot be removed ({error.strerror or error})."
            ) from error

    def _delete_tag(self, run_id: str, name: str) -> None:
        with contextlib.suppress(RefusalError), self._judging():  # it need not be there
            self._client.delete_tag(run_id, name)


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns whatever MLflow raises in the block into a `TrackingError` of one line about `what`."""
    try:
        yield
    except PneumoError:
        raise
    except Exception as error:  # MLflow passes on errors of SQLAlchemy, requests and the file system
        sentence = f"{what}: cannot be used ({_first_line(error)}); check --tracking-uri and --store, or leave "
        sentence += "--tracking-uri out to log to the store's own database."
        raise TrackingError(redacted(sentence)) from error


def _is_hopeless(error: Exception) -> bool:
    code = getattr(error, "error_code", None)
    if code is not None:
        return code in _HOPELESS
    status = getattr(getattr(error, "response", None), "status_code", 500)
    return bool(400 <= status < 500 and status not in _PASSING)


def _milliseconds(at: float) -> int:
    return round(at * 1000)


def _first_line(error: BaseException) -> str:
    """What went wrong, in the few words of the database or the socket at the bottom of it if there is one."""
    link: BaseException | None = error
    while link is not None:
        if hasattr(link, "orig"):  # SQLAlchemy's name for the database's own error
            return str(link.orig)
        if isinstance(link, ConnectionError | TimeoutError | socket.gaierror) and not isinstance(link, PneumoError):
            return link.strerror or str(link)
        link = link.__cause__ or link.__context__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
