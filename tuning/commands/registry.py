"""`tune registry`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, TrackingOption, open_store
from tuning.output import complain, console, print_json, teller

if TYPE_CHECKING:
    from tuning.models.history import RegisteredModel
    from tuning.models.ledger import LedgerEntry
    from tuning.store import Store


_ADVICE = "promote a trial with `tune promote`, or name an MLflow server with --tracking-uri"


def registry(
    model: Annotated[str | None, typer.Argument(help="Name of the model; all of them if left out.")] = None,
    tracking_uri: TrackingOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Show registered models: versions and aliases; who replaced whom, when, why, on what numbers.

    First completes or removes what a promotion left that was killed.

    Example: tune registry vgg16
    """
    from tuning.models.registry import Registry
    from tuning.models.registry_table import model_rows
    from tuning.models.workbench import free_workbench
    from tuning.tracking import redacted

    opened, tell, mended = open_store(store).existing(), teller(), list[str]()
    if tracking_uri is None and not opened.database.exists() and model is None:
        _print_nothing(
            f"nothing is registered in {opened.root} yet; {_ADVICE}.",
            as_json,
        )
        return
    found = Registry.of_existing(opened, tracking_uri)
    with free_workbench(opened) as free:
        if free:
            mended = found.mend(tell)
        else:
            tell("another promotion or rollback of this store is under way; this is how far it has come")
    models = found.models() if model is None else [found.model(model)]
    if as_json:
        rows = [model_rows(one, _refused(opened, one.name)) for one in models]
        print_json({"models": rows, "mended": mended, "busy": not free})
    elif not models:
        print(
            f"nothing is registered at {redacted(found.uri)} yet; {_ADVICE}.",
            file=sys.stderr,
        )
    for one in [] if as_json else models:
        _print_model(one, _refused(opened, one.name))


def _refused(store: Store, name: str) -> list[LedgerEntry]:
    """What the store's ledger says of models that wanted to be this one."""
    from tuning.models.ledger import Ledger

    return [entry for entry in Ledger(store).entries() if (entry.outcome, entry.model) == ("refused", name)]


def _print_nothing(sentence: str, as_json: bool) -> None:
    if as_json:
        print_json({"models": [], "mended": [], "busy": False})
    print(sentence, file=sys.stderr)


def _print_model(model: RegisteredModel, refused: list[LedgerEntry]) -> None:
    from tuning.models.registry_table import history_table, remarks, versions_table

    opened = console()
    opened.width = min(opened.width, 100)
    holders = ", ".join(f"{alias} is version {version}" for alias, version in model.aliases.items())
    print(f"{model.name}: {holders or 'no version has an alias'}")
    if model.versions:
        opened.print(versions_table(model))
    if model.events or refused:
        opened.print(history_table(model, refused))
    for sentence in remarks(model):
        complain(sentence)
