"""Models in the MLflow registry: versions, aliases, what they point to."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.errors import ModelError
from tuning.models.history import HistoryEvent, RegisteredModel, RegisteredVersion, events_of, iso, last_holder
from tuning.store import Store
from tuning.tracking import prepared_uri, translated

if TYPE_CHECKING:
    from tuning.models.registration import Registration

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class ModelReference:
    """A version of a registered model.

    Attributes:
        name: of the model.
        version: counted from 1.
    """

    name: str
    version: str

    @property
    def uri(self) -> str:
        """MLflow's address of the version."""
        return f"models:/{self.name}/{self.version}"

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclasses.dataclass(frozen=True)
class Change:
    """Why an alias comes to point to another version.

    Attributes:
        reason: a sentence.
        policy: name of the policy that was asked; empty if none was.
        forced: whether that policy was not fulfilled.
        numbers: that the decision rests on, by name.
        instead_of: version that has to hold the alias until then, empty for none; None if any may.
    """

    reason: str
    policy: str = ""
    forced: bool = False
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    instead_of: str | None = None


def check_model_name(name: str) -> str:
    """Returns the name if a model may have it.

    Raises:
        ModelError: if not.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(f"model {name!r}: expected a name of letters, digits, '.', '_' and '-', at most 80.")
    return name


def check_alias(alias: str) -> str:
    """Returns the alias if a version may have it.

    Raises:
        ModelError: if not; MLflow keeps `latest` and `v1`, `v2`, … for itself.
    """
    if not _NAME.fullmatch(alias):
        raise ModelError(f"alias {alias!r}: expected letters, digits, '.', '_' and '-', at most 80.")
    if _RESERVED_ALIAS.fullmatch(alias):
        raise ModelError(f"alias {alias}: is reserved by MLflow, as are latest and v1, v2, …; choose another.")
    return alias


class Registry:
    """The model registry of a store or tracking server.

    Args:
        store: whose database is used if there is no URI.
        uri: of a tracking server or database; None for the store's own.

    Raises:
        TrackingError: if it cannot be reached.

    Side effects:
        Sets MLflow's tracking and registry addresses for this process.
    """

    def __init__(self, store: Store, uri: str | None = None) -> None:
        self._store = store
        if uri is None:
            store.check_writable()
        self.uri = prepared_uri(store, uri)
        self._client = self._mlflow().MlflowClient(self.uri, registry_uri=self.uri)
        self._folders: dict[ModelReference, Path] = {}

    def _mlflow(self) -> Any:
        """Returns MLflow, told to resolve addresses of models (`models:/…`) here: it knows one place for a process."""
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return mlflow

    @classmethod
    def of_existing(cls, store: Store, uri: str | None = None) -> Registry:
        """Returns the registry of a store that has one; a question should not make a database.

        Raises:
            StoreError: if there is no such store.
            ModelError: if nothing was ever registered in it.
            TrackingError: if the registry cannot be reached.
        """
        if uri is None and not store.existing().database.exists():
            raise ModelError(f"store {store.root}: nothing is registered in it yet; promote a trial by `tune promote`.")
        return cls(store, uri)

    def find(self, reference: str | None) -> ModelReference:
        """Resolves `NAME@ALIAS`, `NAME/VERSION` or `NAME` (its champion); None for the only model there is.

        Raises:
            ModelError: if there is no such model, alias or version.
        """
        name, sign, which = re.fullmatch(r"([^@/]*)([@/]?)(.*)", reference or self._only_model()).groups()  # type: ignore[union-attr]
        check_model_name(name)
        from tuning.models.registration import every

        with translated(f"MLflow registry at {self.uri}"):
            known = {model.name: model for model in every(self._client.search_registered_models)}
        if name not in known:
            raise ModelError(f"model {name}: not found; registered are: {', '.join(sorted(known)) or 'none yet'}.")
        if sign == "/":
            return ModelReference(name, self._checked_version(name, which))
        alias = which if sign else "champion"
        aliases = dict(known[name].aliases)
        if alias not in aliases:
            raise ModelError(f"model {name}: has no alias {alias}; it has {', '.join(sorted(aliases)) or 'none'}.")
        return ModelReference(name, str(aliases[alias]))

    def holder(self, name: str, alias: str) -> ModelReference | None:
        """Returns the version that an alias points to; None if there is no such model or alias.

        Raises:
            TrackingError: if MLflow fails.
        """
        with translated(f"MLflow registry at {self.uri}"):
            found = self._client.search_registered_models(f"name = '{name}'")
        version = dict(found[0].aliases).get(alias) if found else None
        return None if version is None else ModelReference(name, str(version))

    def last_holder(self, name: str, alias: str) -> ModelReference | None:
        """Returns the version that an alias was last made to point to, by the history, be it still there or not.

        Raises:
            TrackingError: if MLflow fails.
            ModelError: if the history is damaged.
        """
        with translated(f"MLflow registry at {self.uri}"):
            found = self._client.search_registered_models(f"name = '{name}'")
        version = last_holder(events_of(dict(found[0].tags), name), alias) if found else ""
        return ModelReference(name, version) if version else None

    def tags(self, reference: ModelReference) -> dict[str, str]:
        """Returns the tags of a version; none if it was deleted.

        Raises:
            TrackingError: if MLflow fails.
        """
        from mlflow.exceptions import MlflowException

        with translated(f"MLflow registry at {self.uri}"):
            try:
                return dict(self._client.get_model_version(reference.name, reference.version).tags)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}

    def folder(self, reference: ModelReference) -> Path:
        """Returns the folder of a version's files, downloaded, the first time it is asked for, if they lie elsewhere.

        Raises:
            ModelError: if they are gone.
        """
        known = self._folders.get(reference)
        if known is not None and known.is_dir():
            return known
        try:
            self._folders[reference] = Path(self._mlflow().artifacts.download_artifacts(reference.uri))
            return self._folders[reference]
        except Exception as error:  # MLflow and the file system each raise their own kinds
            raise _unusable(reference, error) from error

    def register(
        self,
        folder: Path,
        name: str,
        alias: str,
        *,
        run_id: str,
        metrics: dict[str, float],
        tags: dict[str, str],
        change: Change,
        description: str = "",
    ) -> ModelReference:
        """Uploads a model's folder, makes it a version, and then, as the last step, gives it the alias.

        The caller holds the store's workbench (`tuning.models.workbench`). Whatever ends the process, the alias points
        to the old or to the new version, and `mend` finds the rest.

        Args:
            folder: as written by `write_model_folder`.
            name: of the model.
            alias: that shall point to the new version, and no longer to any other.
            run_id: of the trial's run, which the model belongs to.
            metrics: of the model.
            tags: where it comes from.
            change: why the alias comes to point to it.
            description: Markdown, as the MLflow UI shows it.

        Raises:
            TrackingError: if MLflow fails.
            PromotionError: if the alias no longer points to what the model was to replace.

        Side effects:
            Adds `SHA256SUMS` to the folder; writes to the registry.
        """
        registration = self._registration()
        with translated(f"MLflow registry at {self.uri}"):
            try:
                version = registration.register(folder, name, alias, run_id, metrics, tags, change, description)
            except BaseException:
                with contextlib.suppress(Exception):  # else the next promotion does it
                    registration.mend()
                raise
        return ModelReference(name, version)

    def roll_back(self, reference: ModelReference, alias: str, change: Change) -> HistoryEvent:
        """Lets an alias point to an earlier version, and records that. The caller holds the store's workbench.

        Raises:
            TrackingError: if MLflow fails.

        Side effects:
            Writes to the registry.
        """
        with translated(f"MLflow registry at {self.uri}"):
            return self._registration().roll_back(reference.name, alias, reference.version, change)

    def mend(self, tell: Callable[[str], None] = lambda text: None) -> list[str]:
        """Completes or removes what promotions and rollbacks of this store left that were killed.

        The caller holds the store's workbench, so none of them is alive.

        Args:
            tell: takes a sentence for each thing that was done.

        Returns:
            These sentences.

        Raises:
            TrackingError: if MLflow fails.

        Side effects:
            Writes to the registry.
        """
        with translated(f"MLflow registry at {self.uri}"):
            sentences = self._registration().mend()
        for sentence in sentences:
            tell(sentence)
        return sentences

    def models(self) -> list[RegisteredModel]:
        """Returns all registered models with their versions and histories, by name.

        Raises:
            TrackingError: if MLflow fails.
            ModelError: if a history is damaged.
        """
        from tuning.models.registration import every

        with translated(f"MLflow registry at {self.uri}"):
            return [self._whole(model) for model in every(self._client.search_registered_models)]

    def model(self, name: str) -> RegisteredModel:
        """Returns a registered model with its versions and its history.

        Raises:
            TrackingError: if MLflow fails.
            ModelError: if there is none of that name, or its history is damaged.
        """
        with translated(f"MLflow registry at {self.uri}"):
            for model in self._client.search_registered_models(f"name = '{check_model_name(name)}'"):
                return self._whole(model)
            names = sorted(model.name for model in self._client.search_registered_models())
        raise ModelError(f"model {name}: not found; registered are: {', '.join(names) or 'none yet'}.")

    def _whole(self, model: Any) -> RegisteredModel:
        from tuning.models.registration import every

        found = every(self._client.search_model_versions, f"name = '{model.name}'")
        return RegisteredModel(
            name=model.name,
            aliases={alias: str(version) for alias, version in sorted(dict(model.aliases).items())},
            versions=sorted((self._version(version) for version in found), key=lambda version: int(version.version)),
            events=events_of(dict(model.tags), model.name),
        )

    def _version(self, version: Any) -> RegisteredVersion:
        from mlflow.exceptions import MlflowException

        from tuning.models.registration import logged_model_of

        model_id, metrics = logged_model_of(version), None
        with contextlib.suppress(MlflowException):  # somebody deleted it there; the version remains
            metrics = self._client.get_logged_model(model_id).metrics
        return RegisteredVersion(
            version=str(version.version),
            at=iso(version.creation_timestamp / 1000),
            tags=dict(version.tags),
            metrics={metric.key: metric.value for metric in metrics or []},
        )

    def _registration(self) -> Registration:
        from tuning.models.registration import Registration
        from tuning.models.workbench import store_id

        return Registration(self._client, store_id(self._store))

    def python_function(self, reference: ModelReference) -> Any:
        """Loads a version's `python_function` face.

        Returns:
            MLflow's model, whose `predict` takes encoded images.

        Raises:
            ModelError: if its files are gone or damaged.
        """
        try:
            return self._mlflow().pyfunc.load_model(str(self.folder(reference)))
        except ModelError:
            raise
        except Exception as error:  # MLflow, Keras and the file system each raise their own kinds
            raise _unusable(reference, error) from error

    def keras_model(self, reference: ModelReference) -> Any:
        """Loads a version's Keras face, from gray pixels to probabilities.

        Raises:
            ModelError: if its files are gone or damaged.
        """
        import keras

        from pneumo_core.classifier import KERAS_FILE

        try:
            return keras.saving.load_model(self.folder(reference) / KERAS_FILE, compile=False, safe_mode=True)
        except ModelError:
            raise
        except Exception as error:  # Keras and the file system each raise their own kinds
            raise _unusable(reference, error) from error

    def _only_model(self) -> str:
        with translated(f"MLflow registry at {self.uri}"):
            names = sorted(model.name for model in self._client.search_registered_models())
        if len(names) != 1:
            nothing = "none is registered here yet; promote one with `tune promote`, or name a server: --tracking-uri"
            have = f"there are {', '.join(names)}" if names else nothing
            raise ModelError(f"expected --model NAME@ALIAS, because {have}.")
        return str(names[0])

    def _checked_version(self, name: str, version: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.get_model_version(name, version).version)
        except MlflowException as error:
            raise ModelError(f"model {name}: has no version {version}.") from error


def _unusable(reference: ModelReference, error: Exception) -> ModelError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(
        f"model {reference}: its files cannot be loaded ({reason}); promote it again, or name another version."
    )
