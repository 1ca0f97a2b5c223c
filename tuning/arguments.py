"""What users give: texts that mean more than themselves (durations, sizes, class names), and what was left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pneumo_core.errors import ConfigError

DEFAULT_CACHE_BUDGET_BYTES = 50_000_000_000


def parse_size(option: str, text: str) -> int | None:
    """Returns the bytes that `500MB`, `20GB` or `1.5TB` mean (powers of 1000); None for `none`.

    Args:
        option: that the text was given for, for the message.
        text: as given.

    Raises:
        ConfigError: if the text means no size.
    """
    if text.strip().lower() == "none":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MGT])B", text.strip(), flags=re.IGNORECASE)
    if not match:
        raise ConfigError(f"{option} {text}: expected a size such as 500MB, 20GB or 1.5TB, or none for no limit.")
    return int(float(match[1]) * {"M": 10**6, "G": 10**9, "T": 10**12}[match[2].upper()])


def parse_duration(option: str, text: str | None) -> float | None:
    """Returns the seconds that `90s`, `30m`, `2h`, `1h30m` or `30d` mean; None for None.

    Args:
        option: that the text was given for, for the message.
        text: as given.

    Raises:
        ConfigError: if the text means no duration.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text.strip())
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0, 0)
    if not (days or hours or minutes or seconds):
        raise ConfigError(f"{option} {text}: expected a duration such as 90s, 30m, 2h or 1h30m.")
    return days * 86_400.0 + hours * 3600.0 + minutes * 60.0 + seconds


def parse_classes(text: str) -> tuple[str, str]:
    """Returns the two class names of `NEGATIVE,POSITIVE`.

    Raises:
        ConfigError: if there are not two different ones.
    """
    names = tuple(name.strip() for name in text.split(","))
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise ConfigError(f"--classes {text}: expected two folder names, negative class first: NORMAL,PNEUMONIA.")
    return names[0], names[1]


def count_workers(workers: int | None, cluster: str | None) -> int:
    """Returns how many worker processes a study starts on this machine; one if nothing was said.

    Raises:
        ConfigError: if a number is given for a cluster, which has its own.
    """
    if workers is not None and cluster is not None:
        raise ConfigError("--workers: counts processes on this machine, --cluster has workers of its own; give one.")
    return 1 if workers is None else workers


def said(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that were given; None stands for those that were left out."""
    return {name: value for name, value in given.items() if value is not None}
