"""Which workers there are, and how each stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

Standing = Literal["new", "taken", "idle", "busy", "refused", "ending"]
"""`new`: being taken on; `taken`: by another study; `ending`: its attempt was given up, and its process shall end."""


@dataclasses.dataclass
class Member:
    """One worker process.

    Attributes:
        address: by which Dask reaches it; another for each process.
        standing: what it is there for now.
        name: by which users know it.
        pid: of the process, on its machine.
        owner: whom it serves, if it is taken.
    """

    address: str
    standing: Standing = "new"
    name: str = ""
    pid: int | None = None
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.address} ({self.name})" if self.name and self.name not in self.address else self.address


class Roster:
    """The workers, in the order in which they appeared."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def enter(self, member: Member) -> None:
        """Takes note of a worker that appeared."""
        self._members[member.address] = member

    def find(self, address: str) -> Member | None:
        """Returns a member; None if it is gone."""
        return self._members.get(address)

    def remove(self, address: str) -> None:
        """Forgets a worker that is gone."""
        self._members.pop(address, None)

    def clear(self) -> None:
        """Forgets all of them."""
        self._members.clear()

    def those(self, *standings: Standing) -> list[Member]:
        """Returns the members that stand in one of some ways."""
        return [member for member in self if member.standing in standings]
