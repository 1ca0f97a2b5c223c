"""Duplicates: what counts as the same picture, and what that means for splits, labels and patients."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from pneumo_core.dataset import COLUMNS, index_dataset
from pneumo_core.duplicates import duplicate_findings, near_pairs
from pneumo_core.findings import Finding
from pneumo_core.images import read_images
from pneumo_core.phantom_set import write_phantoms
from pneumo_core.preprocessing import Gray, Preprocessing, preprocess


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Gray]:
    """Synthetic radiographs of different patients, 160 px."""
    root = write_phantoms(tmp_path_factory.mktemp("data"), patients=12, size_px=(160, 200))
    manifest = index_dataset(root).manifest.drop_duplicates("group")
    return list(read_images(root, list(manifest["path"]), 160)[..., 0])


def thumbnails(*pictures: Gray) -> np.ndarray:
    """Returns pictures as `duplicate_findings` takes them."""
    return np.stack([preprocess(picture, 64, Preprocessing()) for picture in pictures])


def manifest(*rows: tuple[str, int, str, str]) -> pd.DataFrame:
    """Returns a manifest of (path, label, patient, content hash); the split is the path's first part."""
    columns = dict.fromkeys(COLUMNS, 0)
    return pd.DataFrame(
        [
            {
                **columns,
                "path": path,
                "label": label,
                "group": group,
                "split": path[: path.index("/")],
                "content_hash": sha,
            }
            for path, label, group, sha in rows
        ]
    )


def said(findings: list[Finding]) -> dict[str, list[tuple[str, ...]]]:
    """Returns the paths of each kind of finding."""
    return {finding.kind: [case.paths for case in finding.cases] for finding in findings}


def recompressed(image: Image.Image) -> Image.Image:
    """Returns what a JPEG of low quality leaves."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": recompressed,
    "smaller": lambda image: image.resize((90, 90)),
    "another shape": lambda image: image.resize((310, 240)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_copy_is_a_near_duplicate(pictures: list[Gray], alteration: str) -> None:
    """Saving again, scaling and changing the exposure do not hide a copy, and nothing else is taken for one."""
    copy = np.asarray(ALTERATIONS[alteration](Image.fromarray(pictures[3])))
    pairs = near_pairs(thumbnails(*pictures, copy))
    assert [(pair.first, pair.second) for pair in pairs] == [(3, len(pictures))]


def test_radiographs_of_different_patients_are_no_duplicates(pictures: list[Gray]) -> None:
    """However alike chests look."""
    assert near_pairs(thumbnails(*pictures)) == []


@pytest.mark.parametrize("limit", [("MAX_HASH_DISTANCE", -1), ("MIN_CORRELATION", 1.1)])
def test_hash_and_pixels_have_to_agree_both(
    pictures: list[Gray], limit: tuple[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one of the two says no, there is no pair."""
    images = thumbnails(pictures[0], pictures[0])
    assert len(near_pairs(images)) == 1
    monkeypatch.setattr(f"pneumo_core.duplicates.{limit[0]}", limit[1])
    assert near_pairs(images) == []


def test_images_are_compared_across_blocks(pictures: list[Gray], monkeypatch: pytest.MonkeyPatch) -> None:
    """Dividing the work changes nothing."""
    images = thumbnails(*pictures, pictures[0], pictures[5], pictures[0])
    whole = near_pairs(images)
    monkeypatch.setattr("pneumo_core.duplicates._BLOCK", 3)
    assert near_pairs(images) == whole
    assert len(whole) == 4


def test_blank_images_are_like_nothing() -> None:
    """Two almost black images are blank, which is another finding, and no copies of one picture."""
    faint = np.random.default_rng(0).integers(0, 8, (64, 64), dtype=np.uint8)
    assert near_pairs(np.stack([np.zeros_like(faint), np.zeros_like(faint), faint, faint])) == []
    assert near_pairs(np.empty((0, 64, 64), np.uint8)) == []


