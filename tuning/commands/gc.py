"""`tune gc`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, open_store
from tuning.output import print_json


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
    freed = f"{done.size / 1e6:.1f} MB {'would be freed' if dry_run else 'freed'}"
    print(f"things: {len(done.items)}; {freed}" if done.items else "nothing to remove")
