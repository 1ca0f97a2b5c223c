"""The command that opens the MLflow UI."""

from __future__ import annotations

import contextlib
import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.commands.options import LoggedOption, StoreOption, open_store

if TYPE_CHECKING:
    from tuning.ui import Links


def ui(
    study: Annotated[str | None, typer.Argument(help="Open the comparison of this study's trials.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on; if left out, the first free one from 5000 on."),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser, where there is one and a terminal.")
    ] = True,
    tracking_uri: LoggedOption = None,
    store: StoreOption = Path("mlruns"),
) -> None:
    """Look at studies in MLflow: a server over the store, on this machine only, until Ctrl-C.

    The trials of a study stand side by side: their parameters in parallel coordinates, coloured by the objective. A
    server that runs already is used; where a study was logged to one elsewhere, the link leads there.

    Example: tune ui vgg16-1
    """
    from tuning.journal import begun_at
    from tuning.output import teller
    from tuning.ranking import load_record
    from tuning.tracking import recorded_uri, tracking_address
    from tuning.ui import Place, show

    opened = open_store(store).existing()
    record = load_record(opened, study) if study else None
    uri = recorded_uri(record, tracking_uri) if record else tracking_address(opened, tracking_uri)
    begun = begun_at(opened.study(study).journal) if study else 0.0

    def ready(links: Links) -> None:
        print(f"MLflow UI: {links.base}{'' if links.runs_on else ' (Ctrl-C ends it)'}", flush=True)
        if links.comparison:
            print(f"{study}: {links.comparison}\nits own page: {links.study}", flush=True)
        if open_browser and sys.stdout.isatty() and _has_browser():
            webbrowser.open(links.comparison or links.base)

    with contextlib.suppress(KeyboardInterrupt):
        raise typer.Exit(show(Place(opened, uri, record, begun), host, port, ready, teller()))


def _has_browser() -> bool:
    """A browser in a window: one for the terminal would take it from the command."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
