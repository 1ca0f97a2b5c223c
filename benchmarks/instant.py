"""What a study costs around its trials: TPE, journal, MLflow and worker processes, with trials that take no time.

    python benchmarks/instant.py [--trials 2100] [--workers 1 | --cluster tcp://127.0.0.1:8786]
                                 [--tracking-uri http://127.0.0.1:5000]

Trials are those of tests/faults/stub.py: scored by their configuration, one in nine fails. Everything else is real. The
workers of a cluster need that folder on their PYTHONPATH. The result goes to docs/reliability.md, to a section for each
kind of MLflow and of workers.
"""

from __future__ import annotations

import argparse
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
from tuning.workers.source import source_of

RELIABILITY = Path(__file__).parents[1] / "docs" / "reliability.md"
WINDOW = 100  # trials over which the driver's cost is averaged


def instant_attempt(
    job: Job,
    data: object,
    report: Report,
    stopping: Callable[[], bool],
    saved: Callable[[Path], None] = lambda path: None,
) -> TrialResult:
    """Runs in the worker."""
    result = stub_result(job)
    for epoch, metrics in enumerate(result.history):
        report(epoch, metrics)
    return result


class Meter:
    """A study's listener: processor time of this process and of the study's thread, and wall time, at trials' ends."""

    def __init__(self) -> None:
        self.process_s: list[float] = []
        self.thread_s: list[float] = []
        self.wall_s: list[float] = []
        self.begun_s = 0.0

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Takes the times."""
        if isinstance(event, StudyStarted):
            self.begun_s = time.monotonic()
        if isinstance(event, TrialCompleted | TrialFailed):
            self.process_s.append(time.process_time())
            self.thread_s.append(time.thread_time())
            self.wall_s.append(time.monotonic())


def around(times_s: list[float], number: int) -> str:
    """What passed a trial around the trial of a number."""
    half = WINDOW // 2
    return f"{1e3 * (times_s[number + half - 1] - times_s[number - half - 1]) / WINDOW:.0f} ms"


def run(trials: int, images: Path, folder: Path, work: WorkSettings) -> tuple[Meter, float]:
    """Runs a study of instant trials; returns its meter, and its seconds with the last MLflow call."""
    space = open_space("vgg16", {"weights": "random", "image_size": 32, "epochs": 3}).replace(trials=trials)
    settings = StudySettings(space, str(images), Store.at(folder), "instant", confirm=False, work=work)
    meter, executor, told = Meter(), DaskExecutor(source_of(work), attempt=instant_attempt), []
    launch_study(settings, meter, warn=told.append, workers=executor)
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


def section(work: WorkSettings) -> tuple[str, str]:
    """Returns the title of a setting's section, and what it is about."""
    title = "What a study costs around its trials"
    if work == WorkSettings(plots=False):
        return title, "one worker process, MLflow in SQLite"
    where = "an MLflow server" if work.tracking_uri else "SQLite"
    processes = "1 worker" if work.workers == 1 else f"{work.workers} workers"
    if work.cluster:
        processes = "a cluster"
    return f"{title}: {processes}, {where}", f"{processes}, MLflow in {where}"


def main() -> None:
    """Runs the study and writes the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cluster")
    parser.add_argument("--tracking-uri")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="instant-"))
    images = write_phantoms(root / "data", patients=24, size_px=(48, 96))
    work = WorkSettings(plots=False, workers=asked.workers, cluster=asked.cluster, tracking_uri=asked.tracking_uri)
    meter, whole_s = run(asked.trials, images, root / "store", work)
    early, late = WINDOW, asked.trials - WINDOW
    searched_s = meter.wall_s[-1] - meter.wall_s[0]
    rows = [
        ["trials a second, first to last", f"{(asked.trials - 1) / searched_s:.1f}"],
        ["trials a second, to the last MLflow call", f"{asked.trials / whole_s:.1f}"],
        [f"processor time of the study's process a trial, around trial {early}", around(meter.process_s, early)],
        [f"the same around trial {late:,}", around(meter.process_s, late)],
        [f"of it in the thread that runs the study, around trial {early}", around(meter.thread_s, early)],
        [f"the same around trial {late:,}", around(meter.thread_s, late)],
        [f"`tune leaderboard` of {asked.trials:,} trials, after imports", f"{leaderboard_s(root / 'store'):.2f} s"],
    ]
    title, what = section(work)
    text = f"{asked.trials:,} trials of 3 epochs by TPE over the space `vgg16`, {what}, no plots."
    write_section(title, text + "\n\n" + table(["", "measured"], rows), RELIABILITY)


if __name__ == "__main__":
    main()
