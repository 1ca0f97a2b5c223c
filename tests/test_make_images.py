"""The pictures of the tour show what a terminal would."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text


@pytest.fixture(scope="module")
def screen_type() -> Any:
    """`Screen` of docs/make_images, which is a script and no package."""
    path = Path(__file__).parents[1] / "docs" / "make_images" / "screen.py"
    spec = importlib.util.spec_from_file_location("screen", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Screen


def test_a_display_that_redraws_itself_is_seen_as_it_is_last(screen_type: Any) -> None:
    """Lines above stay, what was drawn over is gone, however the output is cut into pieces."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=40, height=10, color_system="truecolor")
    with Live(console=console, auto_refresh=False) as live:
        for number in range(3):
            console.print(f"t000{number} is over")
            live.update(Text(f"running {number}\nof three", style="bold red"), refresh=True)
    screen = screen_type(40, 10)
    text = written.getvalue().replace("\n", "\r\n")  # as the terminal's driver does
    for start in range(0, len(text), 3):
        screen.write(text[start : start + 3])
    lines = [line.rstrip() for line in screen.text().splitlines()]
    assert lines[:5] == ["t0000 is over", "t0001 is over", "t0002 is over", "running 2", "of three"]
    assert not any(lines[5:])
    assert Text.from_ansi(screen.ansi()[3]).plain == "running 2"
    assert "\x1b[1;31m" in screen.ansi()[3]


def test_long_lines_are_wrapped_as_a_terminal_wraps_them(screen_type: Any) -> None:
    """What does not fit goes on in the next line; a carriage return begins the line anew."""
    screen = screen_type(5, 3)
    screen.write("abcdefg\r\nxyz\rX")
    assert screen.text().splitlines() == ["abcde", "fg", "Xyz"]
