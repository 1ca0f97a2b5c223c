"""From a folder of radiographs to a manifest: which images there are, of whom, showing what, and in which split.

The layout is that of the Kaggle data set: `train/`, `val/` and `test/`, each with one folder for each class. A folder
that holds the class folders themselves is taken for a `train/`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo_core.errors import DatasetError, ImageError
from pneumo_core.images import IMAGE_ENDINGS, SMALL_SIDE_PX, read_bytes, verify_image
from pneumo_core.layout import FoundImage, few, find_root, list_images, readable

COLUMNS = {
    "path": "str",
    "label": "int64",
    "subtype": "str",
    "group": "str",
    "split": "str",
    "content_hash": "str",
    "width_px": "int64",
    "height_px": "int64",
    "mode": "str",
    "bytes": "int64",
}
"""The manifest's columns and their types; `Dataset` says what they hold."""

FindPatient = Callable[[str], str | None]
"""Returns the patient that a path gives, or None."""

UNNAMED = "file names give no patient number"
"""Stands in the note about images whose patient is not known."""

_LISTED_FILES = 10
_PNEUMONIA_NAME = re.compile(r"person(\d+)_(bacteria|virus)_", re.IGNORECASE)
_NORMAL_NAME = re.compile(r"(NORMAL2-IM|IM)-(\d+)-", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A folder of radiographs, indexed.

    Attributes:
        root: the folder that paths are relative to.
        class_names: names of the class folders, negative first.
        manifest: one row for each image, sorted by path, with the columns
            `path` (relative to `root`, with `/`), `label` (0 negative, 1 positive),
            `subtype` (`bacteria` or `virus` where the name of a positive image says so, else its class name in lower
            case, so `normal` for NORMAL), `group` (the patient, as far as known; no group may be divided between
            training and scoring), `split` (`train`, `val` or `test`), `content_hash` (SHA-256 of the file, hex),
            `width_px`, `height_px`, `mode` (as `ImageHeader` has it), `bytes` (size of the file).
        skipped: files left out because they cannot be used as images, each with its reason.
        notes: sentences that the user should read: what was ignored or assumed.
        digest: SHA-256 (hex) over the (path, content hash, label) of all images. The place of the root and the order
            in which the file system lists files do not enter.
    """

    root: Path
    class_names: tuple[str, str]
    manifest: pd.DataFrame
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str


def index_dataset(
    directory: Path,
    *,
    class_names: tuple[str, str] = ("NORMAL", "PNEUMONIA"),
    skip_unreadable: bool = False,
    patient_pattern: str | None = None,
) -> Dataset:
    """Lists, hashes and fully decodes every image under a folder, so that a bad file is found before any training.

    Images belong to one group if their paths give the same patient (see `patient_of`) or if they are byte-identical.
    An image whose name gives no patient is a group of its own.

    Args:
        directory: the data set's root, or a folder that `find_root` finds it in.
        class_names: names of the class folders, negative first.
        skip_unreadable: leave files out that cannot be used as images, instead of refusing the folder.
        patient_pattern: regular expression that finds the patient in a path relative to the root: its group named
            `patient`, or its first group, or all that it matches. None for the names of the Kaggle data set.

    Raises:
        DatasetError: if there is no such folder, it cannot be read, it is laid out differently, one class has no
            images in `train/`, the pattern is not one or finds nobody, or (unless skipped) files cannot be used as
            images.
    """
    root = find_root(directory, class_names=class_names)
    notes: list[str] = []
    with readable(directory):
        found = list_images(root, class_names, notes)
    dataset = index_images(root, found, class_names, notes=notes, patient_pattern=patient_pattern)
    if dataset.skipped and not skip_unreadable:
        raise _unreadable(root, dataset.skipped)
    _require_both_classes(root, dataset.manifest, class_names)
    return dataset


def index_images(
    root: Path,
    found: Sequence[FoundImage],
    class_names: tuple[str, str],
    *,
    notes: Sequence[str] = (),
    patient_pattern: str | None = None,
) -> Dataset:
    """Hashes and fully decodes images that were found; those that cannot be used are left out.

    Args:
        root: that their paths are relative to.
        found: sorted by path.
        class_names: of label 0 and label 1.
        notes: that the data set shall have besides those about sizes and patients.
        patient_pattern: see `index_dataset`.

    Raises:
        DatasetError: if the pattern is not one or finds nobody.
    """
    find_patient = patient_of if patient_pattern is None else _patient_finder(patient_pattern)
    rows, skipped = _examine(root, found, class_names, find_patient)
    manifest = _manifest(rows)
    unnamed = sum(find_patient(path) is None for path in manifest["path"])
    if patient_pattern is not None and len(manifest) and unnamed == len(manifest):
        raise DatasetError(
            f"--patient-pattern {patient_pattern}: expected to find patients in paths such as {manifest['path'][0]}, "
            "found none. Name the part that is the patient, for example '(?P<patient>[^/_]+)_'."
        )
    every_note = (*notes, *_size_notes(manifest), *_patient_notes(manifest, unnamed))
    return Dataset(root, class_names, manifest, tuple(skipped), every_note, _digest(manifest))


def patient_of(path: str) -> str | None:
    """Returns the patient that the name of a file gives, or None.

    `person1949_bacteria_4880.jpeg` gives `bacteria-1949`, `IM-0115-0001.jpeg` gives `IM-0115`. Bacteria, virus and the
    two families of normal images (`IM`, `NORMAL2-IM`) count their patients apart, so equal numbers mean nothing there.
    """
    name = path.rpartition("/")[2]
    if match := _PNEUMONIA_NAME.match(name):
        return f"{match[2].lower()}-{match[1]}"
    if match := _NORMAL_NAME.match(name):
        return f"{match[1].upper()}-{match[2]}"
    return None


def _patient_finder(pattern: str) -> FindPatient:
    """A function like `patient_of` that follows a pattern."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DatasetError(
            f"--patient-pattern {pattern}: expected a regular expression, got one with a mistake ({error})."
        ) from None
    group = "patient" if "patient" in compiled.groupindex else min(compiled.groups, 1)

    def find(path: str) -> str | None:
        match = compiled.search(path)
        return f"{match[group]}" if match and match[group] else None

    return find


