"""The view of a running study: plain lines in a pipe, bars on a terminal, the same events for both."""

import fcntl
import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.text import Text
from synthetic import write_study
from terminal import Terminal

from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    Event,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
    TrialStarted,
)
from tuning.journal import read_entries
from tuning.progress import CleanConsole, PatientConsole, ProgressView
from tuning.record import StudyRecord
from tuning.store import Store

STARTED = StudyStarted(
    study="s", space="vgg16", space_digest="", definition={}, objective="val_roc_auc", direction="max",
    algorithm="tpe", trials=2, seed=0, parameters=["dropout"], data="demo", data_root="", data_digest="",
    split_digest="", class_names=["A", "B"], images={"training": 80, "validation": 20}, commit="", versions={},
    threads=1, tracking_uri="",
)  # fmt: skip
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor
CONFIG = {"epochs": 2, "stop_after": 0}
EVENTS: list[Event] = [
    STARTED,
    TrialStarted("t0001", 1, {"dropout": 0.25}, CONFIG),
    AttemptStarted("t0001", 1),
    EpochEnded("t0001", 0, {}),
    EpochEnded("t0001", 1, {}),
    TrialCompleted("t0001", 0.91234, {"val_roc_auc": 0.91234}, 1, "", 3.21),
    TrialStarted("t0002", 2, {"dropout": 0.5}, CONFIG),
    AttemptStarted("t0002", 1),
    TrialFailed("t0002", "loss became nan", 1.0),
    StudyEnded("finished", "", 5.0),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view is drawn more often than people could follow."""
    monkeypatch.setattr("tuning.progress._REFRESH_S", 0.02)
    monkeypatch.setattr("tuning.progress._REST", 1)


def _shown(events: Sequence[Event] = EVENTS, *, terminal: bool) -> str:
    file = io.StringIO()
    view = ProgressView(PatientConsole(file=file, force_terminal=terminal, width=120, color_system=None))
    record = StudyRecord(STARTED)
    for event in events:
        if event is not STARTED:
            record.apply(event)
        view(event, record)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_every_trial_gets_its_line(terminal: bool) -> None:
    """Score, best mark, duration and parameters; failures with their reason."""
    shown = _shown(terminal=terminal)
    assert "t0001  val_roc_auc 0.9123 *  3.2 s  dropout=0.25" in shown
    assert "t0002  failed: loss became nan  1.0 s  dropout=0.5" in shown
    assert "study s: finished after 5.0 s, 1 completed, 1 failed" in shown


def test_a_pipe_gets_no_control_characters() -> None:
    """A log file holds lines, not bars."""
    shown = _shown(terminal=False)
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 4


def test_a_closed_pipe_stops_no_study() -> None:
    """`tune run 2>&1 | head -3` goes on when head has gone."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    view, record = ProgressView(PatientConsole(file=Closed())), StudyRecord(STARTED)
    for event in EVENTS:
        if event is not STARTED:
            record.apply(event)
        view(event, record)


def test_of_equal_scores_the_longer_training_ranks_first() -> None:
    """A Hyperband rung of one epoch does not win over its own continuation."""
    record = StudyRecord(STARTED)
    for number, epochs in ((1, 1), (2, 3), (3, 1)):
        record.apply(TrialStarted(f"t{number}", number, {}, {"stop_after": epochs}))
        record.apply(TrialCompleted(f"t{number}", 0.9, {}, 0, "", 1.0))
    assert [trial.trial for trial in record.ranked()] == ["t2", "t1", "t3"]


def test_a_terminal_gets_bars() -> None:
    """Below the lines stands how far the study is; at the end the cursor is back."""
    shown = _shown(terminal=True)
    assert "0/2" in shown
    assert shown.count(HIDE) == shown.count(SHOW) == 1
    assert HIDE not in _shown(terminal=False)


@pytest.mark.parametrize("terminal", [False, True])
def test_what_was_lost_and_taken_up_again_is_told(terminal: bool) -> None:
    """A lost attempt with its reason; where a resumed study stands."""
    events: list[Event] = [
        *EVENTS[:7],
        AttemptFailed("t0002", 1, "it took longer than 9 s"),
        AttemptStarted("t0002", 2),
        StudyEnded("interrupted", "", 5.0),
        StudyResumed(3, []),
        AttemptStarted("t0002", 3),
        TrialCompleted("t0002", 0.95, {"val_roc_auc": 0.95}, 1, "", 3.21, pruned=True),
        StudyEnded("finished", "", 5.0),
    ]
    shown = _shown(events, terminal=terminal)
    assert "t0002  attempt 1 lost: it took longer than 9 s" in shown
    assert "study s: goes on at 1 of 3 trials by tpe" in shown
    assert "t0002  val_roc_auc 0.9500   pruned" in shown
    assert "1 completed, 0 failed, 1 pruned" in shown


def _play(view: ProgressView, events: Sequence[Event], pause_s: float = 0.0) -> None:
    record = StudyRecord(STARTED)
    for event in events:
        if event is not STARTED:
            record.apply(event)
        view(event, record)
        time.sleep(pause_s)


def _terminal_console(file: io.StringIO, **options: object) -> PatientConsole:
    size = {"width": 120, "height": 24, "color_system": None, "force_terminal": True} | options
    return PatientConsole(file=file, **size)  # type: ignore[arg-type]


def test_what_is_left_on_a_terminal_is_what_a_pipe_gets() -> None:
    """The live lines come and go without a trace, whoever prints meanwhile."""
    file, other = io.StringIO(), threading.Event()
    console = _terminal_console(file)

    def tell() -> None:
        while not other.wait(0.01):
            console.print("told by another thread", markup=False)

    thread = threading.Thread(target=tell)
    thread.start()
    with ProgressView(console) as view:
        _play(view, EVENTS, 0.06)
    other.set()
    thread.join()
    screen = Terminal(120)
    screen.feed(file.getvalue())
    assert "0.6" not in "".join(screen.lines)
    assert [line for line in screen.lines if "told" not in line] == _shown(terminal=False).splitlines()
    assert {line for line in screen.lines if "told" in line} == {"told by another thread"}
    assert screen.has_cursor


def test_no_word_is_divided_at_the_edge_of_a_terminal() -> None:
    """A pipe gets the same as one line."""
    console = _terminal_console(file := io.StringIO(), width=40, height=10)
    with ProgressView(console) as view:
        _play(view, EVENTS)
    said = "study s: 2 trials by tpe over dropout; 80 training and 20 validation images"
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert " ".join(lines[:2]) == said
    assert said in _shown(terminal=False).splitlines()


def test_the_view_is_drawn_while_trials_run() -> None:
    """Leaders, the running trial and how far it is, at the sizes that terminals have."""
    for width, height in ((40, 10), (80, 24), (200, 50)):
        file, shown, until = io.StringIO(), "", time.monotonic() + 20
        with ProgressView(_terminal_console(file, width=width, height=height)) as view:
            _play(view, EVENTS[:-2])
            while "1/2" not in shown and time.monotonic() < until:  # the view has a thread of its own
                time.sleep(0.05)
                screen = Terminal(width)
                screen.feed(file.getvalue())
                shown = "\n".join(screen.lines)
        assert "1/2" in shown
        assert "0/2 epochs" in shown
        assert "1  t0001  0.9123" in shown
        assert not screen.has_cursor


def test_an_error_that_ends_the_study_leaves_the_terminal_as_it_was() -> None:
    """The cursor is back although the study never said that it ended, as when the disk is full."""
    file = io.StringIO()

    def run() -> None:
        with ProgressView(_terminal_console(file)) as view:
            _play(view, EVENTS[:5], 0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    screen = Terminal(120)
    screen.feed(file.getvalue())
    assert screen.has_cursor
    assert len(screen.lines) == 1


def test_a_mistake_of_the_view_is_told_once_and_stops_no_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one in the thread that draws nor one in the study's own."""

    def broken(*arguments: object, **options: object) -> list[object]:
        raise ZeroDivisionError("a mistake")

    file = io.StringIO()
    monkeypatch.setattr("tuning.progress.frame", broken)
    with ProgressView(_terminal_console(file)) as view:
        _play(view, EVENTS[:5], 0.05)
        monkeypatch.setattr("tuning.progress.values_words", broken)
        _play(view, EVENTS[:6])
    assert file.getvalue().count("a mistake") == 1
    assert file.getvalue().count(HIDE) == file.getvalue().count(SHOW) == 1


def test_a_terminal_that_is_gone_stops_no_study() -> None:
    """Its window was closed in the middle, and the hang-up signal ignored: nothing more is written."""

    class Gone(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            if self.writes > 3:
                raise OSError(5, "Input/output error")
            return super().write(text)

    file = Gone()
    with ProgressView(_terminal_console(file)) as view:
        _play(view, EVENTS, 0.05)
    assert file.writes < 8


@pytest.mark.parametrize("options", [{"_environ": {"TERM": "dumb"}}, {"force_jupyter": True, "force_terminal": False}])
def test_where_a_cursor_cannot_be_moved_there_are_lines(options: dict[str, object]) -> None:
    """In a dumb terminal and in a notebook, whose output is a transcript."""
    view = ProgressView(_terminal_console(io.StringIO(), **options))
    _play(view, EVENTS[:3])
    assert view.is_plain


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """By its encoding, or because the user says so."""

    class Latin(io.StringIO):
        encoding = "latin-1"

    for file, plain in ((Latin(), None), (io.StringIO(), True)):
        with ProgressView(_terminal_console(file), plain=plain) as view:
            _play(view, EVENTS[:5])
            time.sleep(0.1)
        assert "1/2 epochs" in file.getvalue() or "2/2 epochs" in file.getvalue()
        assert file.getvalue().isascii()


def test_no_trial_waits_for_the_view(tmp_path: Path) -> None:
    """A tenth of a millisecond of a processor an event or so, however many trials there are."""
    entries = list(read_entries(write_study(Store.at(tmp_path), trials=300).journal))
    record = StudyRecord(entries[0].event)  # type: ignore[arg-type]
    file, begun = io.StringIO(), time.process_time()
    with ProgressView(_terminal_console(file)) as view:
        for entry in entries:
            if entry is not entries[0]:
                record.apply(entry.event)
            view(entry.event, record)
    assert (time.process_time() - begun) / len(entries) < 0.5e-3
    assert "cannot be shown" not in file.getvalue()


_PLAYER = """
import sys, time
sys.path[:0] = sys.argv[1:3]
from test_progress import EVENTS
from tuning.progress import PatientConsole, ProgressView
from tuning.record import StudyRecord
from tuning.signals import stop_requests
console = PatientConsole(stderr=True)
record = StudyRecord(EVENTS[0])
with ProgressView(console) as view, stop_requests(lambda text: console.print(text)):
    for event in EVENTS[:-1]:
        if event is not EVENTS[0]:
            record.apply(event)
        view(event, record)
    while True:
        time.sleep(0.05)
"""


def _read(terminal: int, screen: Terminal, until: str, limit_s: float = 30.0) -> bool:
    """Feeds what a process writes to a screen until that shows a text; returns whether it did before the end."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if until and any(until in line for line in screen.lines):
            return True
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                screen.feed(os.read(terminal, 1 << 16).decode(errors="replace"))
            except OSError:  # the process closed its side
                return False
    raise AssertionError(f"{until!r} did not come: {screen.lines}")


def test_a_killed_process_gives_the_cursor_back() -> None:
    """In a real terminal that is made smaller meanwhile: SIGTERM twice ends the view as any other end does."""
    here = Path(__file__).parent
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    player = subprocess.Popen(
        [sys.executable, "-c", _PLAYER, str(here), str(here.parents[1])],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm"},
    )
    os.close(theirs)
    try:
        screen = Terminal(80)
        assert _read(ours, screen, "1  t0001  0.9123")
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 40, 0, 0))
        player.send_signal(signal.SIGTERM)
        assert _read(ours, screen, "again to stop at once")
        player.send_signal(signal.SIGTERM)
        assert not _read(ours, screen, "")
        assert player.wait(10) != 0
        assert screen.has_cursor
        assert "KeyboardInterrupt" in "\n".join(screen.lines)
    finally:
        player.kill()
        player.wait()
        os.close(ours)


def test_no_text_commands_the_terminal() -> None:
    """A reason that names a file may hold a sequence of the terminal's, or bytes that are no text."""
    console = CleanConsole(file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text("image \x1b]0;title\x07\udcff.png", style="bold"))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "image \N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}" in written
    assert written.startswith("\x1b[1m")
    written.encode()
