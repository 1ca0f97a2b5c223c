"""`tune predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import (
    JsonOption,
    StoreOption,
    TrackingOption,
    open_store,
)
from tuning.output import console, print_json


def predict(
    images: Annotated[list[Path], typer.Argument(help="JPEG, PNG or DICOM files.")],
    model: Annotated[
        str | None, typer.Option(help="NAME@ALIAS, NAME/VERSION or NAME; the only model there is if left out.")
    ] = None,
    triage: Annotated[bool, typer.Option("--triage", help="Most urgent first.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw images and probabilities to this file (PNG, PDF, SVG).")] = (
        None
    ),
    tracking_uri: TrackingOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Classify radiographs with a registered model. For research, not for diagnosis."""
    from pneumo_core.runtime import start_tensorflow

    start_tensorflow()
    from tuning.models.prediction import predict_files, save_figure
    from tuning.models.registry import Registry

    said = predict_files(Registry(open_store(store), tracking_uri), model, images)
    if as_json:
        print_json(said.rows(triage=triage))
    elif said.images:
        console().print(said.table(triage=triage))
    if plot and said.images:
        save_figure(said.figure(triage=triage), plot)
    for sentence in [*said.warnings, *said.refused]:
        print(f"tune: {sentence}", file=sys.stderr)
    if said.refused:
        raise typer.Exit(2)
