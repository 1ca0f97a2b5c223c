"""The connection to an MLflow: a client, and the experiment of a search space there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_core.errors import TrackingError
from tuning.store import Store
from tuning.tracking.addresses import embedded_uri, tracking_address
from tuning.tracking.embedded import prepared_uri
from tuning.tracking.outcomes import OutageError, hoping, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CHATTY = ("mlflow.store.db.utils", "urllib3.connectionpool")  # they print what is raised as well


class Connection:
    """MLflow's client and the id of an experiment, when they are first asked for.

    Args:
        store: where an embedded database and the artifacts lie.
        uri: of the tracking store or server; None for the embedded database.
        space: name of the search space, and so of the experiment.
        must_answer: connect at once, and make an embedded database that is not there.

    Attributes:
        uri: as given, or the embedded database's.

    Raises:
        TrackingError: if MLflow must answer and cannot be reached, or the experiment was deleted there.
    """

    def __init__(self, store: Store, uri: str | None, space: str, *, must_answer: bool) -> None:
        self.uri = tracking_address(store, uri)
        self._store, self._space, self._may_make_database = store, space, must_answer
        self._made: tuple[MlflowClient, str] | None = None
        if must_answer:
            with translated(f"MLflow at {self.uri}"):
                self._made = self._make()

    @property
    def client(self) -> MlflowClient:
        """MLflow's client.

        Raises:
            OutageError: if MLflow does not answer.
        """
        return self._get()[0]

    @property
    def experiment(self) -> str:
        """The experiment's id; it is made if need be.

        Raises:
            OutageError: if MLflow does not answer.
        """
        return self._get()[1]

    def _get(self) -> tuple[MlflowClient, str]:
        if self._made is None:
            with hoping():
                self._made = self._make()
        return self._made

    def _make(self) -> tuple[MlflowClient, str]:
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
