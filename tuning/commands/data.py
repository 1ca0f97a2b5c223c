"""`tune data`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuning.arguments import parse_classes
from tuning.commands.options import (
    JsonOption,
    PatternOption,
    StoreOption,
    open_store,
)
from tuning.output import console, print_json

data_app = typer.Typer(no_args_is_help=True, help="Fetch, make or check data sets; who looked at test folders.")


@data_app.command("fetch")
def fetch_data() -> None:
    """Download the Kaggle chest X-ray data set and print where it lies.

    Example: tune data fetch
    """
    from pneumo_core.download import fetch_kaggle
    from pneumo_core.layout import find_root

    print(find_root(fetch_kaggle()))


@data_app.command("demo")
def make_demo_data(
    directory: Annotated[Path | None, typer.Argument(help="New folder; in the store if left out.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds make equal images.")] = 0,
    patients: Annotated[int, typer.Option(min=1, help="How many patients are drawn.")] = 200,
    store: StoreOption = Path("mlruns"),
) -> None:
    """Make synthetic chest radiographs in the layout of the Kaggle data set and print where they lie.

    Example: tune data demo chests --patients 50
    """
    from tuning.data_sources import demo_data, make_demo

    print(demo_data(open_store(store), seed, patients) if directory is None else make_demo(directory, seed, patients))


@data_app.command("ledger")
def show_ledger(store: StoreOption = Path("mlruns"), as_json: JsonOption = False) -> None:
    """List every opening of a test folder, every use of the scores of an earlier one, every refusal; oldest first.

    Example: tune data ledger
    """
    from tuning.models.ledger import Ledger
    from tuning.models.ledger_table import ledger_rows, ledger_table, ledger_warnings

    opened = open_store(store).existing()
    entries = Ledger(opened).entries()
    if as_json:
        print_json(ledger_rows(entries))
    elif entries:
        console().print(ledger_table(entries))
        for sentence in ledger_warnings(entries):
            print(f"tune: {sentence}", file=sys.stderr)
    else:
        print(f"the test folder was never opened by {opened.root}.", file=sys.stderr)


@data_app.command("check")
def check_data_folder(
    directory: Annotated[Path, typer.Argument(help="Folder of images, or one above it.")],
    classes: Annotated[str, typer.Option(help="Folder names of the negative and the positive class.")] = (
        "NORMAL,PNEUMONIA"
    ),
    patient_pattern: PatternOption = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with thumbnails to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for unusable files, duplicates, leaks between train and test, and labels that files give away.

    Ends with exit code 1 if test images, or their patients, are also outside of test.

    Example: tune data check ~/chest_xray --html page.html
    """
    from tuning.data_check import check_data, data_document, data_tables, leak_sentence
    from tuning.data_page import check_target, write_page

    check_target(html)
    audit = check_data(directory, class_names=parse_classes(classes), patient_pattern=patient_pattern)
    if sentence := leak_sentence(audit):
        print(f"tune: {sentence}", file=sys.stderr, flush=True)
    if html:
        write_page(audit, html)
    if as_json:
        print_json(data_document(audit))
    else:
        console().print(data_tables(audit))
    if audit.leaks:
        raise typer.Exit(1)
