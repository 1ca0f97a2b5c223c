"""`tune predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pneumo_core.errors import ConfigError
from tuning.commands.options import (
    JsonOption,
    StoreOption,
    TrackingOption,
    open_store,
)
from tuning.output import complain, console, counting, print_json
from tuning.requested_files import FIGURE_ENDINGS, STDOUT, check_target, save_figure, write_text


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="JPEG, PNG or DICOM files; folders of them, at any depth; - for stdin.")
    ],
    model: Annotated[
        str | None, typer.Option(help="NAME@ALIAS, NAME/VERSION or NAME; the only model there is if left out.")
    ] = None,
    triage: Annotated[bool, typer.Option("--triage", help="Most urgent first.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write rows to this file instead of a table; - for stdout.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the first 20 images, their Grad-CAM and probabilities to this file (PNG, PDF, SVG)."),
    ] = None,
    tracking_uri: TrackingOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Classify radiographs with a registered model. For research, not for diagnosis.

    Example: tune predict ~/today --triage --csv today.csv --plot today.png
    """
    if as_json and csv == STDOUT:
        raise ConfigError("--json and --csv -: both want stdout; name a file for --csv, or leave one of them out.")
    from tuning.models.named_images import named_images

    named = named_images(images)
    sources = [image.path for image in named.images]
    check_target("--csv", csv, sources=sources)
    check_target("--plot", plot, FIGURE_ENDINGS, sources)
    if named.images:
        from pneumo_core.runtime import start_tensorflow

        start_tensorflow()
        from tuning.models.prediction import predict_images
        from tuning.models.registry import Registry

        registry = Registry(open_store(store), tracking_uri)
        with counting("images", len(named.images)) as advance:
            said = predict_images(
                registry, model, named.images, triage=triage, with_panel=plot is not None, advance=advance
            )
        if as_json:
            print_json(said.rows)
        if csv:
            write_text("--csv", csv, said.csv)
        elif said.rows and not as_json:
            console().print(said.table)
        if plot and said.rows:
            save_figure("--plot", plot, said.figure)
        named.notes.extend(said.warnings)
        named.refused.extend(said.refused)
    for sentence in [*named.notes, *named.refused]:
        complain(sentence)
    if named.refused:
        raise typer.Exit(2)
