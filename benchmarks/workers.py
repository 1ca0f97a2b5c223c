"""Two workers of one thread each against one such worker, on trials that train heads from kept activations.

    python benchmarks/workers.py [--data DIR] [--cache DIR] [--trials 40] [--rounds 3] [--no-plots]

The studies of a round run one after the other, each in a process of its own, everything as `tune run` has it: folds,
plots, MLflow. A first study fills the cache and is not counted. Throughput is that of the time in which all workers had
their first trial, with its compilation, behind them and another one before them. The result goes to
docs/performance.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from report import table, write_section

from pneumo_core.phantom_set import write_phantoms
from tuning.attempt import Job, Report, run_attempt
from tuning.events import Event, TrialCompleted
from tuning.launch import launch_study
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space
from tuning.store import Store
from tuning.trial import TrialResult
from tuning.trial_data import TrialData
from tuning.workers.executor import DaskExecutor
from tuning.workers.local import LocalWorkers

SPACE = Path(__file__).parent / "frozen.yaml"
SHAPE = {"pooling": "average", "head_units": 256, "optimizer": "adam"}  # one program: each worker compiles it once
NOTES = "attempts.jsonl"


def timed_attempt(job: Job, data: TrialData, report: Report, stopping: Callable[[], bool]) -> TrialResult:
    """Runs in the worker, and notes by the machine's clock when an attempt began and ended there."""
    note = {"pid": os.getpid(), "begun": time.monotonic(), "cpu_begun": time.process_time()}
    result = run_attempt(job, data, report, stopping)
    note |= {"ended": time.monotonic(), "cpu_ended": time.process_time()}
    with (job.checkpoints.parent / NOTES).open("a") as file:
        file.write(json.dumps(note) + "\n")
    return result


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of the time in which all workers of a study had trained before, and would again.

    Attributes:
        per_minute: trials that ended.
        trial_s: of an attempt, in its worker; median.
        trial_cpu_s: of a processor that this took; mean.
        gap_s: from the end of an attempt to the beginning of the next in the same worker; median.
        gap_cpu_s: of a processor that this took in the worker; mean.
        study_cpu_s: of a processor that the study's process took for a trial: MLflow, plots, scheduler; mean.
    """

    per_minute: float
    trial_s: float
    trial_cpu_s: float
    gap_s: float
    gap_cpu_s: float
    study_cpu_s: float


class Meter:
    """A study's listener: the processor time of its process at the end of each trial."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Takes the times."""
        if isinstance(event, TrialCompleted):
            self.seen.append((time.monotonic(), time.process_time()))

    def cpu_s(self, begun: float, ended: float) -> float:
        """Processor time of a trial, of those that were recorded between two moments."""
        within = [(at, cpu_s) for at, cpu_s in self.seen if begun <= at <= ended]
        return (within[-1][1] - within[0][1]) / (len(within) - 1)


def measured(notes: Sequence[dict[str, Any]], meter: Meter) -> Measured:
    """Returns what a study's notes come to."""
    workers: dict[int, list[dict[str, Any]]] = {}
    for note in notes:
        workers.setdefault(note["pid"], []).append(note)
    begun = max(own[0]["ended"] for own in workers.values())
    ended = min(own[-1]["begun"] for own in workers.values())
    counted = [note for note in notes if note["begun"] >= begun and note["ended"] <= ended]
    pairs = [pair for own in workers.values() for pair in itertools.pairwise(own)]
    return Measured(
        per_minute=60 * sum(begun < note["ended"] <= ended for note in notes) / (ended - begun),
        trial_s=statistics.median(note["ended"] - note["begun"] for note in counted),
        trial_cpu_s=statistics.mean(note["cpu_ended"] - note["cpu_begun"] for note in counted),
        gap_s=statistics.median(after["begun"] - before["ended"] for before, after in pairs),
        gap_cpu_s=statistics.mean(after["cpu_begun"] - before["cpu_ended"] for before, after in pairs),
        study_cpu_s=meter.cpu_s(begun, ended),
    )


def run(workers: int, asked: argparse.Namespace, folder: Path) -> Measured:
    """Runs a study."""
    work = WorkSettings(workers=workers, cache=asked.cache, plots=asked.plots)
    space = open_space(str(SPACE), SHAPE).replace(trials=asked.trials)
    settings = StudySettings(space, str(asked.data), Store.at(folder), "heads", threads=1, confirm=False, work=work)
    meter = Meter()
    launch_study(settings, meter, workers=DaskExecutor(LocalWorkers(workers), attempt=timed_attempt))
    lines = (folder / "studies" / "heads" / NOTES).read_text().splitlines()
    return measured([json.loads(line) for line in lines], meter)


def run_apart(workers: int, asked: argparse.Namespace, folder: Path) -> Measured:
    """Runs a study in a process of its own."""
    words = ["--workers", workers, "--store", folder, "--data", asked.data, "--cache", asked.cache]
    words += ["--trials", asked.trials, "--plots" if asked.plots else "--no-plots"]
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def compare(asked: argparse.Namespace, folder: Path) -> None:
    """Runs all studies and writes the section."""
    asked.data = asked.data or write_phantoms(folder / "data", patients=300, size_px=(64, 128))
    asked.cache = asked.cache or folder / "cache"
    run_apart(1, argparse.Namespace(**{**vars(asked), "trials": 3}), folder / "first")
    rounds = [
        [run_apart(workers, asked, folder / f"{number}-{workers}") for workers in (1, 2)]
        for number in range(asked.rounds)
    ]
    ratios = [two.per_minute / one.per_minute for one, two in rounds]
    rows = [_row(workers, [pair[workers - 1] for pair in rounds]) for workers in (1, 2)]
    header = ["workers", "trials a minute", "a trial (s)", "its processor time (s)", "until the next (ms)"]
    header += ["processor time of that (ms)", "of the study's process, a trial (s)"]
    data, plots = Path(asked.data).name, "plots" if asked.plots else "no plots"
    text = (
        f"10 epochs in five folds from kept activations of `{data}` at 64 px, {asked.trials} trials a study, {plots}, "
        f"one thread a worker; {os.cpu_count()} processors. Medians of {asked.rounds} rounds. Two workers reached "
        f"**{statistics.median(ratios):.2f}** times the throughput of one ({min(ratios):.2f} to {max(ratios):.2f})."
    )
    write_section(
        "Two workers against one" + ("" if asked.plots else ", no plots"), text + "\n\n" + table(header, rows)
    )


def _row(workers: int, studies: Sequence[Measured]) -> list[str]:
    def median(name: str) -> float:
        return statistics.median(getattr(study, name) for study in studies)

    return [
        str(workers),
        f"{median('per_minute'):.1f}",
        f"{median('trial_s'):.2f}",
        f"{median('trial_cpu_s'):.2f}",
        f"{1e3 * median('gap_s'):.0f}",
        f"{1e3 * median('gap_cpu_s'):.0f}",
        f"{median('study_cpu_s'):.2f}",
    ]


def main() -> None:
    """Runs one study, if that is asked for, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.workers:
        print(json.dumps(dataclasses.asdict(run(asked.workers, asked, asked.store))))
    else:
        compare(asked, Path(tempfile.mkdtemp(prefix="workers-")))


if __name__ == "__main__":
    main()
