"""The cache of activations is never wrong: not after a kill, a truncation, a full disk, or a race."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_core import activation_store as module
from pneumo_core.activation_store import ActivationKey, ActivationStore, Parts
from pneumo_core.errors import ActivationError, CacheFullError

ROOT = Path(__file__).parents[2]
KEY = ActivationKey(
    images="i", image_size=32, preprocessing={"contrast": "none"}, pixel_scaling="unit", backbone="vgg16",
    weights="w", blocks=5, pooled=True, precision="float32", versions={"keras": "3"}, device="cpu", threads=1,
)  # fmt: skip
ROWS = np.random.default_rng(0).gamma(2, 3, (1300, 4, 5)).astype(np.float32)  # three parts of 512


class Computer:
    """Gives rows of ROWS and counts them."""

    def __init__(self, rows: np.ndarray = ROWS, fail_at: int | None = None) -> None:
        self.rows, self.fail_at, self.computed = rows, fail_at, 0

    def __call__(self, keys: Sequence[ActivationKey]) -> Parts:
        """As the store calls it."""
        return self._parts

    def _parts(self, start: int, stop: int) -> list[np.ndarray]:
        if self.fail_at is not None and start >= self.fail_at:
            raise KeyboardInterrupt
        self.computed += stop - start
        return [self.rows[start:stop]]


def test_an_entry_is_computed_once_and_then_read(tmp_path: Path) -> None:
    """Also by another process, which another store object stands for."""
    computer = Computer()
    for store in (ActivationStore(tmp_path), ActivationStore(tmp_path)):
        stored = store.get(KEY, ROWS.shape, computer)
        np.testing.assert_array_equal(stored[:], ROWS)
        np.testing.assert_array_equal(stored.take(np.array([7, 3, 1299]))[1:], ROWS[[3, 1299]])
    assert computer.computed == len(ROWS)
    assert stored.take(np.array([7, 3])).shape == (2, 4, 5)


CHANGES: dict[str, Any] = {
    "images": "j", "image_size": 64, "preprocessing": {"contrast": "clahe"}, "pixel_scaling": "caffe",
    "backbone": "vgg19", "weights": "v", "blocks": 4,
    "pooled": False, "precision": "float16", "versions": {"keras": "4"}, "device": "gpu", "threads": 2,
    "augmentation": "mild/0/1", "distortion": "rotation 10", "computed_in": "mixed_bfloat16", "batch": 32,
}  # fmt: skip


def test_every_determining_input_changes_the_address() -> None:
    """No field of the key is forgotten, and equal keys agree."""
    assert set(CHANGES) == {field.name for field in dataclasses.fields(ActivationKey)}
    addresses = {dataclasses.replace(KEY, **{name: value}).address() for name, value in CHANGES.items()}
    assert len(addresses | {KEY.address()}) == len(CHANGES) + 1
    assert dataclasses.replace(KEY).address() == KEY.address()


def test_entries_of_processors_keep_the_names_they_had_before_there_were_gpus() -> None:
    """What an earlier version computed is found again: fields that came later are left out at their old values."""
    fields = {name: value for name, value in dataclasses.asdict(KEY).items() if name not in ("computed_in", "batch")}
    assert KEY.address() == hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]


def test_float16_halves_the_size_and_rounds_a_little(tmp_path: Path) -> None:
    """Within half a thousandth of each value."""
    key = dataclasses.replace(KEY, precision="float16")
    stored = ActivationStore(tmp_path).get(key, ROWS.shape, Computer())
    np.testing.assert_allclose(stored[:], ROWS, rtol=5e-4)
    assert stored[:].dtype == np.float16
    assert (tmp_path / key.address() / "data.bin").stat().st_size == ROWS.size * 2


def test_values_beyond_float16_are_kept_as_float32_and_said(tmp_path: Path) -> None:
    """Found in a late part: everything before is written anew, nothing becomes infinite."""
    rows, told = ROWS.copy(), []
    rows[1200, 0, 0] = 70_000
    key = dataclasses.replace(KEY, precision="float16")
    stored = ActivationStore(tmp_path, told.append).get(key, rows.shape, Computer(rows))
    np.testing.assert_array_equal(stored[:], rows)
    assert told == ["activations exceed the range of float16; they are kept as float32"]


def test_what_is_no_number_is_not_kept(tmp_path: Path) -> None:
    """A NaN in the frozen layers is an error, not a cached error."""
    rows = ROWS.copy()
    rows[600] = np.nan
    with pytest.raises(ActivationError, match="not finite"):
        ActivationStore(tmp_path).get(KEY, rows.shape, Computer(rows))
    assert not (tmp_path / KEY.address()).exists()


def test_an_interrupted_computation_is_taken_up_where_it_was(tmp_path: Path) -> None:
    """Finished parts are kept, the rest is computed, the result is whole."""
    with pytest.raises(KeyboardInterrupt):
        ActivationStore(tmp_path).get(KEY, ROWS.shape, Computer(fail_at=1024))
    assert not (tmp_path / KEY.address()).exists()
    computer = Computer()
    np.testing.assert_array_equal(ActivationStore(tmp_path).get(KEY, ROWS.shape, computer)[:], ROWS)
    assert computer.computed == len(ROWS) - 1024


@pytest.mark.parametrize("damage", ["truncated", "changed", "no entry", "bad entry", "other shape"])
def test_a_damaged_entry_is_computed_anew(tmp_path: Path, damage: str) -> None:
    """Size and content are checked before the first use in a process."""
    ActivationStore(tmp_path).get(KEY, ROWS.shape, Computer())
    data, entry = (tmp_path / KEY.address() / name for name in ("data.bin", "entry.json"))
    if damage == "truncated":
        os.truncate(data, data.stat().st_size - 7)
    elif damage == "changed":
        with data.open("r+b") as file:
            file.seek(1000)
            file.write(b"\x01\x02\x03")
    elif damage == "no entry":
        entry.unlink()
    elif damage == "bad entry":
        entry.write_text("{")
    else:
        entry.write_text(json.dumps(json.loads(entry.read_text()) | {"shape": [1, 2]}))
    computer = Computer()
    np.testing.assert_array_equal(ActivationStore(tmp_path).get(KEY, ROWS.shape, computer)[:], ROWS)
    assert computer.computed == len(ROWS)


def test_a_shortened_unfinished_entry_is_begun_again(tmp_path: Path) -> None:
    """Rows that were noted but are not there are never filled with zeros."""
    with pytest.raises(KeyboardInterrupt):
        ActivationStore(tmp_path).get(KEY, ROWS.shape, Computer(fail_at=1024))
    os.truncate(tmp_path / f"{KEY.address()}.partial" / "data.bin", 1000)
    computer = Computer()
    np.testing.assert_array_equal(ActivationStore(tmp_path).get(KEY, ROWS.shape, computer)[:], ROWS)
    assert computer.computed == len(ROWS)


SCRIPT = """
import sys, time
from pathlib import Path
from tests.pneumo_core.test_activation_store import KEY, ROWS, ActivationStore
def compute(start, stop):
    with open(sys.argv[2], "a") as log: log.write(f"{start}\\n")
    time.sleep(0.5)
    return [ROWS[start:stop]]
