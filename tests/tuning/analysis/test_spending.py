"""What a study took, and what the cache spared it, add up from what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic import write_study

from tuning.analysis.spending import spending
from tuning.events import AttemptFailed, AttemptStarted, StudyResumed
from tuning.journal import Entry, Journal, read_entries
from tuning.record import StudyRecord, replay
from tuning.store import Store

DIGEST, OTHER = "ed" * 32, "fe" * 32


@pytest.fixture
def study(tmp_path: Path) -> tuple[Store, StudyRecord, list[Entry]]:
    """Ten trials of three epochs on 3654 + 914 images, which took their inputs from one kept pass."""
    store = Store.at(tmp_path)
    folder = write_study(store, "s", trials=10, failed=0.0, pruned=0.0)
    folder.journal.write_text(
        folder.journal.read_text().replace('"activations_digest":""', f'"activations_digest":"{DIGEST}"')
    )
    entries = list(read_entries(folder.journal))
    return store, replay(entry.event for entry in entries), entries


def _keep(store: Store, created: float, name: str = "a", digest: str = DIGEST, **made: object) -> None:
    """An entry of the cache as it lies on disk."""
    place = store.cache / (name * 32)
    place.mkdir(parents=True)
    about = {"image_size": 64, "blocks": 5, "augmentation": "", "created": created}
    (place / "data.bin").write_bytes(b"0" * 5000)
    (place / "entry.json").write_text(json.dumps({"digest": digest, "about": about} | made))


def test_what_the_cache_saved_is_images_times_seconds_less_the_pass(
    study: tuple[Store, StudyRecord, list[Entry]],
) -> None:
    """The time of an image is the one that the pass measured."""
    store, record, entries = study
    _keep(store, entries[0].at + 1, **{"pass": {"duration_s": 45.68, "images": 4568, "deepest": True}})
    spent = spending(store, store.study("s"), record, entries)
    (kept,) = spent.passes
    assert kept.images == 10 * 3 * (3654 + 914)
    assert kept.image_s == pytest.approx(0.01)
    assert kept.spared_s == pytest.approx(30 * 45.68 - 45.68)
    assert spent.gone == 0


def test_a_pass_of_an_earlier_study_cost_this_one_nothing(study: tuple[Store, StudyRecord, list[Entry]]) -> None:
    """What was there before is a gift."""
    store, record, entries = study
    _keep(store, entries[0].at - 1, **{"pass": {"duration_s": 45.68, "images": 4568, "deepest": True}})
    (kept,) = spending(store, store.study("s"), record, entries).passes
    assert kept.spared_s == pytest.approx(30 * 45.68)


def test_a_pass_of_two_outputs_is_subtracted_once(study: tuple[Store, StudyRecord, list[Entry]]) -> None:
    """Averaged and whole, the same block came out of one pass; the output of more use bears it."""
    store, record, entries = study
    for number, trial in enumerate(record.trials.values()):
        trial.activations_digest = DIGEST if number < 4 else OTHER
    for name, digest in (("a", DIGEST), ("b", OTHER)):
        made = {"pass": {"duration_s": 45.68, "images": 4568, "deepest": True}}
        _keep(store, entries[0].at + 1, name, digest, **made)
    more, less = spending(store, store.study("s"), record, entries).passes
    assert (more.images, less.images) == (6 * 3 * 4568, 4 * 3 * 4568)
    assert (more.pass_s, less.pass_s, less.along) == (45.68, 0.0, True)
    assert more.spared_s + less.spared_s == pytest.approx(30 * 45.68 - 45.68)


@pytest.mark.parametrize("made", [{}, {"pass": {"duration_s": 9.0, "images": 4568, "deepest": False}}])
def test_what_was_not_measured_is_not_made_up(
    study: tuple[Store, StudyRecord, list[Entry]], made: dict[str, object]
) -> None:
    """Entries of earlier versions have no time; one that came along with a deeper pass has not its own."""
    store, record, entries = study
    _keep(store, entries[0].at + 1, **made)
    (kept,) = spending(store, store.study("s"), record, entries).passes
    assert (kept.image_s, kept.spared_s) == (None, 0.0)


def test_a_pass_that_was_removed_is_told(study: tuple[Store, StudyRecord, list[Entry]]) -> None:
    """Its time went with it."""
    store, record, entries = study
    spent = spending(store, store.study("s"), record, entries)
    assert (spent.passes, spent.gone) == ((), 1)


def test_time_by_the_clock_leaves_out_when_nobody_ran_the_study(study: tuple[Store, StudyRecord, list[Entry]]) -> None:
    """And lost attempts are counted from their start to their loss."""
    store, _, entries = study
    folder, clock = store.study("s"), iter([entries[-1].at + 1000 + second for second in (0, 0, 7, 9)])
    journal = Journal(folder.journal, lambda: next(clock))
    for event in (StudyResumed(11, []), AttemptStarted("t0001", 2), AttemptFailed("t0001", 2, "killed")):
        journal.append(event)
    after = list(read_entries(folder.journal))
    spent = spending(store, folder, replay(entry.event for entry in after), after)
    assert spent.wall_s == pytest.approx(entries[-1].at - entries[0].at + 7)
    assert (spent.lost, spent.lost_s) == (1, pytest.approx(7))
    assert spent.side_by_side == 1
    assert spent.searching_s == pytest.approx(sum(2.0 + number % 7 for number in range(1, 11)))


def test_trials_at_once_are_counted(study: tuple[Store, StudyRecord, list[Entry]]) -> None:
    """An attempt that begins before another ends runs beside it."""
    store, record, entries = study
    begun = [entry for entry in entries if isinstance(entry.event, AttemptStarted)]
    moved = [entries[0], *begun[:3], *(entry for entry in entries[1:] if entry not in begun[:3])]
    assert spending(store, store.study("s"), record, entries).side_by_side == 1
    assert spending(store, store.study("s"), record, moved).side_by_side == 3
