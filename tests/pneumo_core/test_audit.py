"""The audit: every kind of trouble gets its finding, a clean folder gets none, and nothing depends on the place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_core.audit import Audit, audit_dataset
from pneumo_core.dataset import index_dataset
from pneumo_core.findings import SEVERITIES, Finding
from pneumo_core.phantom_set import write_phantoms


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About forty synthetic radiographs, nothing wrong with them. Not to be changed."""
    return write_phantoms(tmp_path_factory.mktemp("data"), patients=24, size_px=(80, 120))


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    """A copy of them to spoil."""
    return Path(shutil.copytree(clean, tmp_path / "chest_xray"))


def audit(folder: Path) -> Audit:
    """Audits a folder as `tune data check` does."""
    return audit_dataset(index_dataset(folder, skip_unreadable=True))


def found(folder: Path) -> dict[str, Finding]:
    """Returns the findings by kind."""
    return {finding.kind: finding for finding in audit(folder).findings}


def some(folder: Path, pattern: str, number: int = 0) -> Path:
    """Returns one of the files that match, in order."""
    return sorted(folder.glob(pattern))[number]


def several_images(folder: Path, split: str) -> list[Path]:
    """Returns the pneumonia images of the first patient who has several in a split."""
    patients: dict[str, list[Path]] = {}
    for path in sorted((folder / split / "PNEUMONIA").iterdir()):
        patients.setdefault("_".join(path.name.split("_")[:2]), []).append(path)
    return next(paths for paths in patients.values() if len(paths) > 1)


def test_a_clean_folder_has_no_leak_and_no_problem(clean: Path) -> None:
    """Synthetic radiographs, alike as they are, raise no false alarm."""
    severities = {finding.severity for finding in audit(clean).findings}
    assert not severities & {"leak", "problem"}


def test_a_patient_moved_in_part_to_test_is_a_leak_with_all_files(folder: Path) -> None:
    """The files of both sides are named, and it is said once."""
    moved, *rest = several_images(folder, "train")
    shutil.move(moved, folder / "test/PNEUMONIA")
    result = audit(folder)
    (leak,) = result.leaks
    assert leak.kind == "patient-in-test-and-train"
    assert set(leak.cases[0].paths) == {
        f"test/PNEUMONIA/{moved.name}",
        *(path.relative_to(folder).as_posix() for path in rest),
    }
    assert leak.cases[0].paths[0].startswith("test/")
    assert sum("in test/ and outside" in finding.text for finding in result.findings) == 1


def test_a_patient_in_train_and_val_is_a_note(folder: Path) -> None:
    """Both are pooled and divided anew, so nothing leaks."""
    moved = several_images(folder, "train")[0]
    shutil.move(moved, folder / "val/PNEUMONIA")
    findings = found(folder)
    assert findings["patient-in-train-and-val"].severity == "note"
    assert not [finding for finding in findings.values() if finding.severity == "leak"]


def test_a_copied_test_image_is_a_leak_of_file_and_patient(folder: Path) -> None:
    """Byte-identical files are joined to one patient, and both facts are told."""
    shutil.copy(some(folder, "test/NORMAL/*"), folder / "train/NORMAL/IM-9001-0001.jpeg")
    kinds = {finding.kind for finding in audit(folder).leaks}
    assert kinds == {"patient-in-test-and-train", "identical-in-test-and-train"}


def test_a_resaved_test_image_is_a_leak(folder: Path) -> None:
    """Another format, size and name do not hide it."""
    with Image.open(some(folder, "test/NORMAL/*")) as image:
        image.resize((150, 150)).save(folder / "train/NORMAL/IM-9001-0001.png")
    (leak,) = audit(folder).leaks
    assert leak.kind == "near-duplicate-in-test-and-train"


def _truncated(file: Path) -> None:
    file.write_bytes(some(file.parents[2], "test/NORMAL/*").read_bytes()[:-200])


def _black(file: Path) -> None:
    Image.new("L", (90, 90)).save(file, "PNG")


def _dark(file: Path) -> None:
    with Image.open(some(file.parents[2], "train/PNEUMONIA/*")) as image:
        Image.fromarray(np.asarray(image.convert("L")) // 9).save(file, "PNG")


def _tiny(file: Path) -> None:
    with Image.open(some(file.parents[2], "val/NORMAL/*")) as image:
        image.resize((20, 30)).save(file, "PNG")


ODD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "truncated": (_truncated, "unusable", "cut off"),
    "empty": (Path.touch, "unusable", "an empty file"),
    "text": (lambda file: file.write_text("text"), "unusable", "begins with b'text'"),
    "broken link": (lambda file: file.symlink_to("nowhere"), "unusable", "no such file"),
    "CMYK": (lambda file: Image.new("CMYK", (90, 90)).save(file, "JPEG"), "unusable", "CMYK pixels"),
    "a few pixels": (lambda file: Image.new("L", (5, 5)).save(file, "PNG"), "unusable", "got 5 × 5 px"),
    "black": (_black, "blank", "mean gray 0"),
    "dark": (_dark, "brightness", "z -"),
    "tiny": (_tiny, "small", "20 × 30 px"),
}