store = ActivationStore(Path(sys.argv[1]))
stored = store.get(KEY, ROWS.shape, lambda keys: compute)
print("SUM", float(stored[:].sum()))
"""


def _start(folder: Path, log: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_compute_an_entry_once(tmp_path: Path) -> None:
    """One computes, the other waits and reads."""
    processes = [_start(tmp_path / "cache", tmp_path / "log") for _ in range(2)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert answers == [f"SUM {float(ROWS.sum())}\n"] * 2
    assert (tmp_path / "log").read_text().split() == ["0", "512", "1024"]


def test_a_killed_writer_leaves_its_parts_and_no_entry(tmp_path: Path) -> None:
    """SIGKILL in the last part: the next process computes that one, and the values are right."""
    log = tmp_path / "log"
    writer = _start(tmp_path / "cache", log)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and "1024" in log.read_text()):
        time.sleep(0.02)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert not (tmp_path / "cache" / KEY.address()).exists()
    answer, _ = _start(tmp_path / "cache", log).communicate(timeout=60)
    assert answer == f"SUM {float(ROWS.sum())}\n"
    assert log.read_text().split() == ["0", "512", "1024", "1024"]


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    """On a small tmpfs: refused in words; with space again the finished parts are used."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("needs root to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72k", "tmpfs", small], check=False).returncode:
        pytest.skip("this machine does not let root mount a file system")
    try:
        with pytest.raises(CacheFullError, match="the disk is full"):
            ActivationStore(small).get(KEY, ROWS.shape, Computer())
        assert not (small / KEY.address()).exists()
        subprocess.run(["mount", "-o", "remount,size=1m", small], check=True)
        computer = Computer()
        np.testing.assert_array_equal(ActivationStore(small).get(KEY, ROWS.shape, computer)[:], ROWS)
        assert computer.computed == len(ROWS) - 512
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_folder_that_cannot_be_one_is_one_clear_error(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ActivationError, match="cannot be used"):
        ActivationStore(tmp_path / "file").get(KEY, ROWS.shape, Computer())


