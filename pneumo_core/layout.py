"""Where the images of a data set lie: the layout of the Kaggle data set, and what unpackers make of it.

`train/`, `val/` and `test/`, each with one folder for each class. A folder that holds the class folders themselves is
taken for a `train/`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pneumo_core.errors import DatasetError
from pneumo_core.images import IMAGE_ENDINGS

SPLITS = ("train", "val", "test")


_ROOT_DEPTH = 5


_LISTED_NAMES = 5


@dataclasses.dataclass(frozen=True)
class FoundImage:
    """An image file, before it is opened."""

    path: str
    label: int
    split: str


def find_root(directory: Path, *, class_names: tuple[str, str] = ("NORMAL", "PNEUMONIA")) -> Path:
    """Returns the folder that holds `train/`, or the class folders: `directory` itself or the shallowest under it.

    What kagglehub delivers holds the data set once more in a nested copy, and `__MACOSX/`; neither is of interest.

    Args:
        directory: where to look, five levels deep.
        class_names: names of the class folders, negative first.

    Raises:
        DatasetError: if there is no such folder, or several equally deep.
    """
    _check_class_names(class_names)
    with readable(directory):
        if not directory.is_dir():
            got = "a file" if directory.exists() else "nothing there"
            raise DatasetError(
                f"{directory}: expected a folder of images, found {got}. Pass --data DIR, demo or kaggle."
            )
        root = _shallowest(directory, lambda folder: _is_root(folder, class_names)) or _shallowest(
            directory, lambda folder: any(_images_in(child) for child in _folders_in(folder))
        )
        if root is None:
            raise DatasetError(
                f"{directory}: expected train/ (with val/ and test/) or class folders ({', '.join(class_names)}) of "
                f"images, found {few(e.name for e in entries(directory))}. Check the path given with --data."
            )
    return root


def _check_class_names(class_names: Sequence[str]) -> None:
    plain = [name for name in class_names if name.strip(".") and Path(name).name == name]
    if len(class_names) != 2 or len(set(plain)) != 2:
        got = ",".join(class_names)
        raise DatasetError(f"--classes: expected the names of two folders, negative first, got {got!r}.")


@contextmanager
def readable(directory: Path) -> Iterator[None]:
    """Turns what the operating system refuses into a `DatasetError` that names the place."""
    try:
        yield
    except OSError as error:
        place, reason = error.filename or directory, (error.strerror or str(error)).lower()
        raise DatasetError(f"{place}: expected a readable folder, got: {reason}. Check its permissions.") from error


def _is_root(folder: Path, class_names: tuple[str, str]) -> bool:
    return (folder / "train").is_dir() or all((folder / name).is_dir() for name in class_names)


def _shallowest(directory: Path, holds: Callable[[Path], bool]) -> Path | None:
    for level in _levels(directory):
        hits = [folder for folder in level if holds(folder)]
        if len(hits) > 1:
            raise DatasetError(f"{directory}: expected one data set, found {few(map(str, hits))}. Pass one of them.")
        if hits:
            return hits[0]
    return None


def _levels(directory: Path) -> Iterator[list[Path]]:
    """Yields the folder, its subfolders, theirs, and so on, each once a level however many links lead to it.

    Split folders are not entered: a test folder on its own must not be taken for training data.
    """
    level = [directory]
    for _ in range(_ROOT_DEPTH + 1):
        yield level
        below = [child for folder in level for child in _folders_in(folder) if child.name not in SPLITS]
        level = sorted({child.resolve(): child for child in reversed(below)}.values())


def list_images(root: Path, class_names: tuple[str, str], notes: list[str]) -> list[FoundImage]:
    """Lists the images of all splits, sorted by path, and adds to the notes what is left out."""
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if "train" not in folders:
        folders = {"train": root}
    elif others := [f.name for f in _folders_in(root) if f.name not in SPLITS and not _is_root(f, class_names)]:
        notes.append(f"Ignored beside train/, val/ and test/: {few(others)}.")
    left_out: Counter[str] = Counter()
    found = [
        FoundImage(file.relative_to(root).as_posix(), label, split)
        for split, folder in folders.items()
        for label, class_folder in _class_folders(folder, class_names, left_out)
        for file in image_files(class_folder, left_out)
    ]
    notes += [f"Left out: {what} ({count})." for what, count in sorted(left_out.items())]
    return sorted(found, key=lambda image: image.path)


def _class_folders(split: Path, class_names: tuple[str, str], left_out: Counter[str]) -> list[tuple[int, Path]]:
    """Returns the class folders of a split with their labels, and counts the images beside them."""
    known = [(label, split / name) for label, name in enumerate(class_names) if (split / name).is_dir()]
    strangers = [folder for folder in _folders_in(split) if folder.name not in class_names]
    others = {folder.name: count for folder in strangers if (count := len(image_files(folder, Counter())))}
    if others and len(known) < len(class_names):
        raise DatasetError(
            f"{split}: expected the class folders {' and '.join(class_names)}, found "
            f"{few(sorted([*others, *(folder.name for _, folder in known)]))}. Name them with "
            "--classes NEGATIVE,POSITIVE."
        )
    for name, count in others.items():
        left_out[f"images in {split.name}/{name}/, which is neither {' nor '.join(class_names)}"] = count
    if loose := len(_images_in(split)):
        left_out[f"images directly in {split.name}/, in the folder of no class"] = loose
    return known


def image_files(folder: Path, left_out: Counter[str]) -> list[Path]:
    """Lists the image files at any depth, by name, and counts what is left out.

    Linked folders are not entered: they may lead to the other class.
    """
    files = []
    for entry in entries(folder):
        if entry.is_dir():
            if entry.is_symlink():
                left_out["linked folders"] += 1
            else:
                files += image_files(entry, left_out)
        elif entry.suffix.lower() in IMAGE_ENDINGS:
            files.append(entry)
        else:
            left_out[f"files whose names do not end in {', '.join(IMAGE_ENDINGS)}"] += 1
    return files


def _images_in(folder: Path) -> list[Path]:
    return [entry for entry in entries(folder) if entry.suffix.lower() in IMAGE_ENDINGS and not entry.is_dir()]


def _folders_in(folder: Path) -> list[Path]:
    return [entry for entry in entries(folder) if entry.is_dir()]


def entries(folder: Path) -> list[Path]:
    """Lists a folder by name, without hidden files and what macOS adds to archives."""
    return sorted(entry for entry in folder.iterdir() if entry.name[0] != "." and entry.name != "__MACOSX")


def few(names: Iterable[str]) -> str:
    """Lists the first names, and says how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _LISTED_NAMES} more" if len(listed) > _LISTED_NAMES else ""
    return ", ".join(listed[:_LISTED_NAMES]) + more if listed else "nothing"