def test_copies_are_judged_by_where_they_lie(pictures: list[Gray]) -> None:
    """Across test, under both labels, of one patient: each group of identical files stands where it belongs."""
    rows = (
        ("test/a", 0, "p", "1"), ("train/b", 0, "p", "1"),
        ("train/c", 0, "q", "2"), ("train/d", 1, "q", "2"),
        ("train/e", 1, "r", "3"), ("train/f", 1, "r", "3"),
        ("train/g", 1, "s", "4"),
    )  # fmt: skip
    index = [0, 0, 1, 1, 2, 2, 3]
    findings = duplicate_findings(manifest(*rows), thumbnails(*(pictures[number] for number in index)))
    assert said(findings) == {
        "identical-in-test-and-train": [("test/a", "train/b")],
        "identical-under-both-labels": [("train/c", "train/d")],
        "identical": [("train/e", "train/f")],
    }
    assert [finding.severity for finding in findings] == ["leak", "problem", "warning"]


def test_a_leak_under_both_labels_is_both(pictures: list[Gray]) -> None:
    """One finding does not hide the other."""
    rows = manifest(("test/a", 0, "p", "1"), ("train/b", 1, "p", "1"))
    kinds = said(duplicate_findings(rows, thumbnails(pictures[0], pictures[0]))).keys()
    assert kinds == {"identical-in-test-and-train", "identical-under-both-labels"}


def test_near_duplicates_of_two_patients_are_a_warning_of_one_a_note(pictures: list[Gray]) -> None:
    """The first may be divided between training and validation, the second never are."""
    brighter = [ImageEnhance.Brightness(Image.fromarray(pictures[number])).enhance(1.1) for number in (0, 1)]
    rows = manifest(
        ("train/a", 0, "p", "1"), ("train/b", 0, "q", "2"), ("train/c", 0, "r", "3"), ("train/d", 0, "r", "4")
    )
    findings = duplicate_findings(
        rows, thumbnails(pictures[0], np.asarray(brighter[0]), pictures[1], np.asarray(brighter[1]))
    )
    assert [(finding.severity, finding.kind) for finding in findings] == [
        ("warning", "near-duplicate-of-several-patients"),
        ("note", "near-duplicate"),
    ]
    assert said(findings)["near-duplicate"] == [("train/c", "train/d")]


def test_a_near_duplicate_brings_its_identical_copies_along(pictures: list[Gray]) -> None:
    """A copy in test of an image in train that resembles a third one makes all three a leak."""
    brighter = np.asarray(ImageEnhance.Brightness(Image.fromarray(pictures[0])).enhance(1.1))
    rows = manifest(("test/c", 0, "p", "1"), ("train/a", 0, "p", "1"), ("train/b", 0, "q", "2"))
    findings = said(duplicate_findings(rows, thumbnails(pictures[0], pictures[0], brighter)))
    assert findings["near-duplicate-in-test-and-train"] == [("test/c", "train/a", "train/b")]


@pytest.mark.slow
def test_no_two_real_radiographs_of_different_patients_are_near_duplicates(real_data: Path) -> None:
    """The limits have no false alarm among 13.6 million pairs, and every original finds its resized copy."""
    dataset, originals = index_dataset(real_data / "chest_xray"), real_data / "originals"
    kept = dataset.manifest.drop_duplicates("content_hash")
    paths = sorted(path.relative_to(originals).as_posix() for path in originals.rglob("*.jpeg"))
    images = [
        read_images(root, names, 64)[..., 0] for root, names in ((originals, paths), (dataset.root, list(kept["path"])))
    ]
    assert near_pairs(images[1]) == []
    names = [Path(path).name for path in (*paths, *kept["path"])]
    pairs = near_pairs(np.concatenate(images))
    assert len(pairs) == len(paths)
    assert all(names[pair.first] == names[pair.second] for pair in pairs)