def test_entries_are_listed_and_cleared(tmp_path: Path) -> None:
    """Finished and unfinished ones, with what they are; clearing gives the space back."""
    store = ActivationStore(tmp_path)
    assert store.entries() == []
    store.get(KEY, ROWS.shape, Computer())
    with pytest.raises(KeyboardInterrupt):
        store.get(dataclasses.replace(KEY, weights="v"), ROWS.shape, Computer(fail_at=512))
    entries = store.entries()
    assert {entry.about.get("image_size") for entry in entries} == {32, None}
    assert max(entry.size for entry in entries) > ROWS.nbytes
    assert store.clear() == sum(entry.size for entry in entries)
    assert ActivationStore(tmp_path).entries() == []


def test_an_entry_being_computed_is_not_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process's work is left alone."""
    store, other = ActivationStore(tmp_path), ActivationStore(tmp_path)

    def clears_in_between(start: int, stop: int) -> list[np.ndarray]:
        assert other.clear() == 0
        return [ROWS[start:stop]]

    assert len(ROWS) > module._PART_ROWS
    np.testing.assert_array_equal(store.get(KEY, ROWS.shape, lambda keys: clears_in_between)[:], ROWS)


OTHER = dataclasses.replace(KEY, pooled=False)


class Pass:
    """Gives ROWS for KEY and twice ROWS for any other key, and remembers what was computed together."""

    def __init__(self) -> None:
        self.together: list[list[ActivationKey]] = []

    def __call__(self, keys: Sequence[ActivationKey]) -> Parts:
        """As the store calls it."""
        self.together.append(list(keys))
        return lambda start, stop: [ROWS[start:stop] * (1 if key == KEY else 2) for key in keys]


def test_one_pass_computes_several_entries(tmp_path: Path) -> None:
    """What is needed along is there when it is asked for; what was there already is not computed again."""
    store, work = ActivationStore(tmp_path), Pass()
    stored = store.get(KEY, ROWS.shape, work, {OTHER: ROWS.shape, KEY: ROWS.shape})
    np.testing.assert_array_equal(stored[:], ROWS)
    assert work.together == [[KEY, OTHER]]
    assert store.holds(OTHER)
    np.testing.assert_array_equal(store.get(OTHER, ROWS.shape, work)[:], ROWS * 2)
    third = dataclasses.replace(KEY, blocks=4)
    store.get(third, ROWS.shape, work, {KEY: ROWS.shape, OTHER: ROWS.shape})
    assert work.together == [[KEY, OTHER], [third]]


def test_an_interrupted_pass_goes_on_where_each_entry_stopped(tmp_path: Path) -> None:
    """One entry had a part more than the other: nothing is computed that both have, nothing is lost."""
    store, starts = ActivationStore(tmp_path), []
    with pytest.raises(KeyboardInterrupt):
        store.get(KEY, ROWS.shape, Computer(fail_at=1024))

    def prepare(keys: Sequence[ActivationKey]) -> Parts:
        def parts(start: int, stop: int) -> list[np.ndarray]:
            starts.append(start)
            return Pass()(keys)(start, stop)

        return parts

    stored = store.get(KEY, ROWS.shape, prepare, {OTHER: ROWS.shape})
    np.testing.assert_array_equal(stored[:], ROWS)
    np.testing.assert_array_equal(store.get(OTHER, ROWS.shape, prepare)[:], ROWS * 2)
    assert starts == [0, 512, 1024]


def test_an_entry_too_wide_for_float16_does_not_disturb_the_other_of_its_pass(tmp_path: Path) -> None:
    """It alone begins anew as float32."""
    narrow, wide = (dataclasses.replace(key, precision="float16") for key in (KEY, OTHER))
    rows = ROWS.copy()
    rows[600, 0, 0] = 70_000

    def prepare(keys: Sequence[ActivationKey]) -> Parts:
        return lambda start, stop: [(ROWS if key == narrow else rows)[start:stop] for key in keys]

    store = ActivationStore(tmp_path)
    first = store.get(narrow, ROWS.shape, prepare, {wide: ROWS.shape})
    second = store.get(wide, ROWS.shape, prepare)
    assert (first.dtype, second.dtype) == (np.float16, np.float32)
    np.testing.assert_array_equal(first[:], ROWS.astype(np.float16))
    np.testing.assert_array_equal(second[:], rows)


