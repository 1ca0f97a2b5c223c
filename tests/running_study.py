"""The command `tune` as a process of its own, and a study that it runs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

from service import Service

from tuning.events import EpochEnded, TrialCompleted
from tuning.journal import read_journal
from tuning.store import Store, StudyFolder

TUNE = [sys.executable, "-c", "from tuning.cli import main; main()"]


def tune(*words: str, expected: int = 0, timeout_s: float = 300.0) -> str:
    """Runs a command to its end, and returns what it printed."""
    done = subprocess.run([*TUNE, *words], capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


class RunningStudy(Service):
    """A `tune run` or `tune resume` of study `s`.

    Args:
        store: of the study.
        words: arguments beside store and study.
        settings: environment variables beside those of the tests.
    """

    def __init__(self, store: Store, *words: str, settings: Mapping[str, str] | None = None) -> None:
        self.store = store
        target = ["--study", "s"] if words[0] == "run" else []
        super().__init__(
            [*TUNE, *words, *target, "--store", str(store.root)], store.root.with_suffix(".log"), settings=settings
        )

    @property
    def epochs(self) -> int:
        """How many epochs were recorded."""
        return self._count(EpochEnded)

    @property
    def completed(self) -> int:
        """How many trials were recorded as complete."""
        return self._count(TrialCompleted)

    def wait_for(self, *, epochs: int = 0, completed: int = 0, timeout_s: float = 300.0) -> None:
        """Returns when so much was recorded, or when the study is over."""
        deadline = time.monotonic() + timeout_s
        while self.runs and (self.epochs < epochs or self.completed < completed):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def wait_until_said(self, words: str, times: int = 1, timeout_s: float = 300.0) -> None:
        """Returns when it printed some words so many times."""
        deadline = time.monotonic() + timeout_s
        while self.log.read_text().count(words) < times:
            assert self.runs, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def finish(self, timeout_s: float = 300.0) -> None:
        """Returns when it ended well."""
        assert self.wait(timeout_s) == 0, self.log.read_text()

    def _count(self, kind: type) -> int:
        folder = StudyFolder(self.store.studies / "s")
        return sum(isinstance(event, kind) for event in read_journal(folder.journal)) if folder.has_begun() else 0
