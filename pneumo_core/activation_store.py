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
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumo_core.errors import ActivationError, CacheFullError

FLOAT16_MAX = 65_504.0
_PART_ROWS = 512


@dataclasses.dataclass(frozen=True)
class ActivationKey:
    """Everything that determines activations, bit by bit.

    Attributes:
        images: digest over the images' contents, in the order of the rows.
        image_size: side of the square that images are resized to, in px.
        pixel_scaling: as in `TrialConfig`.
        backbone: name of the network.
        weights: digest of its weights.
        blocks: how many of its blocks the prefix holds.
        pooled: whether the output is averaged over positions.
        precision: `float16` or `float32`, as asked for.
        libraries: versions of the libraries that decode and compute.
        threads: of one operation; another number adds in another order.
    """

    images: str
    image_size: int
    pixel_scaling: str
    backbone: str
    weights: str
    blocks: int
    pooled: bool
    precision: str
    libraries: Mapping[str, str]
    threads: int

    def address(self) -> str:
        """Returns the entry's name: the first 32 hex digits of a SHA-256 over all fields."""
        content = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class StoredActivations:
    """Some rows of an entry; slicing reads them from the memory map, as float32.

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
        return np.asarray(self.array[self.rows[selection]], dtype=np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together."""
        return (len(self.rows), *self.array.shape[1:])

    def take(self, rows: np.ndarray) -> StoredActivations:
        """Returns other rows of the same entry."""
        return dataclasses.replace(self, rows=rows)


@dataclasses.dataclass(frozen=True)
class CacheEntry:
    """What `tune cache list` shows.

    Attributes:
        address: name of the entry.
        size: on disk, in bytes.
        last_used: seconds since 1970.
        about: its key's fields; empty for one in the making.
    """

    address: str
    size: int
    last_used: float
    about: Mapping[str, Any]


class ActivationStore:
    """A folder of entries that any number of processes may use at once.

    Args:
        folder: created when first needed.
        tell: takes sentences for the user.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        self.folder, self._tell = folder.expanduser().absolute(), tell
        self._verified: dict[str, StoredActivations] = {}

    def get(
        self, key: ActivationKey, shape: tuple[int, ...], compute: Callable[[int, int], np.ndarray]
    ) -> StoredActivations:
        """Returns an entry, which this process computes if no other has or does.

        Args:
            key: of the entry.
            shape: of the whole, (N, ...).
            compute: from the first row and the row after the last to float32 activations.

        Raises:
            CacheFullError: if the disk is full; finished parts are kept for the next try.
            ActivationError: if the folder cannot be written, or activations are not finite numbers.

        Side effects:
            Writes the entry if it is not there; notes when it was last used.
        """
        address = key.address()
        if address not in self._verified:
            with self._errors(), self._locked(address):
                stored = self._open(address, shape)
                if stored is None:
                    self._compute(address, key, shape, compute)
                    stored = self._open(address, shape)
            if stored is None:
                raise ActivationError(f"cache {self.folder / address}: was written but cannot be read back.")
            self._verified[address] = stored
        with contextlib.suppress(OSError):
            os.utime(self.folder / address / "entry.json")
        return self._verified[address]

    def entries(self) -> list[CacheEntry]:
        """Returns all entries, the last used first."""
        folders = [path for path in self.folder.glob("*") if path.is_dir()] if self.folder.is_dir() else []
        return sorted((_describe(path) for path in folders), key=lambda entry: -entry.last_used)

    def clear(self) -> int:
        """Removes every entry that no process is computing, and returns the bytes that became free.

        Side effects:
            Deletes files. A process that has an entry mapped keeps its pages.
        """
        freed = 0
        for entry in self.entries():
            address = entry.address.removesuffix(".partial")
            with self._errors(), self._locked(address, wait=False) as mine:
                if mine:
                    shutil.rmtree(self.folder / entry.address)
                    freed += entry.size
        return freed

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
        self, address: str, key: ActivationKey, shape: tuple[int, ...], compute: Callable[[int, int], np.ndarray]
    ) -> None:
        folder = self.folder / f"{address}.partial"
        folder.mkdir(parents=True, exist_ok=True)
        dtype = _unfinished_dtype(folder, key.precision)
        while not self._write_rows(folder, dtype, shape, compute):
            self._tell("activations exceed the range of float16; they are kept as float32")
            dtype = np.dtype("float32")
            (folder / "data.bin").unlink()
            _note_progress(folder, 0, dtype)
        about = dataclasses.asdict(key) | {"created": time.time()}
        digest = _digest(folder / "data.bin")
        entry = {"shape": shape, "dtype": str(dtype), "digest": digest, "about": about}
        _write_synced(folder / "entry.json", json.dumps(entry, indent=2).encode())
        (folder / "progress.json").unlink()
        folder.rename(self.folder / address)

    def _write_rows(
        self, folder: Path, dtype: np.dtype, shape: tuple[int, ...], compute: Callable[[int, int], np.ndarray]
    ) -> bool:
        """Appends part after part, noting each when it is on disk; returns False if float16 is too narrow."""
        row_bytes = int(np.prod(shape[1:])) * dtype.itemsize
        done = _progress(folder, row_bytes)
        with (folder / "data.bin").open("ab") as file:
            file.truncate(done * row_bytes)
            for start in range(done, shape[0], _PART_ROWS):
                stop = min(start + _PART_ROWS, shape[0])
                part = compute(start, stop)
                if not np.isfinite(part).all():
                    raise ActivationError("activations: the frozen layers give values that are not finite numbers.")
                if dtype == np.float16 and np.abs(part).max(initial=0) > FLOAT16_MAX:
                    return False
                file.write(part.astype(dtype).tobytes())
                file.flush()
                os.fsync(file.fileno())
                _note_progress(folder, stop, dtype)
        return True

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
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise CacheFullError(
                    f"cache {self.folder}: the disk is full; free some space (`tune cache clear`) or name another "
                    "folder with --cache. What was computed so far is kept."
                ) from error
            raise ActivationError(
                f"cache {self.folder}: cannot be used ({error}); name another with --cache."
            ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(folder: Path) -> CacheEntry:
    size = sum(path.stat().st_size for path in folder.glob("*"))
    described = folder / "entry.json"
    try:
        about = json.loads(described.read_text())["about"]
        return CacheEntry(folder.name, size, described.stat().st_mtime, about)
    except (OSError, ValueError, KeyError):
        return CacheEntry(folder.name, size, folder.stat().st_mtime, {})


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
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
