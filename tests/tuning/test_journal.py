"""The journal keeps every event, survives a torn end, and never guesses at damage."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo_core.errors import StoreError
from tuning.events import EpochEnded, RunLinked, StudyEnded, TrialCompleted, TrialFailed, TrialStarted
from tuning.journal import Journal, read_journal

EVENTS = [
    TrialStarted("t0001", 1, {"dropout": 0.5, "pooling": None}, {"epochs": 3}),
    RunLinked("t0001", "abc"),
    EpochEnded("t0001", 0, {"loss": 0.1 + 0.2}),
    TrialCompleted("t0001", 1 / 3, {"val_ppv": 0.5}, 0, "digest", 1.25),
    TrialFailed("t0002", "loss became nan\nin epoch 1", 0.5),
    StudyEnded("finished", "", 3.0),
]


def _written(path: Path) -> Path:
    journal = Journal(path, clock=lambda: 1000.0)
    for event in EVENTS:
        journal.append(event)
    return path


def test_events_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Every kind of event, every digit, line breaks in texts included."""
    assert list(read_journal(_written(tmp_path / "j"))) == EVENTS


def test_lines_carry_version_and_time(tmp_path: Path) -> None:
    """The file can be read by other programs."""
    line = json.loads(_written(tmp_path / "j").read_text().splitlines()[0])
    assert (line["v"], line["at"], line["event"], line["trial"]) == (1, 1000.0, "trial_started", "t0001")


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int) -> None:
    """A crash in the middle of a write costs that event and no other."""
    path = _written(tmp_path / "j")
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(read_journal(path)) == EVENTS[:-1]


@pytest.mark.parametrize(
    "damage", [b"not json\n", b"[]\n", b'{"v":1,"at":0,"event":"run_linked"}\n', b"\xff\xfe\n", b"\n", b'{"v":1}\n']
)
def test_other_damage_is_reported_with_its_line(tmp_path: Path, damage: bytes) -> None:
    """A damaged line in the middle is refused, not skipped."""
    path = _written(tmp_path / "j")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + b"".join(lines[1:]))
    with pytest.raises(StoreError, match=r"line 2: (damaged|written by)"):
        list(read_journal(path))


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_fragment(tmp_path: Path) -> None:
    """A write cut short by a limit is taken back: what was recorded stays readable, and later lines are whole."""
    code = (
        "import resource, signal, sys\n"
        "from tests.tuning.test_journal import EVENTS, Journal, Path, StoreError\n"
        "path = Path(sys.argv[1]); journal = Journal(path); journal.append(EVENTS[0])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size = path.stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, resource.RLIM_INFINITY))\n"
        "try: journal.append(EVENTS[1])\n"
        "except StoreError: print('refused', path.stat().st_size == size)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "journal.append(EVENTS[2])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "j")],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["refused", "True"]
    assert list(read_journal(tmp_path / "j")) == [EVENTS[0], EVENTS[2]]


def test_a_newer_format_is_not_guessed_at(tmp_path: Path) -> None:
    """A journal of a later version is refused in words."""
    (tmp_path / "j").write_text('{"v":2,"at":0,"event":"run_linked","trial":"","run_id":""}\n')
    with pytest.raises(StoreError, match="another version"):
        list(read_journal(tmp_path / "j"))
