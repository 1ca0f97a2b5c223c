"""Indexing: which files are images, of whom, in which split, and what a user is told about the rest."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from odd_files import CONVERTED, REFUSED, WARNED, write_odd_files
from PIL import Image

from pneumo_core.dataset import COLUMNS, index_dataset, patient_of
from pneumo_core.errors import DatasetError
from pneumo_core.layout import find_root

KAGGLE = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/IM-0115-0002.jpeg",
    "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_bacteria_2.jpeg",
    "train/PNEUMONIA/person1_virus_6.jpeg",
    "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
    "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
    "test/PNEUMONIA/person3_virus_15.jpeg",
)


def picture(seed: int) -> bytes:
    """Returns a small JPEG, another for every seed."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (66, 80), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def fill(folder: Path, names: tuple[str, ...] = KAGGLE) -> Path:
    """Writes a different picture under each name and returns the folder."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(seed))
    return folder


def test_every_image_becomes_one_row(tmp_path: Path) -> None:
    """The manifest has the promised columns and types, one row for each file, sorted by path."""
    dataset = index_dataset(fill(tmp_path))
    manifest = dataset.manifest
    assert manifest["path"].tolist() == sorted(KAGGLE)
    assert manifest.index.tolist() == list(range(len(KAGGLE)))
    assert list(manifest.columns) == list(COLUMNS)
    assert {name: manifest[name].dtype.kind for name in ("label", "width_px", "bytes")} == dict.fromkeys(
        ("label", "width_px", "bytes"), "i"
    )
    assert (dataset.notes, dataset.skipped) == ((), ())


def test_a_row_says_what_the_file_shows(tmp_path: Path) -> None:
    """Label, subtype, group, split and header of one image are all right."""
    manifest = index_dataset(fill(tmp_path)).manifest.set_index("path")
    row = manifest.loc["train/PNEUMONIA/person1_virus_6.jpeg"]
    assert row[["label", "subtype", "group", "split"]].tolist() == [1, "virus", "virus-1", "train"]
    size = len(picture(5))
    assert row[["width_px", "height_px", "mode", "bytes"]].tolist() == [80, 66, "L", size]
    normal = manifest.loc["val/NORMAL/NORMAL2-IM-1427-0001.jpeg"]
    assert normal[["label", "subtype", "group", "split"]].tolist() == [0, "normal", "NORMAL2-IM-1427", "val"]


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1949_bacteria_4880.jpeg", "bacteria-1949"),
        ("person1949_virus_4880.jpeg", "virus-1949"),
        ("person1438_virus_2456_3.jpeg", "virus-1438"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0543-0001-0002.jpeg", "IM-0543"),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115"),
        ("scan_17.png", None),
        ("person17.png", None),
        ("IM-0115-0001.jpeg/scan.png", None),
    ],
)
def test_names_give_patients(name: str, patient: str | None) -> None:
    """Each family of names counts its own patients; other names give none."""
    assert patient_of(f"train/ANY/{name}") == patient


def test_identical_files_join_their_patients(tmp_path: Path) -> None:
    """A file filed under three patients makes one group of them, named after the smallest, whatever the order."""
    fill(tmp_path)
    folder = tmp_path / "train/PNEUMONIA"
    for name in ("person9_virus_1.jpeg", "person7_bacteria_1.jpeg"):
        shutil.copy(folder / "person1_bacteria_1.jpeg", folder / name)
    shutil.copy(folder / "person1_virus_6.jpeg", folder / "person9_virus_2.jpeg")
    manifest = index_dataset(tmp_path).manifest
    joined = manifest["path"][manifest["group"] == "bacteria-1"]
    assert [path.rpartition("/")[2] for path in joined] == [
        "person1_bacteria_1.jpeg",
        "person1_bacteria_2.jpeg",
        "person1_virus_6.jpeg",
        "person7_bacteria_1.jpeg",
        "person9_virus_1.jpeg",
        "person9_virus_2.jpeg",
    ]


def test_names_without_a_patient_are_patients_of_their_own(tmp_path: Path) -> None:
    """Each such image is a group, and the user is told how many there are."""
    fill(tmp_path, (*KAGGLE, "train/NORMAL/a.png", "train/NORMAL/b.PNG", "val/NORMAL/a.png"))
    dataset = index_dataset(tmp_path)
    unnamed = dataset.manifest["path"].str.lower().str.endswith(".png")
    assert dataset.manifest["group"][unnamed].tolist() == dataset.manifest["path"][unnamed].tolist()
    assert dataset.notes == (
        "3 of 13 file names give no patient number; each of these images is treated as its own patient. Where names "
        "give it in another way, say how with --patient-pattern.",
    )


def test_other_classes_are_carried_through(tmp_path: Path) -> None:
    """Class names are folder names; the first is negative, and subtypes fall back on them."""
    fill(tmp_path, ("train/sick/person1_a.png", "train/well/b.png", "train/sick/person1_virus_1.jpeg"))
    manifest = index_dataset(tmp_path, class_names=("well", "sick")).manifest
    assert manifest["label"].tolist() == [1, 1, 0]
    assert manifest["subtype"].tolist() == ["sick", "virus", "well"]


def test_class_folders_without_splits_are_training_data(tmp_path: Path) -> None:
    """A folder that holds the class folders is a train folder."""
    dataset = index_dataset(fill(tmp_path, ("NORMAL/IM-0001-0001.jpeg", "PNEUMONIA/person1_virus_1.jpeg")))
    assert dataset.root == tmp_path
    assert dataset.manifest["split"].tolist() == ["train", "train"]


def kaggle_delivery(folder: Path) -> Path:
    """Writes what kagglehub leaves behind: the data set, a nested copy of it, and what macOS adds."""
    root = fill(folder / "versions/2/chest_xray")
    shutil.copytree(root, folder / "copy")
    shutil.move(folder / "copy", root / "chest_xray")
    for place in (root / "train/NORMAL", root / "__MACOSX/chest_xray/train/NORMAL"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "._IM-0115-0001.jpeg").write_bytes(b"\0\5\x16\7")
        (place / ".DS_Store").write_bytes(b"\0")
    return root


def test_kagglehubs_delivery_is_counted_once(tmp_path: Path) -> None:
    """The nested copy, `__MACOSX`, `._*` and `.DS_Store` neither count nor disturb, nor are they worth a note."""
    root = kaggle_delivery(tmp_path)
    dataset = index_dataset(tmp_path)
    assert dataset.root == root
    assert dataset.manifest["path"].tolist() == sorted(KAGGLE)
    assert dataset.notes == ()


@pytest.mark.parametrize("start", [".", "versions/2", "versions/2/chest_xray"])
def test_the_root_is_found_from_any_folder_above(tmp_path: Path, start: str) -> None:
    """A user may name the cache folder, the version or the data set itself."""
    root = kaggle_delivery(tmp_path)
    assert find_root(tmp_path / start) == root


def test_two_data_sets_are_not_chosen_between(tmp_path: Path) -> None:
    """Two versions side by side are refused by name instead of one being taken."""
    for version in ("1", "2"):
        fill(tmp_path / "versions" / version / "chest_xray")
    with pytest.raises(DatasetError, match=r"expected one data set, found .*1/chest_xray, .*2/chest_xray"):
        find_root(tmp_path)


def test_moving_or_reordering_changes_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest and the manifest depend on neither the place of the root nor the order of directory listings."""
    here = index_dataset(fill(tmp_path / "here"))
    fill(tmp_path / "there/deeper")
    listing = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: sorted(listing(folder), reverse=True))
    there = index_dataset(tmp_path / "there")
    assert here.digest == there.digest
    assert here.manifest.equals(there.manifest)


