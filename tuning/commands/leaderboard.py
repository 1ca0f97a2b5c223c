"""Commands that show studies side by side, and the trials of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, StudyArgument, open_store
from tuning.output import console, print_json, print_leaderboard


def list_studies(store: StoreOption = Path("mlruns"), as_json: JsonOption = False) -> None:
    """List the studies of a store, oldest first.

    Example: tune list
    """
    from tuning.studies_list import studies_rows, studies_table

    opened = open_store(store)
    rows = studies_rows(opened)
    if as_json:
        print_json(rows)
    elif rows:
        opened_console = console()
        opened_console.print(studies_table(rows, opened_console.width))
    else:
        print(f"no study in {opened.root} yet; start one with `tune run`.", file=sys.stderr)


def leaderboard(
    study: StudyArgument,
    top: Annotated[
        int | None, typer.Option(min=1, help="Show only the first rows; if left out all, on a terminal 50.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Rank by another metric: specificity, brier, …")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Show only trials that fulfil it, in quotes: 'dropout<0.3', 'status=failed', 'val_specificity>0.8', "
            "'optimizer!=sgd'. May be given several times; all must hold.",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write rows to this file instead of a table; - for stdout.")] = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Show the trials of a study, best first, and what they gained over the baseline, the notebook's recipe.

    Example: tune leaderboard vgg16-1 --top 5 --where 'dropout<0.3'
    """
    from pneumo_core.errors import ConfigError
    from tuning.ranking import load_record
    from tuning.requested_files import STDOUT, check_target, write_text
    from tuning.standings import documents, make_leaderboard, rows_as_csv

    if as_json and csv == STDOUT:
        raise ConfigError("--json and --csv -: both want stdout; name a file for --csv, or leave one of them out.")
    check_target("--csv", csv)
    record = load_record(open_store(store), study)
    if csv:
        write_text("--csv", csv, rows_as_csv(make_leaderboard(record, metric, where or ()), top))
    if as_json:
        print_json(documents(make_leaderboard(record, metric, where or ()), top))
    elif not csv:
        print_leaderboard(record, top, metric, where or ())