def rows_of_test(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the test folder, sorted by path."""
    return manifest[manifest["split"] == "test"].sort_values("path", ignore_index=True)


def digest_of_test(manifest: pd.DataFrame) -> str:
    """Returns the SHA-256 (hex) over the (path, content hash, label) of all images of the test folder.

    As in `Dataset.digest`, neither the place of the root nor the order of rows enters; other images do not either.
    """
    return _digest(rows_of_test(manifest))


def _examine(
    root: Path, found: Sequence[FoundImage], class_names: tuple[str, str], find_patient: FindPatient
) -> tuple[list[dict[str, Any]], list[str]]:
    """Reads every image once, on all processors; returns the rows, and the reasons against unusable files."""

    def row_or_reason(image: FoundImage) -> dict[str, Any] | str:
        try:
            return _row(root, image, class_names, find_patient)
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(row_or_reason, found))
    return [r for r in results if not isinstance(r, str)], [r for r in results if isinstance(r, str)]


def _row(root: Path, image: FoundImage, class_names: tuple[str, str], find_patient: FindPatient) -> dict[str, Any]:
    if not _is_utf8(image.path):
        raise ImageError(f"{image.path!r}: expected a name in UTF-8, got other bytes. Rename the file.")
    data = read_bytes(root / image.path, name=image.path)
    header = verify_image(data, name=image.path)
    pathogen = _PNEUMONIA_NAME.match(image.path.rpartition("/")[2])
    return {
        **dataclasses.asdict(image),
        "subtype": pathogen[2].lower() if pathogen and image.label else class_names[image.label].lower(),
        "group": find_patient(image.path) or image.path,
        "content_hash": hashlib.sha256(data).hexdigest(),
        **dataclasses.asdict(header),
        "bytes": len(data),
    }


def _is_utf8(text: str) -> bool:
    return text.encode(errors="replace").decode() == text


def _manifest(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    manifest = pd.DataFrame(rows, columns=list(COLUMNS))
    manifest["group"] = _join_groups(list(manifest["group"]), list(manifest["content_hash"]))
    return manifest.astype(COLUMNS)


def _join_groups(groups: Sequence[str], hashes: Sequence[str]) -> list[str]:
    """Joins groups that share a file (union-find); a joined group bears the smallest of its names."""
    parent = {group: group for group in groups}

    def top(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    first_with: dict[str, str] = {}
    for group, content in zip(groups, hashes, strict=True):
        smaller, larger = sorted((top(group), top(first_with.setdefault(content, group))))
        parent[larger] = smaller
    return [top(group) for group in groups]


def _digest(manifest: pd.DataFrame) -> str:
    rows = zip(manifest["path"], manifest["content_hash"], manifest["label"], strict=True)
    lines = "".join(f"{path}\0{content}\0{label}\n" for path, content, label in rows)
    return hashlib.sha256(lines.encode()).hexdigest()


def _size_notes(manifest: pd.DataFrame) -> Iterator[str]:
    small = manifest["path"][manifest[["width_px", "height_px"]].min(axis=1) < SMALL_SIDE_PX].tolist()
    if small:
        what = f"{len(small)} images are" if len(small) > 1 else "1 image is"
        yield f"{what} smaller than {SMALL_SIDE_PX} px a side, the first: {small[0]}. Use originals, not thumbnails."


def _patient_notes(manifest: pd.DataFrame, unnamed: int) -> Iterator[str]:
    if unnamed:
        yield (
            f"{unnamed} of {len(manifest)} {UNNAMED}; each of these images is treated as its "
            "own patient. Where names give it in another way, say how with --patient-pattern."
        )
    in_test = manifest["split"] == "test"
    if shared := set(manifest["group"][in_test]) & set(manifest["group"][~in_test]):
        yield f"Patients with images both in test/ and outside it, which flatters test scores: {few(sorted(shared))}."


def _require_both_classes(root: Path, manifest: pd.DataFrame, class_names: tuple[str, str]) -> None:
    labels = manifest["label"][manifest["split"] == "train"]
    counts = {name: int((labels == label).sum()) for label, name in enumerate(class_names)}
    if not all(counts.values()):
        folder = root / "train" if (root / "train").is_dir() else root
        found = " and ".join(f"{count} of {name}" for name, count in counts.items())
        raise DatasetError(
            f"{folder}: expected images ({', '.join(IMAGE_ENDINGS)}) of both classes, found {found}. "
            "Add the missing ones, or name other class folders with --classes NEGATIVE,POSITIVE."
        )


def _unreadable(root: Path, reasons: Sequence[str]) -> DatasetError:
    shown = list(reasons[:_LISTED_FILES])
    if len(reasons) > len(shown):
        shown.append(f"and {len(reasons) - len(shown)} more")
    problem = f"{root}: expected whole images, found {len(reasons)} files that cannot be used as such."
    do = "Replace or remove them, or leave them out with --skip-unreadable:"
    return DatasetError("\n  ".join([f"{problem} {do}", *shown]))
