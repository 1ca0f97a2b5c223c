"""Which trials the words of a command stand for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pneumo_core.errors import StudyError
from tests.tuning.synthetic import write_study
from tuning.analysis.subjects import find_subjects
from tuning.ranking import load_record
from tuning.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two studies of a few trials."""
    store = Store.at(tmp_path / "mlruns")
    write_study(store, "vgg16-1", trials=12, failed=0.0, pruned=0.0)
    write_study(store, "vgg16-2", trials=12, failed=0.0, pruned=0.0, seed=1)
    return store


def test_a_study_stands_for_its_best_trial_and_its_baseline_has_a_word(store: Store) -> None:
    """The three ways to name a trial, of one study or of several."""
    names = ["vgg16-1/baseline", "vgg16-1", "vgg16-2/t0007"]
    best = load_record(store, "vgg16-1").best()
    assert best is not None
    assert best.trial != "t0001"
    found = [subject.name for subject in find_subjects(store, names)]
    assert found == ["vgg16-1/t0001", f"vgg16-1/{best.trial}", "vgg16-2/t0007"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["vgg16-1", "vgg61-2"], "did you mean vgg16-2"),
        (["vgg16-1", "zebra"], "studies there: vgg16-1, vgg16-2"),
        (["vgg16-1/t007", "vgg16-2"], "did you mean t0007"),
        (["vgg16-1/zebra", "vgg16-2"], "it has: t0001, t0002, t0003, t0004, t0005, t0006, t0007, t0008, …"),
        (["vgg16-1/t0001", "vgg16-1/baseline"], "vgg16-1/t0001 more than once"),
        (["vgg16-1"], "against its baseline: vgg16-1/baseline vgg16-1"),
        (["vgg16-1"] * 9, "got 9"),
    ],
)
def test_a_name_that_stands_for_nothing_is_told_what_is_close(store: Store, names: list[str], words: str) -> None:
    """One line that says what there is."""
    with pytest.raises(StudyError, match=re.escape(words)) as raised:
        find_subjects(store, names)
    assert "\n" not in str(raised.value)


def test_a_study_without_a_result_cannot_stand_for_a_trial(tmp_path: Path) -> None:
    """All trials failed: there is no best one, and no baseline."""
    store = Store.at(tmp_path)
    write_study(store, "ill", trials=3, failed=1.0)
    with pytest.raises(StudyError, match="no completed trial yet"):
        find_subjects(store, ["ill", "ill/t0001"])
    with pytest.raises(StudyError, match="has no baseline"):
        find_subjects(store, ["ill/baseline", "ill/t0001"])