@pytest.mark.parametrize("change", ["content", "label", "path", "removal"])
def test_any_change_of_the_data_changes_the_digest(tmp_path: Path, change: str) -> None:
    """Other bytes, another class, another name, one image less: each is another data set."""
    before = index_dataset(fill(tmp_path)).digest
    image = tmp_path / KAGGLE[0]
    if change == "content":
        image.write_bytes(picture(99))
    elif change == "label":
        image.rename(tmp_path / "train/PNEUMONIA" / image.name)
    elif change == "path":
        image.rename(image.with_name("IM-0115-0009.jpeg"))
    else:
        image.unlink()
    assert index_dataset(tmp_path).digest != before


def spoil(root: Path) -> dict[str, str]:
    """Adds one file of each unusable kind; returns their names with a word of the reason."""
    folder = root / "train/NORMAL"
    (folder / "IM-9001-0001.jpeg").write_bytes(picture(1)[:-30])
    (folder / "IM-9002-0001.jpeg").write_text("text")
    (folder / "IM-9003-0001.jpeg").touch()
    (folder / "IM-9004-0001.jpeg").symlink_to(folder / "nowhere.jpeg")
    os.mkfifo(folder / "IM-9005-0001.jpeg")
    reasons = ("cannot be decoded", "begins with b'text'", "an empty file", "no such file", "device or pipe")
    return {f"IM-900{number}": reason for number, reason in enumerate(reasons, start=1)}


