"""`tune evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuning.arguments import parse_classes
from tuning.commands.options import JsonOption, PatternOption, StoreOption, TrackingOption, open_store
from tuning.output import complain, print_json, teller


def evaluate(
    data: Annotated[Path, typer.Option(help="Folder with class folders in it, at any depth.")],
    model: Annotated[
        str | None, typer.Option(help="NAME@ALIAS, NAME/VERSION or NAME; the only model there is if left out.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Folder names of the negative and the positive class; the model's own if left out."),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="FOLDER=CLASS", help="One more folder of a class of the model; as often as needed."
        ),
    ] = None,
    patient_pattern: PatternOption = None,
    new_only: Annotated[
        bool, typer.Option("--new-only", help="Leave out patients whose images the model's study had.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="New folder for report, scores and plots.")] = None,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw plots to --out.")] = True,
    tracking_uri: TrackingOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Score a registered model on any labelled folder, at its own threshold; nothing is fitted.

    Example: tune evaluate --model vgg16@champion --data clinic --classes healthy,sick --out clinic-report
    """
    names = parse_classes(classes) if classes else None
    if out:
        from tuning.models.evaluation_folder import check_folder

        check_folder(out)
    from pneumo_core.runtime import start_tensorflow

    start_tensorflow()
    from tuning.models.external import validate_externally
    from tuning.models.registry import Registry

    opened = open_store(store)
    said = validate_externally(
        opened,
        Registry(opened, tracking_uri),
        model,
        data,
        classes=names,
        more_folders=more or [],
        patient_pattern=patient_pattern,
        leave_out_known=new_only,
        tell=teller(),
    )
    if out:
        from tuning.models.evaluation_folder import write_folder

        write_folder(said, out, with_plots=plots)
    for sentence in [*said.warnings, *said.skipped_lines()]:
        complain(sentence)
    if as_json:
        print_json(said.document())
    else:
        print(said.report_text(), end="")
