"""How long it takes to look at a long study, beyond imports: `tune leaderboard`, `tune report` and `tune list`.

    python benchmarks/analysis.py [--trials 2000] [--epochs 10]

Studies are made up by tests/tuning/synthetic.py. What imports take is told by the same command on a study of five
trials. The peer is the least that has to be done: each line of the journal read as JSON. Times are of the processor, as
none of it waits for anything. Run with `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tuning"))

from report import table, write_section
from synthetic import SPACE, synthetic_space, write_study

from tuning.store import Store, StudyFolder

ROUNDS = 5
TUNE = "from tuning.cli import main; main()"


def command_s(store: Store, *words: str, columns: int = 200) -> float:
    """Processor time of a `tune` command in a new interpreter, in seconds."""
    environment = os.environ | {"TUNE_STORE": str(store.root), "COLUMNS": str(columns)}
    begun = children_s()
    subprocess.run([sys.executable, "-c", TUNE, *words], check=True, stdout=subprocess.DEVNULL, env=environment)
    return children_s() - begun


def children_s() -> float:
    """Processor time of all processes that were waited for so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def beyond_imports_s(long: Store, short: Store, *words: str, columns: int = 200) -> float:
    """Median over rounds of what a command takes longer on one store than on the other, in seconds."""
    return statistics.median(
        command_s(long, *words, columns=columns) - command_s(short, *words, columns=columns) for _ in range(ROUNDS)
    )


def json_s(folder: StudyFolder) -> float:
    """Seconds in which each line of a journal is read as JSON; the least of the rounds."""

    def once() -> float:
        begun = time.process_time()
        for line in folder.journal.read_bytes().splitlines():
            json.loads(line)
        return time.process_time() - begun

    return min(once() for _ in range(ROUNDS))


def study_rows(root: Path, trials: int, epochs: int) -> list[list[str]]:
    """Measures leaderboard and report of one long study; returns a row for each way of asking."""
    space = synthetic_space(SPACE.replace("epochs: 3", f"epochs: {epochs}"))
    long, short = Store.at(root / "long"), Store.at(root / "short")
    least = json_s(write_study(long, trials=trials, space=space))
    write_study(short, trials=5, space=space)
    asked = {
        "`tune leaderboard`, 200 columns": (("leaderboard", "made"), 200),
        "`tune leaderboard`, 80 columns": (("leaderboard", "made"), 80),
        "`tune leaderboard --where 'dropout<0.3' --top 10`": (
            ("leaderboard", "made", "--where", "dropout<0.3", "--top", "10"),
            200,
        ),
        "`tune leaderboard --csv -`": (("leaderboard", "made", "--csv", "-"), 200),
        "`tune report --no-explain`": (("report", "made", "--no-explain"), 200),
    }
    measured = {
        name: beyond_imports_s(long, short, *words, columns=columns) for name, (words, columns) in asked.items()
    }
    return [[name, f"{seconds:.2f}", f"{seconds / least:.1f}"] for name, seconds in measured.items()]


def list_rows(root: Path, studies: int, trials: int) -> list[list[str]]:
    """Measures `tune list` of a store with many studies."""
    many, one = Store.at(root / "many"), Store.at(root / "one")
    least = sum(json_s(write_study(many, f"study-{number:03d}", trials=trials)) for number in range(studies))
    write_study(one, trials=5)
    seconds = beyond_imports_s(many, one, "list")
    return [[f"`tune list`, {studies} studies of {trials} trials", f"{seconds:.2f}", f"{seconds / least:.1f}"]]


def main() -> None:
    """Measures and writes the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="analysis-"))
    rows = [*study_rows(root, asked.trials, asked.epochs), *list_rows(root, 100, 50)]
    text = (
        f"A made-up study of {asked.trials:,} trials of {asked.epochs} epochs. Seconds of a processor beyond imports, "
        f"medians of {ROUNDS}; the last column against reading each line of the journal as JSON, which is the least "
        "that has to be done."
    )
    write_section("Looking at a long study", text + "\n\n" + table(["", "s", "times the least"], rows))


if __name__ == "__main__":
    main()