def test_unusable_files_are_refused_together(tmp_path: Path) -> None:
    """One error names every one of them with its reason, and says how to go on without them."""
    expected = spoil(fill(tmp_path))
    with pytest.raises(DatasetError) as caught:
        index_dataset(tmp_path)
    first, *listed = str(caught.value).splitlines()
    assert "found 5 files" in first
    assert "--skip-unreadable" in first
    for line, (name, reason) in zip(listed, expected.items(), strict=True):
        assert name in line
        assert reason in line


def test_unusable_files_are_skipped_on_request(tmp_path: Path) -> None:
    """They leave no row, and each is reported."""
    expected = spoil(fill(tmp_path))
    dataset = index_dataset(tmp_path, skip_unreadable=True)
    assert dataset.manifest["path"].tolist() == sorted(KAGGLE)
    assert all(name in reason for name, reason in zip(expected, dataset.skipped, strict=True))


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such names itself")
def test_names_of_other_encodings_are_refused(tmp_path: Path) -> None:
    """A name that no JSON or CSV file could hold is reported at once, in characters that can be printed."""
    folder = fill(tmp_path) / "train/NORMAL"
    Path(os.fsdecode(os.fsencode(folder) + b"/IM-9001-\xff.jpeg")).write_bytes(picture(2))
    with pytest.raises(DatasetError, match=r"IM-9001-\\udcff.jpeg': expected a name in UTF-8") as caught:
        index_dataset(tmp_path)
    assert str(caught.value).replace("\n", "").isprintable()


def test_a_long_list_of_unusable_files_is_cut(tmp_path: Path) -> None:
    """Ten are named and the others counted."""
    fill(tmp_path)
    for number in range(13):
        (tmp_path / f"train/NORMAL/IM-9{number:03}-0001.jpeg").touch()
    with pytest.raises(DatasetError, match="found 13 files") as caught:
        index_dataset(tmp_path)
    assert len(str(caught.value).splitlines()) == 12
    assert str(caught.value).endswith("and 3 more")


def test_skipping_cannot_empty_a_class(tmp_path: Path) -> None:
    """If only unusable images of a class exist, skipping them is an error and not a data set of one class."""
    fill(tmp_path, ("train/PNEUMONIA/person1_virus_1.jpeg",))
    (tmp_path / "train/NORMAL").mkdir()
    (tmp_path / "train/NORMAL/IM-0001-0001.jpeg").touch()
    with pytest.raises(DatasetError, match="found 0 of NORMAL and 1 of PNEUMONIA"):
        index_dataset(tmp_path, skip_unreadable=True)


