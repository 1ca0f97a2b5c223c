"""How long `tune --help` takes, against the smallest Typer program there can be; written to docs/performance.md.

Both are started in turn, so that a busy machine slows both. Run with `make bench`.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time

from report import table, write_section

ROUNDS = 9

COMMANDS = {
    "tune --help": "from tuning.cli import main; main()",
    "bare Typer --help": "import typer; app = typer.Typer(); app.command()(lambda: None); app()",
    "import tensorflow": "import tensorflow",
}


def wall_s(code: str) -> float:
    """Returns the wall time, in seconds, of a new interpreter that runs the code with `--help`."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, "--help"], check=True, capture_output=True)
    return time.perf_counter() - begun


def measure() -> dict[str, list[float]]:
    """Returns the wall times of each command, after one round of warming up."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(ROUNDS + 1):
        for name, code in COMMANDS.items():
            elapsed = wall_s(code)
            if round_number:
                times[name].append(elapsed)
    return times


def report(times: dict[str, list[float]]) -> str:
    """Returns the section in Markdown."""
    peer = statistics.median(times["bare Typer --help"])
    rows = [
        [f"`{name}`", f"{(median := statistics.median(measured)):.2f}", f"{min(measured):.2f} to {max(measured):.2f}",
         f"{median / peer:.2f}"]
        for name, measured in times.items()
    ]  # fmt: skip
    python = f"Python {platform.python_version()}, {platform.machine()}"
    header = ["command", "median (s)", "min to max (s)", "against bare Typer"]
    return f"Medians of {ROUNDS} rounds, all commands in turn; {python}.\n\n" + table(header, rows)


if __name__ == "__main__":
    write_section("Starting the command", report(measure()))
