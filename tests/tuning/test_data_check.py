"""`tune data check`: what it prints, the document for scripts, and the exit codes they rely on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tuning.cli import app


def check(*words: object) -> Result:
    """Runs the command."""
    return CliRunner().invoke(app, ["data", "check", *map(str, words)], prog_name="tune")


@pytest.fixture
def folder(phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the synthetic radiographs to spoil."""
    return Path(shutil.copytree(phantoms, tmp_path / "chest_xray"))


def test_a_clean_folder_ends_with_0(phantoms: Path) -> None:
    """Warnings and notes are no failure; counts and findings are shown."""
    result = check(phantoms)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "published" in result.stdout
    assert "AUC of the label from file properties" in result.stdout or "were not tried as predictors" in result.stdout


def test_a_leak_ends_with_1_and_names_the_files(folder: Path) -> None:
    """One line on stderr names both files, and the table follows."""
    copied = sorted((folder / "test/NORMAL").iterdir())[0]
    shutil.copy(copied, folder / "train/NORMAL/IM-9001-0001.jpeg")
    result = check(folder)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert f"test/NORMAL/{copied.name}, train/NORMAL/IM-9001-0001.jpeg" in line
    assert "byte-identical" in result.stdout


def test_the_document_for_scripts_names_every_file(folder: Path) -> None:
    """`--json` prints one document, with all cases of all findings, and still ends with 1 on a leak."""
    (folder / "train/NORMAL/IM-9001-0001.jpeg").touch()
    for number in range(2, 30):
        shutil.copy(sorted((folder / "test/NORMAL").iterdir())[0], folder / f"train/NORMAL/IM-9{number:03}-0001.jpeg")
    result = check(folder, "--json")
    document = json.loads(result.stdout)
    findings = {finding["kind"]: finding for finding in document["findings"]}
    assert result.exit_code == 1
    assert len(findings["identical-in-test-and-train"]["cases"][0]["paths"]) == 29
    assert findings["unusable"]["count"] == document["summary"]["unusable"] == 1
    assert document["classes"] == ["NORMAL", "PNEUMONIA"]
    assert sum(count["images"] for count in document["counts"] if not count["subtype"]) == document["summary"]["images"]


def test_names_that_look_like_markup_are_printed_as_they_are(folder: Path) -> None:
    """Square brackets in a file's name are no colours."""
    (folder / "train/NORMAL/[red]IM-1.jpeg").touch()
    assert "[red]IM-1.jpeg: expected" in check(folder).stdout


def test_other_classes_can_be_named(folder: Path) -> None:
    """`--classes` works as for `tune run`."""
    for split in ("train", "val", "test"):
        (folder / split / "NORMAL").rename(folder / split / "HEALTHY")
    assert check(folder).exit_code == 2
    assert check(folder, "--classes", "HEALTHY,PNEUMONIA").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone"], "gone: expected a folder of images, found nothing there"),
        ([".", "--classes", "A"], "expected two folder names"),
        ([".", "--html", "gone/page.html"], "--html gone/page.html: expected a file in a folder that exists"),
    ],
)
def test_bad_input_ends_with_2_in_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is printed but what is wrong."""
    monkeypatch.chdir(tmp_path)
    result = check(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_real_data_holds_24_identical_groups_and_no_leak(real_data: Path, tmp_path: Path) -> None:
    """On 5,216 real radiographs: the known duplicates, no false alarm, and a page small enough to send."""
    result = check(real_data / "chest_xray", "--json", "--html", tmp_path / "page.html")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    kinds = document["summary"]["findings"]
    assert kinds["identical"] == 24
    assert not [kind for kind in kinds if kind.startswith(("near", "patient"))]
    assert document["summary"]["severities"]["leak"] == document["summary"]["severities"]["problem"] == 0
    assert document["shortcut"]["auc"] == pytest.approx(0.895, abs=0.01)
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


def test_a_real_patient_in_train_and_test_is_refused_by_name(real_data: Path, tmp_path: Path) -> None:
    """Moving some images of one patient across splits is found, and all of that patient's files are named."""
    source = real_data / "chest_xray"
    for split in ("train", "test"):
        for name in ("NORMAL", "PNEUMONIA"):
            (tmp_path / split / name).mkdir(parents=True)
            for file in sorted((source / split / name).iterdir())[:60]:
                (tmp_path / split / name / file.name).symlink_to(file)
    patient = sorted((source / "train/PNEUMONIA").glob("person1372_bacteria_*"))
    for number, file in enumerate(patient):
        split = "test" if number < 2 else "train"
        (tmp_path / split / "PNEUMONIA" / file.name).unlink(missing_ok=True)
        (tmp_path / split / "PNEUMONIA" / file.name).symlink_to(file)
    result = check(tmp_path)
    assert result.exit_code == 1
    assert len(patient) > 2
    assert all(file.name in result.stderr for file in patient)
