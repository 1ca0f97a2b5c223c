"""The store hands out names once, and says what is wrong with its folder."""

import os
from pathlib import Path

import pytest

from pneumo_core.errors import StoreError, StudyError
from tuning.store import Store


def test_studies_are_numbered_by_space(tmp_path: Path) -> None:
    """Without a name each study gets the next free one."""
    store = Store.at(tmp_path)
    assert [store.create_study(None, space="vgg16").name for _ in range(2)] == ["vgg16-1", "vgg16-2"]


def test_a_taken_name_is_refused_and_what_it_holds_is_kept(tmp_path: Path) -> None:
    """No study ever overwrites another."""
    store = Store.at(tmp_path)
    store.create_study("mine", space="vgg16").journal.write_text("precious\n")
    with pytest.raises(StudyError, match=r"mine: already exists.*--study"):
        store.create_study("mine", space="vgg16")
    assert store.study("mine").journal.read_text() == "precious\n"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-x", "x" * 81, "ä", "a b"])
def test_names_that_are_no_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    """A name can never lead out of the store."""
    with pytest.raises(StudyError, match="expected a name of letters"):
        Store.at(tmp_path).create_study(name, space="vgg16")


def test_an_unknown_study_lists_the_known_ones(tmp_path: Path) -> None:
    """A typo shows what there is."""
    store = Store.at(tmp_path)
    store.create_study("real", space="vgg16").journal.write_text("{}\n")
    with pytest.raises(StudyError, match=r"studies there: real\."):
        store.study("reel")


def test_a_study_that_never_began_gives_its_name_back(tmp_path: Path) -> None:
    """A refused start leaves nothing behind, a begun one stays."""
    store = Store.at(tmp_path)
    folder = store.create_study("mine", space="vgg16")
    folder.discard_if_empty()
    again = store.create_study("mine", space="vgg16")
    again.journal.write_text("{}\n")
    again.discard_if_empty()
    assert again.journal.exists()


def test_a_store_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    """A file in the way, or missing permissions, end in one sentence that names --store."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be written \(File exists\); choose another with --store"):
        Store.at(tmp_path / "file").check_writable()
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(StoreError, match="Permission denied"):
            Store.at(tmp_path / "closed").check_writable()


def test_a_file_where_studies_belong_is_said_in_one_line(tmp_path: Path) -> None:
    """Whatever the operating system refuses becomes a sentence about the store."""
    (tmp_path / "studies").write_text("")
    with pytest.raises(StoreError, match="no study can be made in it"):
        Store.at(tmp_path).create_study("mine", space="vgg16")


def test_studies_are_listed_by_their_beginning(tmp_path: Path) -> None:
    """Not by when they were last written to."""
    store = Store.at(tmp_path)
    for name, begun in (("b-second", 20), ("a-third", 30), ("c-first", 10)):
        line = f'{{"v":1,"at":{begun},"event":"study_started"}}\n'
        store.create_study(name, space="vgg16").journal.write_text(line)
    assert store.study_names() == ["c-first", "b-second", "a-third"]


def test_the_store_does_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the folder it meant when it was given."""
    monkeypatch.chdir(tmp_path)
    store = Store.at("mlruns")
    monkeypatch.chdir("/")
    assert store.database == tmp_path / "mlruns" / "mlflow.db"


@pytest.mark.parametrize("name", ["50%20", "what?", "no#1"])
def test_a_path_that_is_no_address_is_refused(tmp_path: Path, name: str) -> None:
    """MLflow would look elsewhere, or end in a traceback."""
    with pytest.raises(StoreError, match="in its path, which MLflow's addresses cannot hold"):
        Store.at(tmp_path / name)
