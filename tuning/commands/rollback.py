"""`tune rollback`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, TrackingOption, open_store
from tuning.output import print_json, teller


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model, as `tune registry` shows it.")],
    reason: Annotated[str, typer.Option(help="Why, for the history.")],
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The one that the present one replaced if left out.")
    ] = None,
    alias: Annotated[str, typer.Option(help="That shall point to it.")] = "champion",
    tracking_uri: TrackingOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Return to the previous champion, whose files must be whole, and record that in the history.

    Example: tune rollback vgg16 --reason "misses small effusions on the portable device"
    """
    from tuning.models.rollback import roll_back

    event = roll_back(
        open_store(store).existing(), model, reason, to=to, alias=alias, tracking_uri=tracking_uri, tell=teller()
    )
    if as_json:
        print_json({"model": model} | dataclasses.asdict(event))
    else:
        instead = f", instead of version {event.replaced}" if event.replaced else ""
        print(f"{model}/{event.version} is {event.alias} again{instead}: models:/{model}@{event.alias}")
