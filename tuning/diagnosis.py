"""What `tune doctor` finds: a thing that was looked at, its state, what was seen, what to do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

State = Literal["ok", "note", "warning", "problem"]
"""Whether all is well, something is worth knowing, worth a look, or in the way of work."""

_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "red"}


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at.

    Attributes:
        what: the thing.
        state: see `State`.
        seen: what was found, in a few words.
        advice: what to do; empty if nothing.
    """

    what: str
    state: State
    seen: str
    advice: str = ""


Check = Callable[[], Iterable[Diagnosis]]


def diagnosed(what: str, check: Check) -> Iterator[Diagnosis]:
    """Makes a check; one that breaks is itself a problem, and does not keep the others from being made."""
    try:
        yield from check()
    except Exception as error:  # whatever is broken on this machine, the rest is looked at
        reason = (str(error).strip().splitlines() or [""])[0]
        yield Diagnosis(what, "problem", f"cannot be looked at ({type(error).__name__}: {reason})")


def healthy(found: Sequence[Diagnosis]) -> bool:
    """Returns whether nothing is in the way of work."""
    return not any(diagnosis.state == "problem" for diagnosis in found)


def diagnosis_table(found: Sequence[Diagnosis]) -> Table:
    """Returns the diagnoses for a terminal."""
    table = Table()
    for heading in ("what", "state", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for diagnosis in found:
        colour = _COLOURS[diagnosis.state]
        state = f"[{colour}]{diagnosis.state}[/{colour}]"
        table.add_row(escape(diagnosis.what), state, escape(diagnosis.seen), escape(diagnosis.advice))
    return table


def diagnosis_document(found: Sequence[Diagnosis], mended: Sequence[str]) -> dict[str, Any]:
    """Returns the diagnoses for a script: `healthy`, `mended` (sentences) and `checks`."""
    checks = [dataclasses.asdict(diagnosis) for diagnosis in found]
    document = {"healthy": healthy(found), "mended": list(mended), "checks": checks}
    return dict(json.loads(json.dumps(document)))
