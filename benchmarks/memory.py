"""Memory of the process that runs a study, trial by trial: it has to stop growing.

    python benchmarks/memory.py [--full]

A study on synthetic radiographs in the space `demo`, 20 trials, or 100 with `--full`.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from pathlib import Path

from report import table, write_section

from tuning.events import Event, TrialCompleted
from tuning.launch import launch_study
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space
from tuning.store import Store


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(trials: int) -> list[float]:
    """Returns the resident memory after each trial."""
    sizes: list[float] = []

    def note(event: Event, record: StudyRecord) -> None:
        if isinstance(event, TrialCompleted):
            gc.collect()
            sizes.append(resident_mb())

    with tempfile.TemporaryDirectory(prefix="bench-") as store:
        space = open_space("demo").replace(trials=trials)
        launch_study(StudySettings(space, "demo", Store.at(store), confirm=False, work=WorkSettings(workers=0)), note)
    return sizes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="100 trials instead of 20")
    sizes = measure(100 if parser.parse_args().full else 20)
    marks = [number for number in (1, 10, 20, 50, 100) if number <= len(sizes)]
    rows = [[number, f"{sizes[number - 1]:,.0f}", f"{sizes[number - 1] - sizes[9]:+,.0f}"] for number in marks]
    text = f"A study of {len(sizes)} trials in the space `demo`, which asks for six different programs; one process."
    header = ["after trial", "resident (MB)", "against the tenth (MB)"]
    write_section("Memory of a long study", text + "\n\n" + table(header, rows))
