"""`tune serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import StoreOption, TrackingOption, open_store


def serve(
    model: Annotated[
        str | None, typer.Option(help="NAME@ALIAS, NAME/VERSION or NAME; the only model there is if left out.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login and no encryption.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for one that is free.")] = 8000,
    max_bytes: Annotated[int, typer.Option(min=1_000, max=1_000_000_000, help="Of a request's body.")] = 32_000_000,
    max_pixels: Annotated[
        int, typer.Option(min=64, max=64_000_000, help="Of an image; larger ones are not decoded.")
    ] = 32_000_000,
    tracking_uri: TrackingOption = None,
    store: StoreOption = Path("mlruns"),
) -> None:
    """Answer HTTP requests with a registered model, until Ctrl-C. For research, not for diagnosis.

    Example: tune serve --model vgg16@champion --port 8000
    """
    from tuning.models.intake import Limits
    from tuning.models.server import address_of, is_loopback, listening_socket, run

    with listening_socket(host, port) as listening:
        if not is_loopback(listening):
            words = "is open to the network: there is no login and no encryption; put a reverse proxy before it"
            print(f"tune: {address_of(listening)} {words}", file=sys.stderr)
        from pneumo_core.runtime import start_tensorflow

        start_tensorflow()
        from tuning.models.registry import Registry
        from tuning.models.served_model import load_served
        from tuning.models.serving import application

        served = load_served(Registry(open_store(store), tracking_uri), model)
        app = application(served, Limits(max_bytes=max_bytes, max_pixels=max_pixels))
        print(f"{served} ({served.asked_for}) answers at {address_of(listening)} (Ctrl-C ends it)", flush=True)
        run(app, listening)
