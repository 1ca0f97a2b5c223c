"""Class folders are found wherever they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_core.errors import DatasetError
from pneumo_core.labelled_folder import copies, index_labelled_folder

NAMES = ("NORMAL", "PNEUMONIA")
FOLDERS = {"normal": 0, "Pneumonia": 1, "covid": 1}


def _write(root: Path, *paths: str) -> None:
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (70, 70), np.uint8)
        Image.fromarray(pixels).save(root / path)


def test_class_folders_may_lie_at_any_depth(tmp_path: Path) -> None:
    """In capitals or not; kinds are named by their folder, or by what a file's name says."""
    _write(tmp_path, "a/train/NORMAL/x.png", "b/Covid/deep/y.png", "PNEUMONIA/person1_virus_6.png", "loose/z.png")
    dataset = index_labelled_folder(tmp_path, FOLDERS, NAMES)
    rows = dataset.manifest[["path", "label", "subtype", "split"]].to_numpy().tolist()
    assert rows == [
        ["PNEUMONIA/person1_virus_6.png", 1, "virus", "test"],
        ["a/train/NORMAL/x.png", 0, "normal", "test"],
        ["b/Covid/deep/y.png", 1, "covid", "test"],
    ]
    assert "Left out: images in the folder of no class (1)." in dataset.notes


def test_a_test_folder_keeps_its_name_in_the_paths(tmp_path: Path) -> None:
    """So that it is the same set of images as in its data set."""
    _write(tmp_path, "test/NORMAL/x.png", "test/PNEUMONIA/y.png", "train/NORMAL/z.png")
    dataset = index_labelled_folder(tmp_path / "test", FOLDERS, NAMES)
    assert dataset.root == tmp_path
    assert dataset.manifest["path"].tolist() == ["test/NORMAL/x.png", "test/PNEUMONIA/y.png"]


def test_folders_that_say_too_little_or_too_much_are_refused(tmp_path: Path) -> None:
    """Nothing there, one class only, both classes over one image."""
    with pytest.raises(DatasetError, match="found nothing there"):
        index_labelled_folder(tmp_path / "none", FOLDERS, NAMES)
    _write(tmp_path, "NORMAL/x.png", "other/y.png")
    with pytest.raises(DatasetError, match="found 1 of NORMAL and 0 of PNEUMONIA; its folders are NORMAL, other"):
        index_labelled_folder(tmp_path, FOLDERS, NAMES)
    _write(tmp_path, "NORMAL/covid/z.png")
    with pytest.raises(DatasetError, match=r"NORMAL/covid/z\.png: expected a folder of one class above it"):
        index_labelled_folder(tmp_path, FOLDERS, NAMES)


def test_copies_are_told(tmp_path: Path) -> None:
    """Those that count twice, and those whose labels contradict each other."""
    _write(tmp_path, "normal/x.png", "covid/y.png")
    assert not copies(index_labelled_folder(tmp_path, FOLDERS, NAMES).manifest)
    shutil.copyfile(tmp_path / "normal/x.png", tmp_path / "covid/z.png")
    sentences = copies(index_labelled_folder(tmp_path, FOLDERS, NAMES).manifest)
    assert [sentence.partition(" images")[0] for sentence in sentences] == ["1", "1"]
    assert "both classes" in sentences[1]
