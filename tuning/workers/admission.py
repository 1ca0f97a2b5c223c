"""What a worker of a cluster must be before it gets a trial: the same program, and the very same images."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import dask

from pneumo_core.errors import DatasetError, PneumoError
from pneumo_core.layout import find_root
from pneumo_core.places import resolved
from pneumo_core.provenance import package_versions
from tuning.attempt import DataSetup
from tuning.identity import code_digests, deciding_versions

_NAMED = 3  # files, or parts of the program, in one sentence


@dataclasses.dataclass(frozen=True)
class Program:
    """What of a program determines what a trial comes to.

    Attributes:
        python: its version.
        packages: versions of libraries, by name.
        code: digests of our own files, by name.
    """

    python: str
    packages: Mapping[str, str | None]
    code: Mapping[str, str]


@functools.cache  # a worker lives long: what is installed anew meanwhile is not what it runs
def program_here() -> Program:
    """Returns the program of this process, as it was when first asked."""
    versions = package_versions()
    return Program(versions["python"], deciding_versions(versions), code_digests())


def refusals_of_program(here: Program, there: Program) -> list[str]:
    """Returns why a worker's program cannot stand in for this one, a line for each difference.

    Args:
        here: of the study's process.
        there: of the worker. Another patch release of Python is none.
    """
    lines = []
    if _minor(here.python) != _minor(there.python):
        lines.append(f"it runs Python {there.python}, the study {here.python}")
    for name in sorted(here.packages.keys() | there.packages.keys()):
        study, worker = here.packages.get(name), there.packages.get(name)
        if study != worker:
            lines.append(f"it has {name} {worker or '(not installed)'}, the study {study}")
    differing = sorted(
        name for name in here.code.keys() | there.code.keys() if here.code.get(name) != there.code.get(name)
    )
    if differing:
        lines.append(
            f"its program differs from the study's in {_some(differing)}; install the same version, and start it again"
        )
    return lines


def at_this_worker(setup: DataSetup) -> DataSetup:
    """Returns a study's setup with the places that Dask's configuration names for this worker.

    `tune.data` (the folder of images) and `tune.cache` (that of activations), as in `DASK_TUNE__DATA`; what is not
    named is where it is for the study.
    """
    data, cache = dask.config.get("tune.data", None), dask.config.get("tune.cache", None)
    return dataclasses.replace(
        setup,
        root=_root(resolved(data), setup) if data else setup.root,
        cache=resolved(cache) if cache else setup.cache,
    )


def _root(folder: Path, setup: DataSetup) -> Path:
    """Where the images begin in a folder, as `--data` finds it."""
    with contextlib.suppress(DatasetError):  # what is missing is told image by image
        return find_root(folder, class_names=setup.class_names)
    return folder


def refusals_of_images(setup: DataSetup) -> list[str]:
    """Reads every image here and returns why they are not the study's, in one line; nothing if they are."""
    if not setup.root.is_dir():
        return [
            f"it has no folder {setup.root}; share it, or copy the images and name their folder to the worker: "
            "DASK_TUNE__DATA=..."
        ]
    missing, different = [], []
    for name, digest in zip(setup.pool["path"], setup.pool["content_hash"], strict=True):
        try:
            content = (setup.root / name).read_bytes()
        except OSError:
            missing.append(name)
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            different.append(name)
    kinds = [(names, what) for names, what in ((missing, "missing"), (different, "different")) if names]
    if not kinds:
        return []
    counts = " and ".join(f"{len(names):,} {what} ({_some(names)})" for names, what in kinds)
    return [f"its images in {setup.root} are not the study's: of {len(setup.pool):,}, {counts}"]


def refusals_of_weights(setup: DataSetup) -> list[str]:
    """Returns why the backbone weights here are not the study's, a line for each kind."""
    from pneumo_core.backbone import load_backbone_weights

    lines = []
    for (source, seed), digest in setup.weights.items():
        try:
            found = load_backbone_weights(source, seed).digest
        except PneumoError as error:
            lines.append(str(error))
            continue
        if found != digest:
            lines.append(f"its backbone weights {source} have digest {found[:12]}, the study's {digest[:12]}")
    return lines


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
