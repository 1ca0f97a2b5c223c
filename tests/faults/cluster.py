"""A Dask cluster of real processes, and studies on it whose trials take no training."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
from deployment import DaskWorker, Deployment
from service import Service

from tuning.events import Event
from tuning.journal import read_journal
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store, StudyFolder

HERE = Path(__file__).parent
STUB = {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}

STUB_SPACE = """\
name: stubs
algorithm: {algorithm}
trials: {trials}
epochs: 9
confirm: {{top: 1, seeds: 1, folds: 2}}
fixed: {{weights: random, image_size: 32, batch_size: 16}}
parameters:
  head_units: {{type: choice, values: [8, 16, 32, 64, 128], ordered: true}}
  dropout: {{type: float, min: 0.0, max: 0.6, step: 0.1}}
  learning_rate: {{type: float, min: 1.0e-4, max: 1.0e-2, log: true}}
"""


class Cluster:
    """A scheduler and workers that know the stub trials of this folder.

    Args:
        deployment: where they are started.
        images: of the studies.
        epoch_s: that an epoch of a stub trial takes.

    Attributes:
        workers: in the order in which they were started.
    """

    def __init__(self, deployment: Deployment, images: Path, epoch_s: float = 0.2) -> None:
        self._deployment, self.images = deployment, images
        self._settings = STUB | {"STUB_EPOCH_S": str(epoch_s)}
        self.scheduler = deployment.scheduler()
        self.workers: list[DaskWorker] = []

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return self.scheduler.address

    def add(self, images: Path | None = None, settings: Mapping[str, str] | None = None) -> DaskWorker:
        """Starts one more worker."""
        worker = self._deployment.worker(self.scheduler, images or self.images, self._settings | dict(settings or {}))
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, timeout_s: float = 60.0) -> None:
        """Returns when the scheduler knows all of them."""
        deadline = time.monotonic() + timeout_s
        while not all("Registered to" in worker.log.read_text() for worker in self.workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def beginning_with(folder: Path, code: str) -> dict[str, str]:
    """Returns settings of a process that runs some code before any other.

    Args:
        folder: for that code.
        code: it.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(HERE.parents[1])])}


def attempt_process(pid: int) -> int:
    """Returns the process that makes attempts, of a `dask worker` with its nanny."""
    family = psutil.Process(pid).children(recursive=True)
    [found] = [process.pid for process in family if "spawn_main" in " ".join(process.cmdline())]
    return found


class StubStudy(Service):
    """A study `s` of stub trials on a cluster, in a process of its own; started again it is resumed.

    Args:
        cluster: whose workers make the trials.
        folder: that holds, or will hold, its store and its log.
        words: see driver.py.
        algorithm: of the search.
        trials: of the search.
    """

    def __init__(
        self, cluster: Cluster, folder: Path, *words: str, algorithm: str = "random", trials: int = 20
    ) -> None:
        folder.mkdir(exist_ok=True)
        space = folder / "stubs.yaml"
        space.write_text(STUB_SPACE.format(algorithm=algorithm, trials=trials))
        self.store = Store.at(folder / "store")
        command = [sys.executable, str(HERE / "driver.py"), str(self.store.root), "s", str(space), str(cluster.images)]
        command += ["--algorithm", algorithm, "--stub", "--cluster", cluster.address, *words]
        super().__init__(command, folder / "log")

    @property
    def events(self) -> list[Event]:
        """What was recorded so far."""
        folder = StudyFolder(self.store.studies / "s")
        return list(read_journal(folder.journal)) if folder.has_begun() else []

    @property
    def record(self) -> StudyRecord:
        """The same as a state."""
        return load_record(self.store, "s")

    @property
    def said(self) -> str:
        """What its user was told."""
        return self.log.read_text()

    def wait_until(self, what: Callable[[list[Event]], bool], timeout_s: float = 180.0) -> None:
        """Returns when it holds of what was recorded; the study must not end before."""
        self._wait(lambda: what(self.events), timeout_s)

    def wait_for_words(self, pattern: str, timeout_s: float = 180.0) -> None:
        """Returns when the user was told something."""
        self._wait(lambda: re.search(pattern, self.said) is not None, timeout_s)

    def finish(self, expected: int = 0, timeout_s: float = 180.0) -> None:
        """Returns when it has ended, as expected."""
        assert self.wait(timeout_s) == expected, self.said

    def _wait(self, what: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not what():
            assert self.runs, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
