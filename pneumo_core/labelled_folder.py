"""Any folder whose subfolders say what their images show: which images there are, and which class each is of.

Unlike `dataset`, nothing is asked of the layout but that a folder above each image, at any depth, has the name of a
class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from pneumo_core.dataset import Dataset, index_images
from pneumo_core.errors import DatasetError
from pneumo_core.images import IMAGE_ENDINGS
from pneumo_core.layout import FoundImage, entries, few, readable
from pneumo_core.places import absolute

TEST_FOLDER = "test"

_PATHOGENS = ("bacteria", "virus")


def index_labelled_folder(
    directory: Path,
    folders: Mapping[str, int],
    class_names: tuple[str, str],
    *,
    patient_pattern: str | None = None,
) -> Dataset:
    """Lists, hashes and fully decodes every image that lies under a folder with the name of a class.

    Args:
        directory: where to look, at any depth. The name of a `test` folder itself stays part of the paths, so that its
            images have the names that they have in their data set.
        folders: name of a class folder, in capitals or not → label.
        class_names: of label 0 and label 1.
        patient_pattern: see `pneumo_core.dataset.index_dataset`.

    Returns:
        The images, all of split `test`. The `subtype` of a positive one is the name of its folder, in lower case, where
        the file's name gives no pathogen. Files that cannot be used are in `skipped`.

    Raises:
        DatasetError: if there is no such folder, it cannot be read, it lacks images of a class, or a path names both
            classes.
    """
    directory = absolute(directory)
    root = directory.parent if directory.name == TEST_FOLDER else directory
    labels = {name.casefold(): label for name, label in folders.items()}
    left_out: Counter[str] = Counter()
    with readable(directory):
        if not directory.is_dir():
            got = "a file" if directory.exists() else "nothing there"
            raise DatasetError(f"{directory}: expected a folder of images, found {got}. Check --data.")
        files = sorted(file.relative_to(root).as_posix() for file in _images(directory, left_out))
    of_class = {path: folder for path in files if (folder := _class_folder(path, labels, root))}
    left_out["images in the folder of no class"] = len(files) - len(of_class)
    found = [FoundImage(path, labels[folder], TEST_FOLDER) for path, folder in of_class.items()]
    notes = [f"Left out: {what} ({count})." for what, count in sorted(left_out.items()) if count]
    dataset = index_images(root, found, class_names, notes=notes, patient_pattern=patient_pattern)
    _require_both_classes(directory, dataset, folders)
    _name_kinds(dataset.manifest, of_class)
    return dataset


def copies(manifest: pd.DataFrame) -> list[str]:
    """Returns sentences about files that are there more than once, byte for byte."""
    labels = manifest.groupby("content_hash")["label"]
    again = int(manifest["content_hash"].duplicated().sum())
    sentences = [f"{again} images are byte-identical copies of others; they count each time."] if again else []
    if torn := int((labels.nunique() > 1).sum()):
        sentences.append(f"{torn} images are in folders of both classes; one of the labels is wrong.")
    return sentences


def _images(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """Yields the image files at any depth. Linked folders are not entered: they may lead round in circles."""
    for entry in entries(folder):
        if entry.is_dir():
            if entry.is_symlink():
                left_out["linked folders"] += 1
            else:
                yield from _images(entry, left_out)
        elif entry.suffix.lower() in IMAGE_ENDINGS:
            yield entry
        else:
            left_out[f"files whose names do not end in {', '.join(IMAGE_ENDINGS)}"] += 1


def _class_folder(path: str, labels: Mapping[str, int], root: Path) -> str | None:
    """The innermost folder of a path that is of a class, in lower case."""
    named = [part.casefold() for part in path.split("/")[:-1] if part.casefold() in labels]
    if len({labels[name] for name in named}) > 1:
        raise DatasetError(f"{root / path}: expected a folder of one class above it, found folders of both.")
    return named[-1] if named else None


def _require_both_classes(directory: Path, dataset: Dataset, folders: Mapping[str, int]) -> None:
    counts = [int((dataset.manifest["label"] == label).sum()) for label in (0, 1)]
    if all(counts):
        return
    asked = [" or ".join(name for name, of in folders.items() if of == label) for label in (0, 1)]
    found = " and ".join(f"{count} of {name}" for name, count in zip(dataset.class_names, counts, strict=True))
    there = few(entry.name for entry in entries(directory) if entry.is_dir())
    skipped = dataset.skipped
    unusable = f"; {len(skipped)} files cannot be used, the first: {skipped[0].rstrip('.')}" if skipped else ""
    raise DatasetError(
        f"{directory}: expected images in folders {asked[0]} and {asked[1]}, found {found}; its folders are {there}"
        f"{unusable}. Say which folders are which class with --classes NEGATIVE,POSITIVE or --map FOLDER=CLASS; for "
        "images of one class take `tune predict`."
    )


def _name_kinds(manifest: pd.DataFrame, of_class: Mapping[str, str]) -> None:
    unnamed = ~manifest["subtype"].isin(_PATHOGENS)
    manifest.loc[unnamed, "subtype"] = manifest.loc[unnamed, "path"].map(of_class)
