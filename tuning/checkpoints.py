"""The checkpoints of a study's trials. Each attempt has a file of its own, so that a stale one cannot harm a later."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_core.config import TrialConfig

if TYPE_CHECKING:
    from pneumo_core.training import TrainingState

_NAME = re.compile(r"(?P<trial>[^.]+)\.(?P<attempt>\d+)(?P<unfinished>\.unfinished)?\.npz")


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints, which need not exist yet."""

    folder: Path

    def path(self, trial: str, attempt: int) -> Path:
        """Returns the file that an attempt writes to."""
        return self.folder / f"{trial}.{attempt}.npz"

    def latest(self, trial: str, attempt: int | None, config: TrialConfig) -> TrainingState | None:
        """Returns the state that a trial can go on from.

        Args:
            trial: id; there is none for an empty one.
            attempt: what later ones wrote does not count; None to have all count.
            config: of the trial that goes on.
        """
        from pneumo_core.checkpoint import read_checkpoint

        attempts = {
            int(name["attempt"]) for name, _ in self._files() if name["trial"] == trial and not name["unfinished"]
        }
        counted = sorted((number for number in attempts if attempt is None or number <= attempt), reverse=True)
        states = (read_checkpoint(self.path(trial, number), config) for number in counted)
        return next((state for state in states if state is not None), None)

    def discard_all_but(self, trials: Collection[str]) -> None:
        """Removes the checkpoints of all trials but some.

        Side effects:
            Deletes files; what the disk refuses to delete stays.
        """
        for name, path in list(self._files()):
            if name["trial"] not in trials:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _files(self) -> Iterator[tuple[re.Match[str], Path]]:
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if name := _NAME.fullmatch(path.name):
                    yield name, path
