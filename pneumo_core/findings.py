"""What an audit of a data folder has to say: values with a severity, a sentence and the files concerned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

SEVERITIES = ("leak", "problem", "warning", "note")
"""Worst first. A `leak` joins test with training data; a `problem` is a file or label that is wrong; a `warning` is
worth a look; a `note` is information."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One instance of a finding.

    Attributes:
        paths: the files concerned, relative to the data set's root; none where only a sentence is known.
        remark: what is known of this instance beyond the finding's own text; may be empty.
    """

    paths: tuple[str, ...]
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: one of `SEVERITIES`.
        kind: a fixed name for scripts, such as `identical-in-test-and-train`.
        text: a plain sentence that says how many and what it means.
        cases: its instances, the most important first; none where the text says it all.
    """

    severity: str
    kind: str
    text: str
    cases: tuple[Case, ...] = ()

    @property
    def count(self) -> int:
        """How many instances there are; 1 where the text says it all."""
        return len(self.cases) or 1


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns findings worst first, otherwise in the order given."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def counted(number: int, singular: str, plural: str = "") -> str:
    """Returns `1 file` or `1,234 files`.

    Args:
        number: how many.
        singular: the word for one.
        plural: the word for more, where it is not the singular with an s.
    """
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
