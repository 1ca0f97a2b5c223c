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
    from tuning.ranking import studies_rows, studies_table

    opened = open_store(store)
    rows = studies_rows(opened)
    if as_json:
        print_json(rows)
    elif rows:
        console().print(studies_table(rows))
    else:
        print(f"no study in {opened.root} yet; start one with `tune run`.", file=sys.stderr)


def leaderboard(
    study: StudyArgument,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the first rows.")] = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Show the trials of a study, best first.

    Example: tune leaderboard vgg16-1 --top 5
    """
    from tuning.ranking import leaderboard_rows, load_record

    record = load_record(open_store(store), study)
    if as_json:
        print_json(leaderboard_rows(record)[:top])
    else:
        print_leaderboard(record, top)