def test_an_entry_that_another_process_computes_is_not_waited_for_along(tmp_path: Path) -> None:
    """Only what is needed now is worth waiting for."""
    store, other, work = ActivationStore(tmp_path), ActivationStore(tmp_path), Pass()
    with other._locked(OTHER.address()):
        store.get(KEY, ROWS.shape, work, {OTHER: ROWS.shape})
    assert work.together == [[KEY]]


SIZE = ROWS.nbytes + 2_000  # an entry with its description


def _keys(count: int) -> list[ActivationKey]:
    return [dataclasses.replace(KEY, weights=f"w{number}") for number in range(count)]


def test_the_budget_is_kept_by_removing_what_was_not_used_for_longest(tmp_path: Path) -> None:
    """Entries of processes that are gone go, the oldest first, and the user is told."""
    told: list[str] = []
    first, second, third = _keys(3)
    for age, key in ((200, second), (300, first)):
        ActivationStore(tmp_path).get(key, ROWS.shape, Pass())
        os.utime(tmp_path / key.address() / "entry.json", (time.time() - age,) * 2)
    store = ActivationStore(tmp_path, told.append, budget_bytes=2 * SIZE)
    store.get(third, ROWS.shape, Pass())
    assert [store.holds(key) for key in (first, second, third)] == [False, True, True]
    assert len(told) == 1
    assert first.address()[:12] in told[0]


def test_what_a_running_study_reads_is_never_removed(tmp_path: Path) -> None:
    """Not even beyond the budget; then that is said."""
    told: list[str] = []
    first, second = _keys(2)
    running = ActivationStore(tmp_path)
    stored = running.get(first, ROWS.shape, Pass())
    store = ActivationStore(tmp_path, told.append, budget_bytes=SIZE)
    store.get(second, ROWS.shape, Pass())
    assert store.holds(first)
    assert store.holds(second)
    assert "more than its budget" in told[0]
    np.testing.assert_array_equal(stored[:], ROWS * 2)


def test_what_a_study_is_known_to_need_is_kept(tmp_path: Path) -> None:
    """Also before it reads it; an entry that is not there is no error."""
    first, second = _keys(2)
    ActivationStore(tmp_path).get(first, ROWS.shape, Pass())
    running = ActivationStore(tmp_path)
    for key in (first, second):
        running.keep(key)
    ActivationStore(tmp_path, budget_bytes=SIZE).get(second, ROWS.shape, Pass())
    assert running.holds(first)


def test_a_killed_study_no_longer_holds_its_entries(tmp_path: Path) -> None:
    """The kernel gives a dead process's locks back, so its entries can make room."""
    log = tmp_path / "log"
    reader = subprocess.Popen(
        [sys.executable, "-c", SCRIPT + "\nsys.stdout.flush(); time.sleep(60)", str(tmp_path / "cache"), str(log)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert reader.stdout is not None
    assert reader.stdout.readline().startswith("SUM")
    store = ActivationStore(tmp_path / "cache", budget_bytes=SIZE)
    second, third = _keys(2)
    store.get(second, ROWS.shape, Pass())
    assert store.holds(KEY)
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    store.get(third, ROWS.shape, Pass())
    assert not store.holds(KEY)


def test_what_a_removal_left_behind_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """Killed between two files, it leaves a folder without description; the entry is computed along all the same."""
    store, work = ActivationStore(tmp_path), Pass()
    torn = tmp_path / OTHER.address()
    torn.mkdir()
    (torn / "data.bin").write_bytes(b"half")
    store.get(KEY, ROWS.shape, work, {OTHER: ROWS.shape})
    np.testing.assert_array_equal(store.get(OTHER, ROWS.shape, work)[:], ROWS * 2)


def test_listing_bears_entries_that_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may rename or remove an entry while this one looks at it."""
    store = ActivationStore(tmp_path)
    store.get(KEY, ROWS.shape, Pass())

    def gone(path: Path, pattern: str) -> object:
        if path != tmp_path:
            shutil.rmtree(path)
            return iter([path / "data.bin"])
        return iter([tmp_path / KEY.address()])

    monkeypatch.setattr(Path, "glob", gone)
    assert store.entries() == []
