"""`tune export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, TrackingOption, open_store
from tuning.output import print_json, teller


def export(
    out: Annotated[Path, typer.Option(help="New file, ending in .keras, .tflite or .onnx.")],
    file_format: Annotated[
        str, typer.Option("--format", help="keras, tflite, or onnx, which needs pip install 'pneumo-tune\\[onnx]'.")
    ],
    model: Annotated[
        str | None, typer.Option(help="NAME@ALIAS, NAME/VERSION or NAME; the only model there is if left out.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Image or folder to compare on, as often as needed; images of the model's study if left out."
        ),
    ] = None,
    tracking_uri: TrackingOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Write a registered model as one file, and keep it only if it scores real images as the registered one does.

    Example: tune export --model vgg16@champion --format onnx --out vgg16.onnx
    """
    from pneumo_core.runtime import start_tensorflow
    from tuning.models.runtimes import check_target, described_in

    check_target(file_format, out)
    start_tensorflow()
    from tuning.models.export import export_registered
    from tuning.models.registry import Registry

    opened = open_store(store)
    registry = Registry(opened, tracking_uri)
    done = export_registered(opened, registry, model, file_format, out, images or [], teller())
    if done.comparison.warning:
        print(f"tune: {done.comparison.warning}", file=sys.stderr)
    if as_json:
        print_json(done.description)
        return
    compared = done.comparison
    print(
        f"{out}: {done.model} as {file_format}, {done.description['bytes'] / 1e6:.1f} MB; differs from its Keras face "
        f"by {compared.largest_difference:.1e} in a probability at most, over {compared.images} images (allowed "
        f"{compared.tolerance:g}); {described_in(out).name} says how to use it"
    )
