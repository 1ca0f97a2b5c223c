"""The checkpoints of a study's trials. Each attempt has a file of its own, so that a stale one cannot harm a later."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_core.config import TrialConfig

if TYPE_CHECKING:
    from pneumo_core.training import TrainingState

_NAME = re.compile(r"(?P<trial>[^.]+)\.(?P<attempt>\d+)(?P<unfinished>\.unfinished)?\.(?P<kind>npz|begun)")
# Earlier versions left files that end in `begun`; they go with the rest.


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints, which need not exist yet."""

    folder: Path

    def path(self, trial: str, attempt: int) -> Path:
        """Returns the file that an attempt writes to."""
        return self.folder / f"{trial}.{attempt}.npz"

    def latest(self, trial: str, attempt: int | None, config: TrialConfig, folds: int = 1) -> TrainingState | None:
        """Returns the state that a trial can go on from.

        Args:
            trial: id; there is none for an empty one.
            attempt: what later ones wrote does not count; None to have all count.
            config: of the trial that goes on.
            folds: that it is trained in.
        """
        from pneumo_core.checkpoint import read_checkpoint

        states = (read_checkpoint(path, config, folds) for path in self._written(trial, attempt))
        return next((state for state in states if state is not None), None)

    def newest(self, trial: str, attempt: int | None) -> Path | None:
        """Returns the file that `latest` would look at first; None if there is none."""
        return next(iter(self._written(trial, attempt)), None)

    def discard_older(self, trial: str, attempt: int) -> None:
        """Removes what earlier attempts at a trial left.

        Side effects:
            Deletes files.
        """
        self._discard(lambda name: name["trial"] == trial and int(name["attempt"]) < attempt)

    def discard_all_but(self, trials: Collection[str]) -> None:
        """Removes the checkpoints of all trials but some.

        Side effects:
            Deletes files; what the disk refuses to delete stays.
        """
        self._discard(lambda name: name["trial"] not in trials)

    def _discard(self, unwanted: Callable[[re.Match[str]], bool]) -> None:
        for path in [path for name, path in self._files() if unwanted(name)]:
            with contextlib.suppress(OSError):
                path.unlink()

    def _written(self, trial: str, attempt: int | None) -> list[Path]:
        """Whole checkpoints of a trial, those of the last attempt first."""
        names = [name for name, _ in self._files() if name["trial"] == trial and name["kind"] == "npz"]
        attempts = {int(name["attempt"]) for name in names if not name["unfinished"]}
        counted = sorted((number for number in attempts if attempt is None or number <= attempt), reverse=True)
        return [self.path(trial, number) for number in counted]

    def _files(self) -> Iterator[tuple[re.Match[str], Path]]:
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if name := _NAME.fullmatch(path.name):
                    yield name, path
