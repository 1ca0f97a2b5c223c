"""The command that opens the MLflow UI."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import StoreOption, open_store


def ui(
    study: Annotated[str | None, typer.Argument(help="Also print the address of this study's comparison.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
    store: StoreOption = Path("mlruns"),
) -> None:
    """Open the MLflow UI over a store, on this machine only, until Ctrl-C.

    Example: tune ui vgg16-1
    """
    from tuning.ranking import load_record
    from tuning.ui import compare_url, serve_ui

    opened = open_store(store).existing()
    record = load_record(opened, study) if study else None

    def ready(base_url: str) -> None:
        print(f"MLflow UI: {base_url} (Ctrl-C ends it)", flush=True)
        if record:
            print(f"{record.started.study}: {compare_url(base_url, record)}", flush=True)

    with contextlib.suppress(KeyboardInterrupt):
        raise typer.Exit(serve_ui(opened, host, port, ready))
