"""What a study costs around its trials: TPE, journal, MLflow and a worker process, with trials that take no time.

    python benchmarks/instant.py [--trials 1000] [--long 2100]

Trials are those of tests/faults/stub.py: scored by their configuration, one in nine fails. Everything else is real. The
result goes to docs/reliability.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))  # in the worker too, which imports this file

from report import table, write_section
from stub import stub_result

from pneumo_core.phantom_set import write_phantoms
from tuning.attempt import Job, Report
from tuning.events import Event, StudyStarted, TrialCompleted, TrialFailed
from tuning.launch import launch_study
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space
from tuning.store import Store
from tuning.trial import TrialResult
from tuning.workers.executor import DaskExecutor
from tuning.workers.local import LocalWorkers

RELIABILITY = Path(__file__).parents[1] / "docs" / "reliability.md"
WINDOW = 100  # trials over which the driver's cost is averaged


def instant_attempt(job: Job, data: object, report: Report, stopping: Callable[[], bool]) -> TrialResult:
    """Runs in the worker."""
    result = stub_result(job)
    for epoch, metrics in enumerate(result.history):
        report(epoch, metrics)
    return result


class Meter:
    """A study's listener: processor time of this process, and wall time, at the end of each trial."""

    def __init__(self) -> None:
        self.cpu_s: list[float] = []
        self.wall_s: list[float] = []
        self.begun_s = 0.0

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Takes the times."""
        if isinstance(event, StudyStarted):
            self.begun_s = time.monotonic()
        if isinstance(event, TrialCompleted | TrialFailed):
            self.cpu_s.append(time.process_time())
            self.wall_s.append(time.monotonic())

    def cost_ms(self, number: int) -> float:
        """Processor time a trial around the trial of a number, in ms."""
        half = WINDOW // 2
        return 1e3 * (self.cpu_s[number + half - 1] - self.cpu_s[number - half - 1]) / WINDOW


def run(trials: int, images: Path, folder: Path) -> tuple[Meter, float]:
    """Runs a study of instant trials; returns its meter, and its seconds with the last MLflow call."""
    space = open_space("vgg16", {"weights": "random", "image_size": 32, "epochs": 3}).replace(trials=trials)
    work = WorkSettings(plots=False)
    settings = StudySettings(space, str(images), Store.at(folder), "instant", confirm=False, work=work)
    meter, workers, told = Meter(), DaskExecutor(LocalWorkers(1), attempt=instant_attempt), []
    launch_study(settings, meter, warn=told.append, workers=workers)
    if any("MLflow" in sentence and "lacks" in sentence for sentence in told):
        raise SystemExit("MLflow did not get everything")
    return meter, time.monotonic() - meter.begun_s


def leaderboard_s(folder: Path) -> float:
    """Seconds of `tune leaderboard` beyond its imports."""
    times = []
    for words in (["leaderboard", "instant"], ["leaderboard", "--help"]):
        begun = time.perf_counter()
        command = [str(Path(sys.executable).parent / "tune"), *words, "--store", str(folder)]
        subprocess.run(command[:-2] if "--help" in words else command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begun)
    return times[0] - times[1]


def main() -> None:
    """Runs both studies and writes the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--long", type=int, default=2100)
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="instant-"))
    images = write_phantoms(root / "data", patients=24, size_px=(48, 96))
    meter, whole_s = run(asked.trials, images, root / "first")
    long_meter, long_s = run(asked.long, images, root / "long")
    gaps = [after - before for before, after in zip(meter.wall_s, meter.wall_s[1:], strict=False)]
    last = asked.long - WINDOW
    rows = [
        [f"{asked.trials:,} trials, to the last MLflow call, a trial", f"{1e3 * whole_s / asked.trials:.0f} ms"],
        ["between the ends of two trials, median", f"{1e3 * statistics.median(gaps):.0f} ms"],
        [f"{asked.long:,} trials, to the last MLflow call, a trial", f"{1e3 * long_s / asked.long:.0f} ms"],
        ["processor time of the study's process a trial, around trial 100", f"{long_meter.cost_ms(100):.0f} ms"],
        [f"the same around trial {last:,}", f"{long_meter.cost_ms(last):.0f} ms"],
        [f"`tune leaderboard` of {asked.long:,} trials, after imports", f"{leaderboard_s(root / 'long'):.2f} s"],
    ]
    text = "TPE over the space `vgg16`, 3 epochs a trial, one worker process, MLflow in SQLite, no plots."
    write_section("What a study costs around its trials", text + "\n\n" + table(["", "measured"], rows), RELIABILITY)


if __name__ == "__main__":
    main()
