"""The one error of this package: a space that cannot be used, with everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable


class SpaceError(ValueError):
    """A search space cannot be found, read, or used as asked.

    Attributes:
        problems: what is wrong, one sentence each, in the order of the file; `str()` puts one on a line.
    """

    exit_code = 2
    """Exit status of a command that ends in this error: bad input."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)