LAYOUTS = {
    "empty": ((), "found nothing"),
    "loose images": (("a.png", "b.png"), r"class folders \(NORMAL, PNEUMONIA\) of images, found a.png, b.png"),
    "one class": (("train/NORMAL/a.png",), "of both classes, found 1 of NORMAL and 0 of PNEUMONIA"),
    "unknown classes": (("train/sick/a.png", "train/well/b.png"), "found sick, well. Name them with --classes"),
    "unknown classes, no splits": (("sick/a.png", "well/b.png"), "found sick, well. Name them with --classes"),
    "half known classes": (("train/NORMAL/a.png", "train/sick/b.png"), "found NORMAL, sick. Name them with --classes"),
    "unknown classes in test": (
        ("train/NORMAL/a.png", "train/PNEUMONIA/b.png", "test/sick/c.png"),
        "test: expected the class folders NORMAL and PNEUMONIA, found sick",
    ),
    "test only": (
        ("test/NORMAL/a.png", "test/PNEUMONIA/b.png", "val/NORMAL/a.png", "val/PNEUMONIA/b.png"),
        r"expected train/ .*, found test, val",
    ),
    "nothing to train on": (
        ("train/NORMAL/a.txt", "test/NORMAL/a.png", "test/PNEUMONIA/b.png"),
        "found 0 of NORMAL and 0 of PNEUMONIA",
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_other_layouts_are_refused_in_words(tmp_path: Path, case: str) -> None:
    """The message names the folder, what was expected and what lies there."""
    names, message = LAYOUTS[case]
    fill(tmp_path, names)
    with pytest.raises(DatasetError, match=message) as caught:
        index_dataset(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A mistyped path is an error of one line."""
    with pytest.raises(DatasetError, match="gone: expected a folder of images, found nothing there"):
        index_dataset(tmp_path / "gone")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """An archive given in place of its contents is refused."""
    (tmp_path / "chest_xray.zip").touch()
    with pytest.raises(DatasetError, match=r"zip: expected a folder of images, found a file"):
        index_dataset(tmp_path / "chest_xray.zip")


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing permissions are named with the folder."""
    fill(tmp_path)
    listing = Path.iterdir

    def guarded(folder: Path) -> object:  # stands in for chmod, which does not stop tests that run as root
        if folder.name == "PNEUMONIA":
            raise PermissionError(13, "Permission denied", str(folder))
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", guarded)
    with pytest.raises(DatasetError, match="PNEUMONIA: expected a readable folder, got: permission denied"):
        index_dataset(tmp_path)


@pytest.mark.parametrize("names", [("A", "A"), ("A", ""), ("A",), ("A", "B", "C"), ("A", ".."), ("A/B", "C")])
def test_class_names_must_be_two_different_ones(tmp_path: Path, names: tuple[str, str]) -> None:
    """A wrong `--classes` is named as such before any folder is looked at."""
    with pytest.raises(DatasetError, match="--classes: expected the names of two folders"):
        index_dataset(tmp_path, class_names=names)


@pytest.mark.timeout(20)
def test_links_in_circles_end(tmp_path: Path) -> None:
    """Links to folders above are neither followed for ever nor counted as images of the class they lie in."""
    root = fill(tmp_path / "data")
    (root / "train/NORMAL/up").symlink_to(root / "train")
    (tmp_path / "loop").symlink_to(tmp_path)
    dataset = index_dataset(tmp_path)
    assert dataset.manifest["path"].tolist() == sorted(KAGGLE)
    assert dataset.notes == ("Left out: linked folders (1).",)


@pytest.mark.timeout(20)
def test_a_search_among_circular_links_ends(tmp_path: Path) -> None:
    """A folder of nothing but links to itself is searched in finite time and refused."""
    for number in range(30):
        (tmp_path / f"link{number:02}").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match=r"found link00, .* and 25 more"):
        find_root(tmp_path)


def test_linked_files_and_splits_are_read(tmp_path: Path) -> None:
    """A data set put together from links to a store is as good as copies."""
    store = fill(tmp_path / "store")
    (tmp_path / "data/train/NORMAL").mkdir(parents=True)
    (tmp_path / "data/train/NORMAL/IM-0115-0001.jpeg").symlink_to(store / KAGGLE[0])
    (tmp_path / "data/train/PNEUMONIA").symlink_to(store / "train/PNEUMONIA")
    (tmp_path / "data/test").symlink_to(store / "test")
    assert index_dataset(tmp_path / "data").manifest["split"].value_counts().to_dict() == {"train": 4, "test": 2}


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """Files of other kinds, other classes, loose images and unknown splits are ignored, but not in silence."""
    others = ("train/NORMAL/notes.txt", "train/COVID/a.png", "train/b.png", "validation/NORMAL/c.png", "train/empty/d")
    assert index_dataset(fill(tmp_path, (*KAGGLE, *others))).notes == (
        "Ignored beside train/, val/ and test/: validation.",
        "Left out: files whose names do not end in .jpeg, .jpg, .png, .dcm, .dicom (1).",
        "Left out: images directly in train/, in the folder of no class (1).",
        "Left out: images in train/COVID/, which is neither NORMAL nor PNEUMONIA (1).",
    )


def test_patients_in_test_and_train_are_noted(tmp_path: Path) -> None:
    """A patient on both sides of the test folder is named before anybody trusts a score."""
    dataset = index_dataset(fill(tmp_path, (*KAGGLE, "test/PNEUMONIA/person1_bacteria_9.jpeg")))
    assert dataset.notes == (
        "Patients with images both in test/ and outside it, which flatters test scores: bacteria-1.",
    )


def test_the_real_radiographs_are_as_documented(real_data: Path) -> None:
    """Counts, 24 groups of byte-identical files, no patient in two splits, and nothing worth a note."""
    dataset = index_dataset(real_data / "chest_xray")
    manifest = dataset.manifest
    counts = manifest.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        ("train", 0): 1083, ("train", 1): 3469, ("val", 0): 8, ("val", 1): 8, ("test", 0): 250, ("test", 1): 398,
    }  # fmt: skip
    assert (manifest["content_hash"].value_counts() > 1).sum() == 24
    assert manifest.groupby("group")["split"].nunique().max() == 1
    assert set(manifest["subtype"]) == {"normal", "bacteria", "virus"}
    assert (dataset.notes, dataset.skipped) == ((), ())


def test_a_folder_with_odd_files_gets_the_documented_word_on_each(tmp_path: Path) -> None:
    """Refused files are all named with their reasons, at once; skipped, they leave what can be converted."""
    fill(tmp_path)
    write_odd_files(tmp_path / "train" / "NORMAL")
    with pytest.raises(DatasetError) as caught:
        index_dataset(tmp_path)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == len(REFUSED)
    for name, (_, word) in REFUSED.items():
        assert [line for line in lines if f"/{name}: expected" in line and word in line]
    dataset = index_dataset(tmp_path, skip_unreadable=True)
    assert len(dataset.skipped) == len(REFUSED)
    modes = dataset.manifest.set_index("path")["mode"]
    assert {name: modes[f"train/NORMAL/{name}"] for name in CONVERTED} == {
        name: mode for name, (_, mode) in CONVERTED.items()
    }
    assert set(WARNED) <= {path.rpartition("/")[2] for path in modes.index}
    assert "1 image is smaller than 64 px a side, the first: train/NORMAL/twenty.png" in dataset.notes[0]


def test_small_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    """63 px is small, 64 px is not; small images are used all the same."""
    fill(tmp_path)
    for name, size in (("a.png", (63, 900)), ("b.png", (64, 64)), ("c.png", (900, 8))):
        Image.new("L", size).save(tmp_path / "train" / "NORMAL" / name)
    dataset = index_dataset(tmp_path)
    assert "2 images are smaller than 64 px a side, the first: train/NORMAL/a.png." in dataset.notes[0]
    assert len(dataset.manifest) == len(KAGGLE) + 3
