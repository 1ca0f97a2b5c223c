"""Which images a registered model's study knew, as digests of their files: to tell whether others are new to it.

The list goes with the model, wherever that goes. It gives away no picture, for nobody without the file can make its
digest; a file's name it gives away only to those who guess it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo_core.errors import ModelError

STUDY_IMAGES_FILE = "study_images.csv"
"""In a registered model's folder: part (`train` or `test`), content, name and patient of each image of its study."""

_DIGITS = 16  # 64 bits: among a million images two agree by chance once in 37 million such sets


@dataclasses.dataclass(frozen=True, eq=False)
class Acquaintance:
    """What of some images a model's study knew; each field is (N,) bool, in the order of the images.

    Attributes:
        trained: the same file trained or chose the model.
        tested: the same file lies in the study's test folder.
        namesakes: another file, but called as one of the study: perhaps the same picture, saved anew.
        patients: a patient of that name trained or chose it; says something only of data that name patients alike.
        test_images: how many that test folder has.
    """

    trained: Any
    tested: Any
    namesakes: Any
    patients: Any
    test_images: int


def write_study_images(folder: Path, manifest: pd.DataFrame) -> None:
    """Writes the digests of a study's images.

    Args:
        folder: of the model.
        manifest: of the study's data set.

    Side effects:
        Writes `STUDY_IMAGES_FILE`.
    """
    part = manifest["split"].map({"test": "test"}).fillna("train")
    digests = {
        "part": part,
        "content": _contents(manifest),
        "name": _names(manifest),
        "patient": _digests(manifest["group"]),
    }
    pd.DataFrame(digests).sort_values(["part", "content"]).to_csv(folder / STUDY_IMAGES_FILE, index=False)


def acquaintance(folder: Path, manifest: pd.DataFrame) -> Acquaintance | None:
    """Compares images with those of a model's study.

    Args:
        folder: of the model.
        manifest: of the images.

    Returns:
        What was known of them; None if the model has no such list, as those of earlier versions of this program.

    Raises:
        ModelError: if the list cannot be read.
    """
    known = _list_of(folder)
    if known is None:
        return None
    trained, tested = (known[known["part"] == part] for part in ("train", "test"))
    contents, names = _contents(manifest), _names(manifest)
    by_content = {part: contents.isin(of["content"]) for part, of in (("train", trained), ("test", tested))}
    namesakes = names.isin(known["name"]) & ~by_content["train"] & ~by_content["test"]
    patients = _digests(manifest["group"]).isin(trained["patient"])
    columns = [column.to_numpy() for column in (*by_content.values(), namesakes, patients)]
    return Acquaintance(columns[0], columns[1], columns[2], columns[3], len(tested))


def test_contents(folder: Path) -> set[str]:
    """Returns the digests of the files of the study's test folder, as of `content_digest`; none if it has no list.

    Raises:
        ModelError: if the list cannot be read.
    """
    known = _list_of(folder)
    return set() if known is None else set(known["content"][known["part"] == "test"])


def _list_of(folder: Path) -> pd.DataFrame | None:
    path = folder / STUDY_IMAGES_FILE
    if not path.is_file():
        return None
    try:
        known = pd.read_csv(path, dtype=str, keep_default_na=False)
        return known[["part", "content", "name", "patient"]]
    except (ValueError, KeyError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); promote the model again.") from error


def content_digest(encoded: bytes) -> str:
    """Returns the digest of a file's content that the list holds."""
    return hashlib.sha256(encoded).hexdigest()[:_DIGITS]


def _contents(manifest: pd.DataFrame) -> pd.Series:
    return manifest["content_hash"].str[:_DIGITS]


def _names(manifest: pd.DataFrame) -> pd.Series:
    """Digests of the files' names, without their endings, which change when an image is saved anew."""
    return _digests(manifest["path"].map(lambda path: Path(path).stem))


def _digests(words: pd.Series) -> pd.Series:
    return words.map(lambda word: hashlib.sha256(word.encode()).hexdigest()[:_DIGITS]).astype(str)
