"""What is written to the model registry, so that a process may be killed at any moment (an `mlflow` import).

The order of writing decides it: files, version, the event as intended, the alias, the event as done. Until then the
logged model, the version and a new registered model bear a tag with the id of the store that is making them. Whatever
bears it when nobody of that store is making a model was left by a process that died: `Registration.mend` completes what
had become true and removes the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pneumo_core.durability import flush_tree
from pneumo_core.errors import PromotionError
from tuning.models.file_sums import write_sums
from tuning.models.history import (
    ABANDONED,
    DONE,
    INTENDED,
    PROMOTED,
    ROLLED_BACK,
    STORY_HEADING,
    HistoryEvent,
    clipped_reason,
    events_of,
    iso,
    last_holder,
    next_number,
    story,
    was_held,
)
from tuning.models.holdings import local_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

    from tuning.models.registry import Change

MAKING = "pneumo.making"
"""Tag of what is not whole yet: id of the store that is making it."""

FILES_DIGEST = "pneumo.files_digest"
"""Tag of a version: see `tuning.models.file_sums.write_sums`."""

_DESCRIPTION_LIMIT = 5000  # characters; a column's width in MLflow's database
_PAGE = 100


class Registration:
    """Changes that one store makes to a registry. The caller holds the store's workbench.

    Errors of MLflow pass through as they are.

    Args:
        client: of MLflow.
        store: id of the store.
        clock: wall clock in seconds since 1970.
    """

    def __init__(self, client: MlflowClient, store: str, clock: Callable[[], float] = time.time) -> None:
        self._client, self._store, self._clock = client, store, clock

    def register(
        self,
        folder: Path,
        name: str,
        alias: str,
        run_id: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        change: Change,
        description: str,
    ) -> str:
        """Uploads a model, makes it a version and gives it the alias; see `tuning.models.registry.Registry.register`.

        Returns:
            The version.

        Side effects:
            Writes `SHA256SUMS` into the folder; writes to the registry.
        """
        tags = {**tags, FILES_DIGEST: write_sums(folder)}
        model = self._upload(folder, name, run_id, metrics, tags)
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name, {MAKING: self._store})
        event = self._event(name, alias, PROMOTED, "", change)
        if change.instead_of not in (None, event.replaced):
            raise PromotionError(
                f"model {name}: {alias} came to be version {event.replaced} while this one was judged beside "
                f"{change.instead_of or 'none'}; promote it again, its test scores are kept."
            )
        told = {"promoted_at": event.at, "replaces": event.replaced or "nothing", "change_reason": event.reason}
        made = self._client.create_model_version(
            name,
            f"models:/{model.model_id}",
            run_id=run_id,
            tags={**tags, MAKING: self._store, **{f"pneumo.{key}": value for key, value in told.items()}},
            description=description[:_DESCRIPTION_LIMIT] or None,
            model_id=model.model_id,
        )
        self._point(name, event, str(made.version))
        self._unmark(made)
        self._unmark_model(name)
        return str(made.version)

    def roll_back(self, name: str, alias: str, version: str, change: Change) -> HistoryEvent:
        """Lets an alias point to an earlier version, and records that."""
        return self._point(name, self._event(name, alias, ROLLED_BACK, version, change), version)

    def mend(self) -> list[str]:
        """Completes or removes what processes of this store left that died.

        Returns:
            A sentence for each thing that was done.
        """
        return [*self._settle_events(), *self._settle_versions(), *self._remove_uploads(), *self._settle_models()]

    def _upload(
        self, folder: Path, name: str, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> LoggedModel:
        from mlflow.entities import LoggedModelStatus, Metric

        experiment_id = self._client.get_run(run_id).info.experiment_id
        making = {**tags, MAKING: self._store}
        model = self._client.create_logged_model(experiment_id, name=name, source_run_id=run_id, tags=making)
        self._client.log_model_artifacts(model.model_id, str(folder))
        if (uploaded := local_folder(model.artifact_location)) is not None:
            flush_tree(uploaded)
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        logged = [Metric(key, value, 0, 0, model_id=model.model_id) for key, value in metrics.items()]
        self._client.log_batch(run_id, metrics=[metric for metric in logged if metric.value == metric.value])
        return model

    def _event(
        self, name: str, alias: str, action: Literal["promoted", "rolled back"], version: str, change: Change
    ) -> HistoryEvent:
        known = self._client.get_registered_model(name)
        events = events_of(dict(known.tags), name)
        return HistoryEvent(
            number=next_number(events),
            at=iso(self._clock()),
            alias=alias,
            action=action,
            version=version,
            replaced=str(dict(known.aliases).get(alias, "") or last_holder(events, alias)),
            reason=clipped_reason(change.reason),
            store=self._store,
            policy=change.policy,
            forced=change.forced,
            numbers=dict(change.numbers),
        )

    def _point(self, name: str, event: HistoryEvent, version: str) -> HistoryEvent:
        """Moves the alias, between two lines of history."""
        event = dataclasses.replace(event, version=version)
        self._write(name, event)
        self._client.set_registered_model_alias(name, event.alias, version)
        event = event.settled(DONE)
        self._write(name, event)
        self._tell_story(name)
        return event

    def _tell_story(self, name: str) -> None:
        """Writes the history into the description of the registered model, unless somebody wrote another there."""
        known = self._client.get_registered_model(name)
        if not known.description or known.description.startswith(STORY_HEADING):
            told = story(events_of(dict(known.tags), name), _DESCRIPTION_LIMIT)
            self._client.update_registered_model(name, told)

    def _write(self, name: str, event: HistoryEvent) -> None:
        self._client.set_registered_model_tag(name, event.key, event.to_text())

    def _settle_events(self) -> Iterator[str]:
        for model in every(self._client.search_registered_models):
            events, aliases = events_of(dict(model.tags), model.name), dict(model.aliases)
            for event in events:
                if (event.state, event.store) != (INTENDED, self._store):
                    continue
                holder = aliases.get(event.alias)
                held = was_held(event, events, None if holder is None else str(holder))
                self._write(model.name, event.settled(DONE if held else ABANDONED))
                self._tell_story(model.name)
                yield _settled_sentence(model.name, event, held)

    def _settle_versions(self) -> Iterator[str]:
        for version in list(every(self._client.search_model_versions, f"tags.`{MAKING}` = '{self._store}'")):
            known = self._client.get_registered_model(version.name)
            done = {event.version for event in events_of(dict(known.tags), version.name) if event.state == DONE}
            held = {str(holder) for holder in dict(known.aliases).values()}
            if str(version.version) in done | held:
                self._unmark(version)
                continue
            self._client.delete_model_version(version.name, version.version)
            yield f"mended: {version.name}/{version.version}, left by a promotion that was cut off, was removed"

    def _remove_uploads(self) -> Iterator[str]:
        from mlflow.entities import ViewType

        found = every(self._client.search_experiments, view_type=ViewType.ALL)
        experiments = [experiment.experiment_id for experiment in found]
        for start in range(0, len(experiments), _PAGE):
            some = experiments[start : start + _PAGE]
            for model in list(every(self._client.search_logged_models, some, f"tags.`{MAKING}` = '{self._store}'")):
                if self._is_registered(model):
                    self._client.delete_logged_model_tag(model.model_id, MAKING)
                    continue
                _delete_files(model)  # before the entry, without which nobody would find them
                self._client.delete_logged_model(model.model_id)
                yield f"mended: files of {model.name}, uploaded by a promotion that was cut off, were removed"

    def _settle_models(self) -> Iterator[str]:
        for model in list(every(self._client.search_registered_models, f"tags.`{MAKING}` = '{self._store}'")):
            if events_of(dict(model.tags), model.name) or self._client.search_model_versions(f"name = '{model.name}'"):
                self._unmark_model(model.name)
                continue
            self._client.delete_registered_model(model.name)
            yield f"mended: the name {model.name}, which has no version yet, was removed from the registry"

    def _is_registered(self, model: LoggedModel) -> bool:
        """Whether a version is made of it; its files are then not to be touched, whatever its tags say."""
        versions = every(self._client.search_model_versions, f"run_id = '{model.source_run_id}'")
        return any(logged_model_of(version) == model.model_id for version in versions)

    def _unmark(self, version: ModelVersion) -> None:
        """Says that a version is whole. Its files first: while the version has the mark, both are looked at again."""
        if model_id := logged_model_of(version):
            self._delete_tag(lambda: self._client.delete_logged_model_tag(model_id, MAKING))
        self._client.delete_model_version_tag(version.name, version.version, MAKING)

    def _unmark_model(self, name: str) -> None:
        self._delete_tag(lambda: self._client.delete_registered_model_tag(name, MAKING))

    @staticmethod
    def _delete_tag(delete: Callable[[], None]) -> None:
        """MLflow raises if there is none for some things, not for others."""
        from mlflow.exceptions import MlflowException

        try:
            delete()
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                raise


def every(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """Returns all that a search of MLflow finds, whatever its pages hold."""
    token = None
    while True:
        page = search(*arguments, page_token=token, **options)
        yield from page
        token = page.token
        if not token:
            return


def logged_model_of(version: ModelVersion) -> str:
    """Returns the id of the logged model that a version is made of; empty if it is made of something else."""
    source = version.source or ""
    return source.removeprefix("models:/") if source.startswith("models:/m-") else ""


def _settled_sentence(name: str, event: HistoryEvent, held: bool) -> str:
    what = f"{name}/{event.version}, {event.action} to be {event.alias} on {event.at[:16].replace('T', ' ')} UTC"
    became = "had become it; its record is complete now" if held else f"never was; {event.alias} is as it was before"
    return f"mended: {what}, {became}"


def _delete_files(model: LoggedModel) -> None:
    """Removes a logged model's files, which MLflow leaves where they are."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(model.artifact_location).delete_artifacts()  # type: ignore[no-untyped-call]
    uploaded = local_folder(model.artifact_location)
    if uploaded is not None and uploaded.parent.name == model.model_id:  # the folder around them
        with contextlib.suppress(OSError):
            uploaded.parent.rmdir()
