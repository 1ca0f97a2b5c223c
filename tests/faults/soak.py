"""Kills a study's process with SIGKILL at random moments until the study is over, and compares with one left in peace.

    python tests/faults/soak.py [--algorithm NAME ...] [--trials 30] [--kills 20] [--seed 0]

Real training for TPE, stub trials for the other oracles; journal, oracle, locks and MLflow's database are real in all
of them. Prints a table in Markdown; ends with 1 if anything was lost, repeated or different.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from studies import ends, plain, run_statuses

from pneumo_core.phantom_set import write_phantoms
from tuning.ranking import load_record
from tuning.store import Store, StudyFolder

DRIVER = Path(__file__).parent / "driver.py"
SPACE = """\
name: soak
trials: {trials}
epochs: 9
fixed: {{weights: random, image_size: 32, pixel_scaling: unit, pooling: average, batch_size: 16, patience: 0}}
parameters:
  head_units: {{type: choice, values: [8, 16, 32, 64, 128], ordered: true}}
  dropout: {{type: float, min: 0.0, max: 0.6, step: 0.1}}
  unfrozen_layers: {{type: choice, values: [0, 1], ordered: true}}
  backbone_lr_fraction: {{type: float, min: 0.01, max: 0.1, log: true, when: {{unfrozen_layers: [1]}}}}
  learning_rate: {{type: {rate}}}
start_with:
  - {{head_units: 16, dropout: 0.5, unfrozen_layers: 0, learning_rate: 1.0e-3}}
"""
ENDLESS_RATE, FINITE_RATE = "float, min: 1.0e-4, max: 1.0e-2, log: true", "choice, values: [1.0e-4, 1.0e-3, 1.0e-2]"


@dataclasses.dataclass
class Outcome:
    """What became of one study that was killed again and again."""

    algorithm: str
    training: str
    trials: int
    kills: int
    lost: int
    repeated: int
    running: int
    duplicates: int
    same: bool
    seconds: float

    @property
    def good(self) -> bool:
        """Whether everything is as it would be without the kills."""
        return self.same and not (self.lost or self.repeated or self.running or self.duplicates)


def process(store: Path, study: str, space: Path, data: Path, algorithm: str, *, stub: bool) -> subprocess.Popen[bytes]:
    """Starts the study, or goes on with it."""
    command = [sys.executable, str(DRIVER), str(store), study, str(space), str(data), "--algorithm", algorithm]
    with store.with_suffix(".log").open("ab") as log:
        return subprocess.Popen([*command, *(["--stub"] if stub else [])], stdout=log, stderr=log)


def kill_until_over(start: Callable[[], subprocess.Popen[bytes]], folder: StudyFolder, seed: int, kills: int) -> int:
    """Kills the process at random moments until it ends by itself, or has been killed often enough.

    Most kills come while the journal grows, some at any moment of the start.

    Args:
        start: starts the study, or goes on with it.
        folder: of the study.
        seed: of the moments.
        kills: after so many the study is left in peace.

    Returns:
        How often it was killed.
    """
    rng = np.random.default_rng(seed)
    for count in range(kills):
        running = start()
        _wait_for_a_moment(running, folder, rng)
        if running.poll() is not None:
            _check(running)
            return count
        running.send_signal(signal.SIGKILL)
        running.wait()
    _check(start())
    return kills


def _wait_for_a_moment(running: subprocess.Popen[bytes], folder: StudyFolder, rng: np.random.Generator) -> None:
    if rng.random() < 0.15:
        time.sleep(rng.uniform(0, 10))
        return
    wanted, deadline = _lines(folder) + rng.integers(1, 7), time.monotonic() + 240
    while _lines(folder) < wanted and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.1))


def _check(running: subprocess.Popen[bytes]) -> None:
    if running.wait(timeout=1800):
        raise SystemExit(f"a study ended with {running.returncode}: {running.args}; its log lies beside the store")


def _lines(folder: StudyFolder) -> int:
    return folder.journal.read_bytes().count(b"\n") if folder.journal.exists() else 0


def soak(algorithm: str, trials: int, kills: int, seed: int, folder: Path) -> Outcome:
    """Runs a study undisturbed and another under fire, and compares."""
    begun, stub = time.monotonic(), algorithm != "tpe"
    data = write_phantoms(folder / "data", patients=60, size_px=(48, 96))
    space = folder / "soak.yaml"
    space.write_text(SPACE.format(trials=trials, rate=FINITE_RATE if algorithm == "grid" else ENDLESS_RATE))
    calm, store = Store.at(folder / "calm"), Store.at(folder / "fire")
    _check(process(calm.root, "s", space, data, algorithm, stub=stub))
    count = kill_until_over(
        lambda: process(store.root, "s", space, data, algorithm, stub=stub),
        StudyFolder(store.studies / "s"),
        seed,
        kills,
    )
    record, expected = load_record(store, "s"), load_record(calm, "s")
    ended, statuses = ends(store, "s"), run_statuses(store, "s")
    return Outcome(
        algorithm=algorithm,
        training="stub" if stub else "real",
        trials=len(record.trials),
        kills=count,
        lost=len(expected.trials.keys() - ended.keys()) + len(record.trials.keys() - statuses.keys()),
        repeated=sum(ended.values()) - len(ended),
        running=sum(status == "RUNNING" for run in statuses.values() for status in run),
        duplicates=sum(len(run) - 1 for run in statuses.values()),
        same=plain(record) == plain(expected),
        seconds=time.monotonic() - begun,
    )


def main() -> None:
    """Prints a row for each oracle as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", action="append", choices=["tpe", "random", "grid", "bayesian", "hyperband"])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    outcomes = []
    header = [field.name for field in dataclasses.fields(Outcome)]
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}", flush=True)
    for algorithm in asked.algorithm or ["tpe", "random", "grid", "bayesian", "hyperband"]:
        folder = Path(tempfile.mkdtemp(prefix=f"soak-{algorithm}-"))
        outcomes.append(soak(algorithm, asked.trials, asked.kills, asked.seed, folder))
        cells = [f"{value:.0f}" if isinstance(value, float) else str(value) for value in vars(outcomes[-1]).values()]
        print(f"| {' | '.join(cells)} |", flush=True)
    sys.exit(not all(outcome.good for outcome in outcomes))


if __name__ == "__main__":
    main()
