"""What an MLflow holds for good: versions, logged models, deleted runs and experiments; and removing them.

MLflow's own collection does not look at the registry, and its client cannot remove what was deleted: the store behind
the client can, by methods that MLflow keeps for its command line.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from pathlib import Path
from typing import Any

from tuning.tracking import translated

_PAGE = 100


@dataclasses.dataclass(frozen=True)
class HeldVersion:
    """A version of a registered model.

    Attributes:
        name: of the model.
        version: counted from 1.
        run_id: of the run that it is registered for; empty for none.
        source: what it was made from: `models:/m-…`, or the address of files.
        location: address of its files.
    """

    name: str
    version: str
    run_id: str
    source: str
    location: str

    @property
    def model_id(self) -> str:
        """Id of the logged model that it was made from; empty for none."""
        found = re.fullmatch(r"models:/(m-[^/]+)", self.source)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclasses.dataclass(frozen=True)
class HeldModel:
    """A logged model: the files that a version is made from.

    Attributes:
        model_id: `m-…`.
        ready: whether all of it was uploaded.
        run_id: of the run that made it; empty for none.
        location: address of its files.
        changed_at: when it was last written, in seconds since 1970.
        ours: whether `tune promote` made it.
    """

    model_id: str
    ready: bool
    run_id: str
    location: str
    changed_at: float
    ours: bool


@dataclasses.dataclass(frozen=True)
class HeldRun:
    """A run.

    Attributes:
        run_id: its id.
        experiment_id: that it belongs to.
        name: as people see it.
        study_id: of the study that made it; empty for none.
        parent: id of the run above it; empty for none.
        location: address of its files.
    """

    run_id: str
    experiment_id: str
    name: str
    study_id: str
    parent: str
    location: str


@dataclasses.dataclass(frozen=True)
class HeldExperiment:
    """An experiment.

    Attributes:
        experiment_id: its id.
        name: as people see it.
        location: address of its files.
        deleted: whether it was deleted, and can be restored.
        changed_at: when it was last written, in seconds since 1970.
    """

    experiment_id: str
    name: str
    location: str
    deleted: bool
    changed_at: float


class Holdings:
    """An MLflow, looked at as a whole.

    Args:
        uri: of a server, or of a database that is ready for use.
    """

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.uri = uri
        with translated(f"MLflow at {uri}"):
            self._client = MlflowClient(uri, registry_uri=uri)
            self._store: Any = self._client._tracking_client.store

    def versions(self) -> list[HeldVersion]:
        """Returns all versions of all registered models.

        Raises:
            TrackingError: if MLflow fails, here and in all methods.
        """
        with translated(f"MLflow registry at {self.uri}"):
            return [self._version(found) for found in _all(self._client.search_model_versions)]

    def aliases(self) -> dict[str, dict[str, str]]:
        """Returns, by model, to which version each of its aliases points."""
        with translated(f"MLflow registry at {self.uri}"):
            return {
                model.name: {alias: str(version) for alias, version in dict(model.aliases).items()}
                for model in _all(self._client.search_registered_models)
            }

    def experiments(self) -> list[HeldExperiment]:
        """Returns all experiments, those that were deleted among them."""
        from mlflow.entities import ViewType

        with translated(f"MLflow at {self.uri}"):
            return [
                HeldExperiment(
                    str(found.experiment_id),
                    found.name,
                    found.artifact_location,
                    found.lifecycle_stage == "deleted",
                    (found.last_update_time or 0) / 1000,
                )
                for found in _all(self._client.search_experiments, view_type=ViewType.ALL)
            ]

    def runs(self) -> list[HeldRun]:
        """Returns all runs, those that were deleted among them."""
        from mlflow.entities import ViewType

        experiments = [experiment.experiment_id for experiment in self.experiments()]
        with translated(f"MLflow at {self.uri}"):
            found = _all(self._client.search_runs, experiment_ids=experiments, run_view_type=ViewType.ALL)
            return [
                HeldRun(
                    run.info.run_id,
                    str(run.info.experiment_id),
                    run.info.run_name or "",
                    run.data.tags.get("pneumo.study_id", ""),
                    run.data.tags.get("mlflow.parentRunId", ""),
                    run.info.artifact_uri or "",
                )
                for run in found
            ]

    def logged_models(self) -> list[HeldModel]:
        """Returns the logged models that were not deleted."""
        experiments = [experiment.experiment_id for experiment in self.experiments()]
        with translated(f"MLflow at {self.uri}"):
            return [_model(found) for found in _all(self._client.search_logged_models, experiment_ids=experiments)]

    def deleted_runs(self, older_than_s: float) -> set[str]:
        """Returns the ids of runs that were deleted so long ago. Only of a database."""
        with translated(f"MLflow at {self.uri}"):
            return set(self._store._get_deleted_runs(older_than=round(older_than_s * 1000)))

    def deleted_models(self, older_than_s: float) -> list[HeldModel]:
        """Returns logged models that were deleted so long ago. Only of a database."""
        with translated(f"MLflow at {self.uri}"):
            ids = self._store._get_deleted_logged_models(older_than=round(older_than_s * 1000))
            return [_model(self._store.get_logged_model(model_id, allow_deleted=True)) for model_id in ids]

    def remove_run(self, run_id: str) -> None:
        """Removes a deleted run for good, its files aside.

        Side effects:
            Writes to the database.
        """
        with translated(f"MLflow at {self.uri}"):
            self._store._hard_delete_run(run_id)

    def remove_model(self, model_id: str) -> None:
        """Removes a logged model for good, its files aside.

        Side effects:
            Writes to the database.
        """
        with translated(f"MLflow at {self.uri}"):
            self._store._hard_delete_logged_model(model_id)

    def remove_experiment(self, experiment_id: str) -> None:
        """Removes a deleted experiment for good, its files aside.

        Side effects:
            Writes to the database.
        """
        with translated(f"MLflow at {self.uri}"):
            self._store._hard_delete_experiment(experiment_id)

    def _version(self, found: Any) -> HeldVersion:
        location = self._client.get_model_version_download_uri(found.name, found.version)
        return HeldVersion(found.name, str(found.version), found.run_id or "", found.source or "", location or "")


def local_folder(location: str) -> Path | None:
    """Returns the folder that an address of MLflow means on this machine; None if it lies elsewhere."""
    parts = urllib.parse.urlparse(location)
    if parts.scheme not in ("", "file") or not parts.path:
        return None
    return Path(urllib.parse.unquote(parts.path) if parts.scheme else location)


def _model(found: Any) -> HeldModel:
    return HeldModel(
        found.model_id,
        str(getattr(found.status, "value", found.status)) == "READY",
        found.source_run_id or "",
        found.artifact_location,
        (found.last_updated_timestamp or 0) / 1000,
        "pneumo.study" in (found.tags or {}),
    )


def _all(search: Any, **question: Any) -> list[Any]:
    """All pages of an answer."""
    found: list[Any] = []
    token = None
    while True:
        page = search(**question, max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
