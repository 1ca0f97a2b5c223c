"""Back to the previous champion: the alias points to the version that the present one replaced."""

from __future__ import annotations

from collections.abc import Callable

from pneumo_core.classifier import KERAS_FILE
from pneumo_core.errors import ModelError, PromotionError
from tuning.models.file_sums import check_sums
from tuning.models.history import HistoryEvent, RegisteredModel, approval_of, checked_reason, line_of_holders
from tuning.models.registry import Change, ModelReference, Registry, check_alias, check_model_name
from tuning.models.workbench import workbench
from tuning.store import Store


def roll_back(
    store: Store,
    name: str,
    reason: str,
    *,
    to: str | None = None,
    alias: str = "champion",
    tracking_uri: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> HistoryEvent:
    """Returns an alias to the version before the present one, by the model's history, and records that.

    Args:
        store: whose registry it is, or who writes to that of the tracking server.
        name: of the model.
        reason: a sentence, for the history.
        to: version to go to; the one that the present one replaced if None.
        alias: that shall point to it.
        tracking_uri: of MLflow; the store's own database if None.
        tell: takes sentences for the user.

    Raises:
        StoreError: if there is no such store.
        ModelError: if there is no such model or version, or the files of the version are gone or damaged.
        PromotionError: if there is nothing to go back to.
        TrackingError: if MLflow fails.

    Side effects:
        Writes to the registry.
    """
    check_model_name(name)
    check_alias(alias)
    why = checked_reason(reason)
    registry = Registry.of_existing(store, tracking_uri)
    with workbench(store, tell):
        registry.mend(tell)
        model = registry.model(name)
        target = ModelReference(name, _target(model, alias, to))
        _check_files(registry, target)
        policy, forced = approval_of(model.events, target.version, alias)
        if forced:
            tell(f"{target} did not pass policy {policy} to be {alias}; the history marks this as forced")
        return registry.roll_back(target, alias, Change(why, policy, forced))


def _target(model: RegisteredModel, alias: str, to: str | None) -> str:
    """Returns the version to go to."""
    present, there = model.aliases.get(alias), [version.version for version in model.versions]
    line, choice = line_of_holders(model.events, alias, present), f"--to names another of {', '.join(there) or 'none'}"
    if to is None:
        if present is None:
            raise PromotionError(f"model {model.name}: no version is {alias}, so there is none before it; {choice}.")
        if len(line) < 2:
            raise PromotionError(
                f"model {model.name}: its history names no {alias} before version {present}; {choice}."
            )
        to = line[-2]
        if to not in there:
            raise ModelError(f"model {model.name}: version {to}, the {alias} before, was deleted; {choice}.")
    if to not in there:
        raise ModelError(f"model {model.name}: has no version {to}; it has {', '.join(there) or 'none'}.")
    if to == present:
        raise PromotionError(f"model {model.name}: version {to} is {alias} already.")
    return to


def _check_files(registry: Registry, target: ModelReference) -> None:
    """Makes sure that a version's files are there, and those that were registered."""
    folder, digest = registry.folder(target), registry.tags(target).get("pneumo.files_digest")
    try:
        if digest:
            check_sums(folder, digest)
        elif lost := [name for name in ("MLmodel", KERAS_FILE) if not (folder / name).is_file()]:
            raise ModelError(f"{lost[0]} is not there")  # registered before the files' digests were
    except ModelError as error:
        raise ModelError(
            f"model {target}: its files are not those that were registered ({error}); the alias stays where it is. "
            "Restore them, or name another version by --to."
        ) from error
