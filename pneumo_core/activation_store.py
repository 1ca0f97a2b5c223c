"""Activations of the frozen prefix, computed once and kept on disk for every trial, split, seed and study.

An entry's address is a digest of everything that determines its values, so it is never wrong and never has to be
invalidated. Layout of a store: `<address>/data.bin` (rows, one for each image) and `<address>/entry.json`; an entry in
the making is `<address>.partial/`, and becomes `<address>/` by a rename when all of it is on disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from pneumo_core.durability import flush
from pneumo_core.errors import ActivationError, CacheFullError, PneumoError
from pneumo_core.pass_batch import BATCH
from pneumo_core.places import absolute

FLOAT16_MAX = 65_504.0
_PART_ROWS = 512  # at most, in multiples of 64 so that the batches of a pass are the same however it is cut up
_PART_BYTES = 500_000_000

Shape = tuple[int, ...]
Parts = Callable[[int, int], Sequence[np.ndarray]]
"""From the first row and the row after the last to float32 activations, one array for each entry of a pass."""

Prepare = Callable[[Sequence["ActivationKey"]], Parts]
"""Makes a pass that computes the given entries, in their order."""


@dataclasses.dataclass(frozen=True)
class ActivationKey:
    """Everything that determines activations, bit by bit.

    Attributes:
        images: digest over the images' contents, in the order of the rows.
        image_size: side of the square that images are resized to, in px.
        preprocessing: of the images, by name and value.
        pixel_scaling: as in `TrialConfig`.
        backbone: name of the network.
        weights: digest of its weights.
        blocks: how many of its blocks the prefix holds.
        pooled: whether the output is averaged over positions.
        precision: `float16` or `float32`, as asked for.
        versions: of the libraries that decode and compute, and of our own decoding.
        device: that computes.
        threads: of one operation; another number adds in another order.
        augmentation: of the images: empty, or the distortion's name, its seed and the number of the variant.
        distortion: the ranges that this name stands for.
        computed_in: precision that the network computes in, as in `TrialConfig`, and how if not operation by operation.
        batch: images that go through the network at once.
    """

    images: str
    image_size: int
    preprocessing: Mapping[str, str]
    pixel_scaling: str
    backbone: str
    weights: str
    blocks: int
    pooled: bool
    precision: str
    versions: Mapping[str, str]
    device: str
    threads: int
    augmentation: str = ""
    distortion: str = ""
    computed_in: str = "float32"
    batch: int = BATCH

    def __hash__(self) -> int:
        return hash(self.address())

    def address(self) -> str:
        """Returns the entry's name: the first 32 hex digits of a SHA-256 over all fields.

        What a processor always has is left out of those that came later, so that entries made before keep their names.
        """
        fields = dataclasses.asdict(self)
        for name in ("computed_in", "batch"):
            if fields[name] == getattr(ActivationKey, name):
                del fields[name]
        content = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class StoredActivations:
    """Some rows of an entry; slicing reads them from the memory map, in the precision they are kept in.

    Attributes:
        array: (N, ...) of the whole entry, float16 or float32, memory-mapped.
        rows: which of them, in which order.
        digest: SHA-256 (hex) of the whole entry's contents.
    """

    array: np.ndarray
    rows: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, selection: Any) -> np.ndarray:
        return np.asarray(self.array[self.rows[selection]])

    @property
    def shape(self) -> Shape:
        """Of all rows together."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def dtype(self) -> Any:
        """float16 or float32."""
        return self.array.dtype

    def take(self, rows: np.ndarray) -> StoredActivations:
        """Returns other rows of the same entry."""
        return dataclasses.replace(self, rows=rows)


@dataclasses.dataclass(frozen=True)
class PassTime:
    """What a pass took, as it is kept beside each entry that came of it.

    Attributes:
        duration_s: of the process that ended it; what an earlier one did before it was stopped is not counted.
        images: that this process computed.
        deepest: whether the pass went no further than this entry needed; else the time is not this entry's alone.
    """

    duration_s: float
    images: int
    deepest: bool


