"""Disturbs studies at random moments until they are over, and compares them with studies left in peace.

    python tests/faults/soak.py [--fault NAME ...] [--algorithm NAME ...] [--trials 30] [--times 20] [--real]

Faults: `driver` and `worker` (SIGKILL to the study's process, to its worker), `server` (SIGKILL to the MLflow server,
which is back after a minute at first, then sooner), `disk` (a small file system runs full; needs root). Real training
for TPE, stub trials for the other oracles; journal, oracle, locks and MLflow are real in all of them. Prints a table in
Markdown; ends with 1 if anything was lost, repeated or different.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from studies import ends, metrics_differ, plain, run_statuses, worker_pids

sys.path.insert(0, str(Path(__file__).parents[1]))
from mlflow_server import Server

from pneumo_core.phantom_set import write_phantoms
from tuning.ranking import load_record
from tuning.store import Store, StudyFolder

DRIVER = Path(__file__).parent / "driver.py"
SPACE = """\
name: soak
trials: {trials}
epochs: 9
confirm: {{top: 2, seeds: 1, folds: 2}}
fixed: {{weights: random, image_size: 32, pixel_scaling: unit, pooling: average, batch_size: 16, patience: 0}}
parameters:
  head_units: {{type: choice, values: [8, 16, 32, 64, 128], ordered: true}}
  dropout: {{type: float, min: 0.0, max: 0.6, step: 0.1}}
  unfrozen_layers: {{type: choice, values: [0, 1], ordered: true}}
  backbone_lr_fraction: {{type: {fraction}, when: {{unfrozen_layers: [1]}}}}
  learning_rate: {{type: {rate}}}
start_with:
  - {{head_units: 16, dropout: 0.5, unfrozen_layers: 0, learning_rate: 1.0e-3}}
"""
ENDLESS = {"rate": "float, min: 1.0e-4, max: 1.0e-2, log: true", "fraction": "float, min: 0.01, max: 0.1, log: true"}
FINITE = {"rate": "choice, values: [1.0e-4, 1.0e-3, 1.0e-2]", "fraction": "choice, values: [0.01, 0.1]"}
SMALL_MB = 192


@dataclasses.dataclass
class Outcome:
    """What became of one study that was disturbed again and again."""

    fault: str
    algorithm: str
    training: str
    trials: int
    times: int
    lost: int
    repeated: int
    running: int
    duplicates: int
    metrics_differ: int
    same: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Whether everything is as it would be without the faults."""
        return self.same and not (self.lost or self.repeated or self.running or self.duplicates or self.metrics_differ)


@dataclasses.dataclass
class Victim:
    """A study that can be started, and gone on with, as a process."""

    store: Store
    words: list[str]
    rng: np.random.Generator

    @property
    def folder(self) -> StudyFolder:
        """Of the study."""
        return StudyFolder(self.store.studies / "s")

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the study, goes on with it, or completes MLflow if it is over."""
        with self.store.root.with_suffix(".log").open("ab") as log:
            return subprocess.Popen([sys.executable, str(DRIVER), *self.words], stdout=log, stderr=log)

    def wait_for_a_moment(self, running: subprocess.Popen[bytes], hasty: float = 0.15) -> None:
        """Most moments come while the journal grows, some at any time of the start."""
        if self.rng.random() < hasty:
            time.sleep(self.rng.uniform(0, 10))
            return
        wanted, deadline = self.lines() + self.rng.integers(1, 6), time.monotonic() + 240
        while self.lines() < wanted and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(self.rng.uniform(0, 0.1))

    def lines(self) -> int:
        """How long the journal is."""
        journal = self.folder.journal
        return journal.read_bytes().count(b"\n") if journal.exists() else 0


def check(running: subprocess.Popen[bytes]) -> None:
    """Waits for a process that must end well."""
    if running.wait(timeout=1800):
        raise SystemExit(f"a study ended with {running.returncode}: {running.args}; its log lies beside the store")


def kill_driver(victim: Victim, times: int) -> int:
    """Kills the study's process until it ends by itself, or often enough; returns how often."""
    for count in range(times):
        running = victim.start()
        victim.wait_for_a_moment(running)
        if running.poll() is not None:
            check(running)
            return count
        running.send_signal(signal.SIGKILL)
        running.wait()
    check(victim.start())
    return times


def kill_worker(victim: Victim, times: int) -> int:
    """Kills the worker of a study that runs through; returns how often."""
    running, count = victim.start(), 0
    while count < times and running.poll() is None:
        victim.wait_for_a_moment(running, hasty=0.0)
        with contextlib.suppress(OSError, IndexError, ProcessLookupError):
            os.kill(worker_pids(running.pid)[0], signal.SIGKILL)
            count += 1
    check(running)
    return count


