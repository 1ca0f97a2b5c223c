"""The cache of activations as `tune cache list` shows it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from pneumo_core.activation_store import ActivationStore


def cache_rows(folder: Path) -> list[dict[str, Any]]:
    """Returns a mapping for each entry, the last used first: entry, bytes, last_used (ISO 8601, UTC), and its key."""
    return [
        {
            "entry": entry.address,
            "bytes": entry.size,
            "last_used": datetime.datetime.fromtimestamp(entry.last_used, datetime.UTC).isoformat(timespec="seconds"),
            "about": dict(entry.about),
        }
        for entry in ActivationStore(folder).entries()
    ]


def cache_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the entries for a terminal."""
    table = Table()
    for heading in (
        "entry",
        "MB",
        "last used (UTC)",
        "px",
        "blocks",
        "pooled",
        "scaling",
        "precision",
        "preprocessing",
    ):
        table.add_column(heading, justify="right" if heading in ("MB", "px", "blocks") else "left")
    for row in rows:
        about = row["about"] or {"image_size": "unfinished"}
        fields = ("image_size", "blocks", "pooled", "pixel_scaling", "precision")
        steps = [step for step in about.get("preprocessing", {}).values() if step != "none"]
        cells = [*(str(about.get(field, "")) for field in fields), ", ".join(steps)]
        table.add_row(row["entry"][:12], f"{row['bytes'] / 1e6:.1f}", row["last_used"][:19].replace("T", " "), *cells)
    return table