@dataclasses.dataclass(frozen=True)
class CacheEntry:
    """What is known of an entry.

    Attributes:
        address: name of the entry.
        size: on disk, in bytes.
        last_used: seconds since 1970.
        about: its key's fields, and when it was `created`, in seconds since 1970; empty for one in the making.
        digest: SHA-256 (hex) of its contents; empty for one in the making.
        made: what its pass took; None if that is not known, as of entries of earlier versions of this program.
    """

    address: str
    size: int
    last_used: float
    about: Mapping[str, Any]
    digest: str = ""
    made: PassTime | None = None


class ActivationStore:
    """A folder of entries that any number of processes may use at once.

    Args:
        folder: created when first needed.
        tell: takes sentences for the user.
        budget_bytes: what the folder shall hold at most; before a pass, the least recently used entries that no process
            reads are removed. What running studies need is kept even beyond it. None for no limit.
    """

    def __init__(
        self, folder: Path, tell: Callable[[str], None] = lambda text: None, budget_bytes: int | None = None
    ) -> None:
        self.folder, self._tell, self._budget_bytes = absolute(folder), tell, budget_bytes
        self._verified: dict[str, StoredActivations] = {}
        self._in_use: dict[str, IO[str]] = {}

    def get(
        self, key: ActivationKey, shape: Shape, prepare: Prepare, along: Mapping[ActivationKey, Shape] | None = None
    ) -> StoredActivations:
        """Returns an entry, which this process computes if no other has or does.

        Args:
            key: of the entry.
            shape: of the whole, (N, ...).
            prepare: makes a pass; called only if one is needed.
            along: other entries that the same pass shall compute, with their shapes, if they are not there.

        Raises:
            CacheFullError: if the disk is full; finished parts are kept for the next try.
            ActivationError: if the folder cannot be written, or activations are not finite numbers.

        Side effects:
            Writes the entries that are not there, may remove others to keep the budget, notes when the entry was last
            used, and keeps it from being removed for as long as this object lives.
        """
        address = key.address()
        if address not in self._verified:
            with self._errors(), self._locked(address):
                stored = self._open(address, shape)
                if stored is None:
                    self._compute({key: shape}, along or {}, prepare)
                    stored = self._open(address, shape)
                if stored is None:
                    raise ActivationError(f"cache {self.folder / address}: was written but cannot be read back.")
                self._share(address)
            self._verified[address] = stored
        with contextlib.suppress(OSError):
            os.utime(self.folder / address / "entry.json")
        return self._verified[address]

    def check_writable(self) -> None:
        """Makes sure that entries can be made.

        Raises:
            ActivationError: naming the folder and the reason.

        Side effects:
            Creates the folder.
        """
        with self._errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass

    def keep(self, key: ActivationKey) -> None:
        """Keeps an entry, if it is there, from being removed for as long as this object lives."""
        with self._errors(), self._locked(key.address(), wait=False) as mine:
            if mine and self.holds(key):
                self._share(key.address())

    def holds(self, key: ActivationKey) -> bool:
        """Returns whether an entry is there, whole by its looks."""
        return (self.folder / key.address() / "entry.json").is_file()

    def entries(self) -> list[CacheEntry]:
        """Returns all entries, the last used first."""
        folders = [path for path in self.folder.glob("*") if path.is_dir()] if self.folder.is_dir() else []
        found = [entry for path in folders if (entry := _describe(path))]
        return sorted(found, key=lambda entry: -entry.last_used)

    def clear(self) -> int:
        """Removes every entry that no process is computing, and returns the bytes that became free.

        Side effects:
            Deletes files. A process that has an entry mapped keeps its pages.
        """
        return sum(entry.size for entry in self.entries() if self._remove(entry, unless_used=False))

    def _open(self, address: str, shape: tuple[int, ...]) -> StoredActivations | None:
        """Maps an entry if it is whole: right size, and the very bytes that were written."""
        folder = self.folder / address
        try:
            entry = json.loads((folder / "entry.json").read_text())
            dtype, digest = np.dtype(entry["dtype"]), str(entry["digest"])
            array = np.memmap(folder / "data.bin", dtype=dtype, mode="r", shape=shape)
            whole = tuple(entry["shape"]) == shape and (folder / "data.bin").stat().st_size == array.nbytes
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole or _digest(folder / "data.bin") != digest:
            shutil.rmtree(folder, ignore_errors=True)  # damaged from outside; computed anew
            return None
        return StoredActivations(array, np.arange(shape[0]), digest)

    def _compute(
        self, required: Mapping[ActivationKey, Shape], along: Mapping[ActivationKey, Shape], prepare: Prepare
    ) -> None:
        """Computes the required entry, whose lock is held, and with it those whose lock is free."""
        with contextlib.ExitStack() as locks:
            wanted = dict(required)
            for key, shape in along.items():
                absent = key not in required and not self.holds(key)
                if absent and locks.enter_context(self._locked(key.address(), wait=False)) and not self.holds(key):
                    wanted[key] = shape
            self._make_room(wanted)
            writers = [_EntryWriter(self.folder, key, shape, self._tell) for key, shape in wanted.items()]
            begun, computed = time.perf_counter(), 0
            parts, part_rows = prepare(list(wanted)), _part_rows(list(wanted.values()))
            while unfinished := [writer for writer in writers if not writer.finished]:
                start = min(writer.done for writer in unfinished)
                stop = min(start + part_rows, unfinished[0].rows)
                outputs = parts(start, stop)
                computed += stop - start
                for writer, output in zip(writers, outputs, strict=True):
                    if writer.done == start and not writer.finished:
                        writer.append(output)
            duration_s, blocks = time.perf_counter() - begun, max(key.blocks for key in wanted)
            for key, writer in zip(wanted, writers, strict=True):
                writer.publish(PassTime(duration_s, computed, key.blocks == blocks))
                self._share(key.address())

    def _make_room(self, wanted: Mapping[ActivationKey, Shape]) -> None:
        """Removes what was not used for longest until the budget holds what is about to be computed."""
        if self._budget_bytes is None:
            return
        needed = sum(entry_bytes(key, shape) for key, shape in wanted.items())
        own = {key.address() for key in wanted}
        with self._locked("budget"):
            others = [entry for entry in self.entries() if entry.address.removesuffix(".partial") not in own]
            total = needed + sum(entry.size for entry in others)
            for entry in reversed(others):
                if total <= self._budget_bytes:
                    return
                if self._remove(entry, unless_used=True):
                    total -= entry.size
                    self._tell(f"cache: removed {entry.address[:12]}, {entry.size / 1e6:.0f} MB, to keep to its budget")
        if total > self._budget_bytes:
            self._tell(
                f"cache: running studies need {total / 1e9:.2f} GB, more than its budget of "
                f"{self._budget_bytes / 1e9:.2f} GB; nothing that they need is removed"
            )

    def _remove(self, entry: CacheEntry, *, unless_used: bool) -> bool:
        """Removes an entry that nobody computes; returns whether it did."""
        address, folder = entry.address.removesuffix(".partial"), self.folder / entry.address
        with self._errors(), self._locked(address, wait=False) as mine:
            if not mine or not folder.is_dir() or (unless_used and self._is_used(address)):
                return False
            shutil.rmtree(folder)
            return True

    def _share(self, address: str) -> None:
        """Says, for as long as this object lives, that this process reads the entry, whose lock is held."""
        if address not in self._in_use:
            file = (self.folder / f".{address}.use").open("w")
            fcntl.flock(file, fcntl.LOCK_SH)
            self._in_use[address] = file

    def _is_used(self, address: str) -> bool:
        with (self.folder / f".{address}.use").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextlib.contextmanager
    def _locked(self, address: str, *, wait: bool = True) -> Iterator[bool]:
        """Holds the entry's lock; yields whether it was to be had. The kernel frees a killed process's locks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{address}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except PneumoError:
            raise  # says what is wrong already, and may be an OSError too
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CacheFullError(
                    f"cache {self.folder}: the disk is full; free some space (`tune cache clear`) or name another "
                    "folder with --cache. What was computed so far is kept."
                ) from error
            raise ActivationError(
                f"cache {self.folder}: cannot be used ({error}); name another with --cache."
            ) from error


class _EntryWriter:
    """Appends an entry's parts, noting each when it is on disk, and gives the entry its name when all of it is.

    Args:
        folder: of the store.
        key: of the entry, whose lock is held.
        shape: of the whole, (N, ...).
        tell: takes sentences for the user.

    Attributes:
        rows: N.
        done: how many of them are on disk.
    """

    def __init__(self, folder: Path, key: ActivationKey, shape: Shape, tell: Callable[[str], None]) -> None:
        self._key, self._shape, self._tell = key, shape, tell
        self._whole = folder / key.address()
        self._folder = folder / f"{key.address()}.partial"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._dtype = _unfinished_dtype(self._folder, key.precision)
        self.rows, self.done = shape[0], _progress(self._folder, self._row_bytes)

    @property
    def finished(self) -> bool:
        """Whether all rows are on disk."""
        return self.done >= self.rows

    def append(self, part: np.ndarray) -> None:
        """Writes the next rows; if float16 is too narrow for them, the entry begins anew as float32."""
        if not np.isfinite(part).all():
            raise ActivationError("activations: the frozen layers give values that are not finite numbers.")
        if self._dtype == np.float16 and np.abs(part).max(initial=0) > FLOAT16_MAX:
            self._tell("activations exceed the range of float16; they are kept as float32")
            self._dtype, self.done = np.dtype("float32"), 0
            _note_progress(self._folder, 0, self._dtype)
            return
        with (self._folder / "data.bin").open("ab") as file:
            file.truncate(self.done * self._row_bytes)
            file.write(part.astype(self._dtype).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.done += len(part)
        _note_progress(self._folder, self.done, self._dtype)

    def publish(self, made: PassTime) -> None:
        """Describes the entry and gives it its name."""
        about = dataclasses.asdict(self._key) | {"created": time.time()}
        digest = _digest(self._folder / "data.bin")
        entry = {"shape": self._shape, "dtype": str(self._dtype), "digest": digest, "about": about}
        entry["pass"] = dataclasses.asdict(made)
        _write_synced(self._folder / "entry.json", json.dumps(entry, indent=2).encode())
        (self._folder / "progress.json").unlink()
        shutil.rmtree(self._whole, ignore_errors=True)  # what a removal that was cut short left behind
        self._folder.rename(self._whole)

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self._shape[1:])) * self._dtype.itemsize


def _part_rows(shapes: Sequence[Shape]) -> int:
    row_bytes = 4 * sum(int(np.prod(shape[1:])) for shape in shapes)
    return min(_PART_ROWS, max(64, _PART_BYTES // row_bytes // 64 * 64))


def entry_bytes(key: ActivationKey, shape: Shape) -> int:
    """Returns how much room an entry takes, if float16, where it is asked for, suffices."""
    return int(np.prod(shape)) * np.dtype(key.precision).itemsize


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(folder: Path) -> CacheEntry | None:
    """What is known of an entry; None if another process is just removing or renaming it."""
    try:
        size = sum(path.stat().st_size for path in folder.glob("*"))
        described = folder / "entry.json"
        if not described.is_file():
            return CacheEntry(folder.name, size, folder.stat().st_mtime, {})
        entry = json.loads(described.read_text())
        made = PassTime(**entry["pass"]) if "pass" in entry else None
        return CacheEntry(folder.name, size, described.stat().st_mtime, entry["about"], entry["digest"], made)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return CacheEntry(folder.name, size, 0.0, {})


def _progress(folder: Path, row_bytes: int) -> int:
    """Rows that are known to be on disk."""
    try:
        rows = int(json.loads((folder / "progress.json").read_text())["rows"])
        return rows if (folder / "data.bin").stat().st_size >= rows * row_bytes else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _unfinished_dtype(folder: Path, precision: str) -> np.dtype:
    try:
        return np.dtype(str(json.loads((folder / "progress.json").read_text())["dtype"]))
    except (OSError, ValueError, KeyError, TypeError):
        return np.dtype(precision)


def _note_progress(folder: Path, rows: int, dtype: np.dtype) -> None:
    neighbour = folder / "progress.new"
    _write_synced(neighbour, json.dumps({"rows": rows, "dtype": str(dtype)}).encode())
    neighbour.rename(folder / "progress.json")


def _write_synced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    flush(path)
