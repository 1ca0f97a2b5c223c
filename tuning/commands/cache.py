"""`tune cache`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from tuning.commands.options import (
    CacheOption,
    JsonOption,
    StoreOption,
    open_store,
)
from tuning.output import console, print_json

cache_app = typer.Typer(no_args_is_help=True, help="List or clear the activations of frozen layers.")


@cache_app.command("list")
def list_cache(cache: CacheOption = None, store: StoreOption = Path("mlruns"), as_json: JsonOption = False) -> None:
    """List cached activations, the last used first.

    Example: tune cache list
    """
    from tuning.cache import cache_rows, cache_table

    folder = cache or open_store(store).cache
    rows = cache_rows(folder)
    if as_json:
        print_json(rows)
    else:
        console().print(cache_table(rows))
        print(f"{sum(row['bytes'] for row in rows) / 1e6:.1f} MB in {folder}", file=sys.stderr)


@cache_app.command("clear")
def clear_cache(cache: CacheOption = None, store: StoreOption = Path("mlruns")) -> None:
    """Delete all cached activations; studies compute again what they need.

    Example: tune cache clear
    """
    from pneumo_core.activation_store import ActivationStore

    freed = ActivationStore(cache or open_store(store).cache).clear()
    print(f"{freed / 1e6:.1f} MB freed")
