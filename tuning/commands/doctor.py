"""`tune doctor` and `tune gc`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import CacheOption, JsonOption, StoreOption, TrackingOption, open_store
from tuning.output import console, print_json, teller


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Repair a store that was moved or copied.")] = False,
    tensorflow: Annotated[
        bool, typer.Option("--tensorflow/--no-tensorflow", help="Start TensorFlow too, which takes 11 s or more.")
    ] = True,
    tracking_uri: TrackingOption = None,
    cache: CacheOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Check installation, store, registry and tracking; exit 1 if something is in the way of work.

    Example: tune doctor --fix --store ~/moved/mlruns
    """
    from tuning.diagnosis import diagnosis_document, diagnosis_table, healthy
    from tuning.doctor import examine, mend

    opened = open_store(store)
    mended = mend(opened, teller()) if fix else []
    found = list(examine(opened, tracking_uri, cache, tensorflow=tensorflow))
    if as_json:
        print_json(diagnosis_document(found, mended))
    else:
        console().print(diagnosis_table(found))
    if not healthy(found):
        raise typer.Exit(1)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    older_than: Annotated[
        str, typer.Option(help="What was deleted in MLflow goes for good after this long: 12h, 30d; 0 for at once.")
    ] = "30d",
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Remove what nothing needs: long deleted runs, stray models and files. What a registered version needs stays.

    Example: tune gc --dry-run --older-than 7d
    """
    from tuning.arguments import parse_duration
    from tuning.models.disposal import dispose

    age_s = 0.0 if older_than == "0" else parse_duration("--older-than", older_than) or 0.0
    done = dispose(open_store(store), age_s, dry_run=dry_run)
    if as_json:
        items = [{"what": item.what, "path": item.path and str(item.path), "bytes": item.size} for item in done.items]
        print_json({"removed": not dry_run, "bytes": done.size, "items": items, "remarks": done.remarks})
        return
    for item in done.items:
        print(f"{'would remove' if dry_run else 'removed'} {item.what}, {item.size / 1e6:.1f} MB")
    for remark in done.remarks:
        print(f"tune: {remark}", file=sys.stderr)
    print(f"{len(done.items)} things, {done.size / 1e6:.1f} MB {'would be freed' if dry_run else 'freed'}")
