"""`tune registry`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, TrackingOption, open_store
from tuning.output import console, print_json, teller

if TYPE_CHECKING:
    from tuning.models.history import RegisteredModel


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
        _print_nothing(f"nothing is registered in {opened.root} yet; promote a trial with `tune promote`.", as_json)
        return
    found = Registry.of_existing(opened, tracking_uri)
    with free_workbench(opened) as free:
        if free:
            mended = found.mend(tell)
        else:
            tell("another promotion or rollback of this store is under way; this is how far it has come")
    models = found.models() if model is None else [found.model(model)]
    if as_json:
        print_json({"models": [model_rows(one) for one in models], "mended": mended, "busy": not free})
    elif not models:
        print(
            f"nothing is registered at {redacted(found.uri)} yet; promote a trial with `tune promote`.", file=sys.stderr
        )
    for one in [] if as_json else models:
        _print_model(one)


def _print_nothing(sentence: str, as_json: bool) -> None:
    if as_json:
        print_json({"models": [], "mended": [], "busy": False})
    print(sentence, file=sys.stderr)


def _print_model(model: RegisteredModel) -> None:
    from tuning.models.registry_table import history_table, remarks, versions_table

    opened = console()
    opened.width = min(opened.width, 100)
    holders = ", ".join(f"{alias} is version {version}" for alias, version in model.aliases.items())
    print(f"{model.name}: {holders or 'no version has an alias'}")
    if model.versions:
        opened.print(versions_table(model))
    if model.events:
        opened.print(history_table(model))
    for sentence in remarks(model):
        print(f"tune: {sentence}", file=sys.stderr)
