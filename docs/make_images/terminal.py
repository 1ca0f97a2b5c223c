"""Real commands in a terminal of a given size, and what they show as SVG."""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import textwrap
from collections.abc import Callable
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text
from screen import Screen

COLUMNS, ROWS = 118, 40

# Rich's own template fetches a font; the reader's does as well, because every text states the length that it takes.
_TEMPLATE = re.sub(r"@font-face \{\{.*?\}\}\s*|<!--.*?-->\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)

Watcher = Callable[[Screen], None]
"""Is shown the screen whenever the command pauses, so that it sees whole pictures."""

_PAUSE_S = 0.1


class CommandError(RuntimeError):
    """A command did not do what its picture shows."""


def program(command: str) -> list[str]:
    """Returns what runs a line that begins with `tune`, by the interpreter that runs this script."""
    return [sys.executable, "-c", "from tuning.cli import main; main()", *shlex.split(command, comments=True)[1:]]


def run(command: str, folder: Path, *, watch: Watcher = lambda screen: None, columns: int = COLUMNS) -> Screen:
    """Runs a command line in a terminal and returns what the screen shows at its end.

    Args:
        command: a line that begins with `tune`.
        folder: to run it in, so that no path of this machine is shown.
        watch: is shown the screen on the way.
        columns: width of the terminal.

    Raises:
        CommandError: if it ends with another exit code than 0.
    """
    screen = Screen(columns, ROWS)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    surroundings = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    surroundings.pop("COLUMNS", None)
    process = subprocess.Popen(
        program(command), cwd=folder, env=surroundings, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    try:
        _follow(master, screen, watch)
        if process.wait():
            raise CommandError(f"{command}: ended with {process.returncode}:\n{screen.text()}")
    finally:
        os.close(master)
        if process.poll() is None:
            process.terminate()
            process.wait()
    return screen


def _follow(master: int, screen: Screen, watch: Watcher) -> None:
    decoder, is_new = codecs.getincrementaldecoder("utf-8")("replace"), False
    while True:
        if not select.select([master], [], [], _PAUSE_S)[0]:
            if is_new:
                watch(screen)
            is_new = False
            continue
        try:
            written = os.read(master, 65536)
        except OSError:  # how Linux says that the last writer has gone
            return
        if not written:
            return
        screen.write(decoder.decode(written))
        is_new = True


def save(command: str, lines: list[str], file: Path, *, columns: int = COLUMNS) -> None:
    """Draws lines with their colours as a terminal's window.

    Args:
        command: that printed them, shown above them.
        lines: with ANSI sequences.
        file: SVG to be written.
        columns: width of the window.
    """
    console = Console(record=True, width=columns, file=io.StringIO(), color_system="truecolor")
    shown = textwrap.wrap(f"$ {command}", columns - 2, subsequent_indent="    ", break_on_hyphens=False)
    for line in [f"\x1b[1m{part}\x1b[0m" for part in " \\\n".join(shown).splitlines()] + lines:
        console.print(Text.from_ansi(line), soft_wrap=True, highlight=False)
    svg = console.export_svg(title=" ", code_format=_TEMPLATE, unique_id=file.stem)
    file.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
