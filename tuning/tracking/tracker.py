"""What is written to the MLflow runs of one study."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_core.errors import StoreError
from tuning.events import StudyStarted
from tuning.journal import Entry
from tuning.pages import RUN_STATUS, TEXT_LIMIT, Page, study_page, study_tags, trial_page
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store, StudyFolder
from tuning.tracking.connection import Connection
from tuning.tracking.outcomes import OutageError, RefusalError, hoping, judging
from tuning.tracking.uploads import Uploads

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DIGEST_LIMIT = 36
_TAG_LIMIT = 8000  # characters; MLflow's own end
_BATCH_LIMIT = 800  # metrics; MLflow's end is 1000 of all kinds
_PAGE = 1000  # runs of one answer


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
        self._connection = Connection(store, uri, space, must_answer=must_answer)
        self.uri, self._folder = self._connection.uri, folder
        self.given_up = threading.Event()
        self._uploads = Uploads()

    def connect(self) -> None:
        """Finds or makes the experiment, the first time it is called.

        Raises:
            OutageError: if MLflow does not answer.
        """
        _ = self._connection.client

    def has_run(self, run_id: str) -> bool:
        """Returns whether MLflow knows a run.

        Raises:
            OutageError: if MLflow does not answer.
        """
        try:
            with judging():
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
            lambda: self._uploads.send(self._client, run_id, staging) if uploads else None,
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
            lambda: self._uploads.send(self._client, run_id, staging) if uploads else None,
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
        with judging():
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
            with judging():
                self._client.set_terminated(run_id, "KILLED", _milliseconds(at))

    @property
    def _client(self) -> MlflowClient:
        return self._connection.client

    def _create_run(self, name: str, tags: dict[str, str], at: float) -> str:
        """A refused run is an outage: only the experiment can be at fault, and a user can restore it."""
        with hoping():
            run = self._client.create_run(self._connection.experiment, _milliseconds(at), tags, name)
        self._uploads.expect(run)
        return str(run.info.run_id)

    def _search(self, query: str) -> Iterator[tuple[str, dict[str, str]]]:
        token = None
        while True:
            with hoping():
                page = self._client.search_runs(
                    [self._connection.experiment], query, max_results=_PAGE, page_token=token
                )
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
                with judging():
                    step()
            except RefusalError as refusal:
                refusals.append(refusal)
        if refusals:
            raise refusals[0]

    def _go_on(self) -> None:
        if self.given_up.is_set():
            raise OutageError("given up")

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
        with contextlib.suppress(RefusalError), judging():  # it need not be there
            self._client.delete_tag(run_id, name)


def _milliseconds(at: float) -> int:
    return round(at * 1000)
