"""What a comparison says to people."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from made_scores import scored_study

from tuning.analysis.comparison import StudyComparison, compare_trials
from tuning.analysis.comparison_sections import sections_of, title_of
from tuning.document import Items, Picture, Table, Text, as_markdown
from tuning.store import Store


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> StudyComparison:
    """A poor trial as the reference, a good one, one that scores alike, and one without scores."""
    store = Store.at(tmp_path_factory.mktemp("mlruns"))
    scored_study(store, "one", {"t0001": 1.0, "t0002": 3.0, "t0003": 1.0})
    return compare_trials(store, ["one/t0001", "one/t0002", "one/t0003", "one/t0004"])


def test_the_verdict_comes_first(found: StudyComparison) -> None:
    """Better, not to be told apart, or why that cannot be said, by the study's objective."""
    short = sections_of(found)[0]
    (items,) = [block for block in short.blocks if isinstance(block, Items)]
    better, alike, lacking = items.items
    assert better.startswith("one/t0002: ROC AUC +0.")
    assert better.endswith(": better than one/t0001 on 240 images, as far as one training of each tells")
    assert alike.endswith(": 240 images cannot tell it from one/t0001")
    assert lacking.startswith("one/t0004: cannot be compared image by image")
    assert any(isinstance(block, Text) and block.tone == "warning" for block in short.blocks)


def test_every_table_has_a_column_for_each_trial(found: StudyComparison) -> None:
    """The reference first; paired differences have one for each other trial that could be compared."""
    sections = {section.title: section for section in sections_of(found)}
    names = [subject.name for subject in found.subjects]
    for title in ("What differs", "Metrics"):
        for table in (block for block in sections[title].blocks if isinstance(block, Table)):
            assert list(table.header[1:]) == names
            assert {len(row) for row in table.rows} == {5}
    (paired,) = [b for b in sections["Against one/t0001, on the same validation images"].blocks if isinstance(b, Table)]
    assert list(paired.header) == ["less one/t0001", "one/t0002", "one/t0003"]


def test_a_lower_loss_is_better(found: StudyComparison) -> None:
    """The direction of a verdict is that of the metric."""
    record = found.reference.record
    started = dataclasses.replace(record.started, objective="val_brier", direction="min")
    other = dataclasses.replace(record, started=started)
    by_brier = dataclasses.replace(found, subjects=[dataclasses.replace(s, record=other) for s in found.subjects])
    (items,) = [block for block in sections_of(by_brier)[0].blocks if isinstance(block, Items)]
    assert items.items[0].startswith("one/t0002: Brier score -0.")
    assert items.items[0].endswith("better than one/t0001 on 240 images, as far as one training of each tells")


def test_the_curves_are_a_section_of_their_own(found: StudyComparison, tmp_path: Path) -> None:
    """And all of it can be written down."""
    last = sections_of(found, tmp_path / "roc.png")[-1]
    assert isinstance(last.blocks[0], Picture)
    page = as_markdown(title_of(found), sections_of(found))
    assert page.startswith("# one/t0002, one/t0003, one/t0004 against one/t0001")
    assert "-0.0000" not in page