@pytest.fixture(scope="module")
def odd(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    """The findings in a folder that holds one of each, named after its kind."""
    folder = Path(shutil.copytree(clean, tmp_path_factory.mktemp("odd") / "chest_xray"))
    for name, (make, _, _) in ODD.items():
        make(folder / f"train/NORMAL/{name}.png")
    return found(folder)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_gets_its_word(odd: dict[str, Finding], name: str) -> None:
    """Each kind of odd file is found, with its name and the documented word, and stops nothing."""
    _, kind, word = ODD[name]
    told = [f"{case.paths} {case.remark}" for case in odd[kind].cases]
    assert [line for line in told if f"train/NORMAL/{name}.png" in line and word in line]


def test_colour_in_one_class_is_a_warning_in_both_a_note(folder: Path) -> None:
    """What tells the classes apart is worse than what all files have."""
    for file in (folder / "train/PNEUMONIA").iterdir():
        with Image.open(file) as image:
            image.convert("RGB").save(file)
    colour = found(folder)["colour"]
    assert colour.severity == "warning"
    assert "0.0% of NORMAL" in colour.text
    for file in folder.rglob("*.jpeg"):
        with Image.open(file) as image:
            image.convert("RGB").save(file)
    assert found(folder)["colour"].severity == "note"


def test_a_file_named_like_the_other_class_is_a_problem(folder: Path) -> None:
    """`person…_bacteria_…` among normal images is misfiled; folders of other names have no such rule."""
    some(folder, "train/PNEUMONIA/*_bacteria_*").rename(folder / "train/NORMAL/person901_bacteria_1.jpeg")
    assert found(folder)["misfiled"].cases[0].paths == ("train/NORMAL/person901_bacteria_1.jpeg",)
    for split in ("train", "val", "test"):
        (folder / split / "NORMAL").rename(folder / split / "VIRUS")
    dataset = index_dataset(folder, class_names=("VIRUS", "PNEUMONIA"), skip_unreadable=True)
    assert "misfiled" not in {finding.kind for finding in audit_dataset(dataset).findings}


def test_a_folder_without_test_images_is_told_so(folder: Path) -> None:
    """That no leak was found means nothing then."""
    shutil.rmtree(folder / "test")
    result = found(folder)
    assert "cannot be looked for" in result["no-test"].text


def test_counts_are_compared_with_the_published_ones(clean: Path) -> None:
    """Splits, classes and subtypes are counted, and those that are published have that number beside them."""
    result = audit(clean)
    counts = {(one.split, one.class_name, one.subtype): one for one in result.counts}
    manifest = result.dataset.manifest
    virus = manifest[(manifest["split"] == "test") & (manifest["subtype"] == "virus")]
    assert counts["test", "PNEUMONIA", "virus"].images == len(virus)
    assert counts["test", "PNEUMONIA", "virus"].patients == virus["group"].nunique()
    assert counts["test", "PNEUMONIA", "virus"].official == 148
    assert counts["train", "NORMAL", ""].official == 1341
    (note,) = (finding for finding in result.findings if finding.kind == "counts")
    assert note.severity == "note"
    assert f"test PNEUMONIA virus {len(virus)} of 148" in note.text


def test_findings_do_not_depend_on_place_or_listing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moved root and a file system that lists backwards change no word."""
    shutil.copy(some(folder, "test/NORMAL/*"), folder / "train/NORMAL/IM-9001-0001.jpeg")
    (folder / "train/NORMAL/IM-9002-0001.jpeg").touch()
    here = audit(folder)
    shutil.copytree(folder, tmp_path / "there/chest_xray")
    listing = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: sorted(listing(path), reverse=True))
    there = audit(tmp_path / "there")
    assert here.findings == there.findings
    assert here.summary() == there.summary()


def test_findings_are_sorted_and_summed_up(folder: Path) -> None:
    """The worst comes first; the summary is small, counts what was found, and can be written as JSON."""
    shutil.copy(some(folder, "test/NORMAL/*"), folder / "train/PNEUMONIA/person901_virus_1.jpeg")
    (folder / "train/NORMAL/IM-9002-0001.jpeg").touch()
    result = audit(folder)
    ranks = [SEVERITIES.index(finding.severity) for finding in result.findings]
    assert ranks == sorted(ranks)
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert summary["unusable"] == 1
    assert summary["severities"]["leak"] == len(result.leaks) == 2
    assert summary["findings"]["identical-under-both-labels"] == 1
    assert summary["digest"] == result.dataset.digest
    assert len(json.dumps(summary)) < 2000
