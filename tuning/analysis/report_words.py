"""How a report writes numbers, times, sizes and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pneumo_core.evaluation_report import METRIC_LABELS

UNKNOWN = "–"


def metric_label(name: str) -> str:
    """Returns a metric as people read it: `val_roc_auc` is `ROC AUC`."""
    plain = name.removeprefix("val_")
    return METRIC_LABELS.get(plain, plain.replace("_", " "))


def number(value: float | None) -> str:
    """Returns a score with 4 digits; a dash for none."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.4f}"


def ends(low: float | None, high: float | None) -> str:
    """Returns the ends of a 95 % interval, or that there is none."""
    if low is None or high is None or not math.isfinite(low + high):
        return "interval not known"
    return f"95 %: {low:.4f} to {high:.4f}"


def with_ends(values: Sequence[float | None]) -> str:
    """Returns `0.9900 (0.987–0.992)` of a value and its two ends; a dash for no value."""
    value, low, high = values
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return number(value) if low is None or high is None else f"{value:.4f} ({low:.3f}–{high:.3f})"


def size_in_words(count: float) -> str:
    """Returns bytes as kB, MB or GB, powers of 1000."""
    unit, word = next((pair for pair in ((1e9, "GB"), (1e6, "MB")) if count >= pair[0]), (1e3, "kB"))
    return f"{count / unit:.1f} {word}"


def sentence(text: str) -> str:
    """Returns a text as a sentence: with a capital letter and an end. Names of trials and settings stay as they are."""
    first = text.partition(" ")[0]
    begun = text if "_" in first or any(sign.isdigit() for sign in first) else text[:1].upper() + text[1:]
    return begun if begun.endswith((".", "!", "?", ":")) else begun + "."


def listed(names: Sequence[str], most: int = 6) -> str:
    """Returns names with commas, no more than so many of them."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
