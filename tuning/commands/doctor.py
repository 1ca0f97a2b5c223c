"""`tune doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import CacheOption, JsonOption, StoreOption, TrackingOption, open_store
from tuning.output import console, print_json, teller


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Repair a store that was moved or copied.")] = False,
    tensorflow: Annotated[
        bool, typer.Option("--tensorflow/--no-tensorflow", help="Start TensorFlow too, which takes 11 s or more.")
    ] = True,
    tracking_uri: TrackingOption = None,
    cache: CacheOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Check installation, store, registry and tracking; exit 1 if something is in the way of work.

    Example: tune doctor --fix --store ~/moved/mlruns
    """
    from tuning.diagnosis import diagnosis_document, diagnosis_table, healthy
    from tuning.doctor import examine, mend

    opened = open_store(store)
    mended = mend(opened, teller()) if fix else []
    found = list(examine(opened, tracking_uri, cache, tensorflow=tensorflow))
    if as_json:
        print_json(diagnosis_document(found, mended))
    else:
        console().print(diagnosis_table(found))
    if not healthy(found):
        raise typer.Exit(1)