def kill_server(victim: Victim, times: int) -> int:
    """Kills the MLflow server under a study that runs through; returns how often."""
    server = Server(victim.store, victim.store.root.with_suffix(".server.log"))
    victim.words += ["--uri", server.uri]
    server.start()
    running, count = victim.start(), 0
    while count < times and running.poll() is None:
        victim.wait_for_a_moment(running, hasty=0.0)
        server.kill()
        time.sleep(60 if count == 0 else victim.rng.uniform(0, 10))
        server.start()
        count += 1
    if running.wait(timeout=1800):
        raise SystemExit("the study failed; its log lies beside the store")
    check(victim.start())  # completes MLflow, if the study was over while the server was away
    server.kill()
    return count


def fill_disk(victim: Victim, times: int) -> int:
    """Fills the study's file system until the study stops, makes room, and goes on; returns how often."""
    filler = victim.store.root / "filler"
    for count in range(times):
        running = victim.start()
        victim.wait_for_a_moment(running, hasty=0.0)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        status = running.wait(timeout=600)
        filler.unlink()
        if status == 0:
            return count
    check(victim.start())
    return times


FAULTS: dict[str, Callable[[Victim, int], int]] = {
    "driver": kill_driver,
    "worker": kill_worker,
    "server": kill_server,
    "disk": fill_disk,
}


def soak(fault: str, algorithm: str, trials: int, times: int, seed: int, folder: Path, *, stub: bool) -> Outcome:
    """Runs a study undisturbed and another under fire, and compares."""
    begun = time.monotonic()
    data, space = write_phantoms(folder / "data", patients=60, size_px=(48, 96)), folder / "soak.yaml"
    space.write_text(SPACE.format(trials=trials, **(FINITE if algorithm == "grid" else ENDLESS)))
    calm, fire = (
        Victim(
            Store.at(place),
            [str(place), "s", str(space), str(data), "--algorithm", algorithm, *(["--stub"] if stub else [])],
            np.random.default_rng(seed),
        )
        for place in (folder / "calm", folder / "fire")
    )
    check(calm.start())
    fire.store.root.mkdir()
    with small_disk(fire.store.root) if fault == "disk" else contextlib.nullcontext():
        count = FAULTS[fault](fire, times)
        return compare(fault, algorithm, stub, calm.store, fire.store, count, time.monotonic() - begun)


def compare(fault: str, algorithm: str, stub: bool, calm: Store, fire: Store, count: int, seconds: float) -> Outcome:
    """Counts everything that is not as it should be."""
    record, expected = load_record(fire, "s"), load_record(calm, "s")
    ended, statuses = ends(fire, "s"), run_statuses(fire, "s")
    return Outcome(
        fault=fault,
        algorithm=algorithm,
        training="stub" if stub else "real",
        trials=len(record.trials),
        times=count,
        lost=len(expected.trials.keys() - ended.keys()) + len(record.trials.keys() - statuses.keys()),
        repeated=sum(ended.values()) - len(ended),
        running=sum(status == "RUNNING" for run in statuses.values() for status in run),
        duplicates=sum(len(run) - 1 for run in statuses.values()),
        metrics_differ=metrics_differ(fire, "s"),
        same=plain(record) == plain(expected),
        seconds=seconds,
    )


@contextlib.contextmanager
def small_disk(folder: Path):  # type: ignore[no-untyped-def]
    """Mounts a file system of a few megabytes there; needs root."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def main() -> None:
    """Prints a row for each study as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="append", choices=list(FAULTS))
    parser.add_argument("--algorithm", action="append", choices=["tpe", "random", "grid", "bayesian", "hyperband"])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true", help="real training for every oracle")
    asked = parser.parse_args()
    header = [field.name.replace("_", " ") for field in dataclasses.fields(Outcome)]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}", flush=True)
    good = True
    for fault in asked.fault or [fault for fault in FAULTS if fault != "disk" or not os.geteuid()]:
        every = ["tpe", "random", "grid", "bayesian", "hyperband"] if fault == "driver" else ["tpe"]
        for algorithm in asked.algorithm or every:
            folder = Path(tempfile.mkdtemp(prefix=f"soak-{fault}-{algorithm}-"))
            stub = algorithm != "tpe" and not asked.real
            outcome = soak(fault, algorithm, asked.trials, asked.times, asked.seed, folder, stub=stub)
            cells = [f"{value:.0f}" if isinstance(value, float) else str(value) for value in vars(outcome).values()]
            print(f"| {' | '.join(cells)} |", flush=True)
            good &= outcome.good
    sys.exit(not good)


if __name__ == "__main__":
    main()
