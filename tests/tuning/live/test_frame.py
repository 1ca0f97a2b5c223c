"""The live part of a terminal fits, says what counts first, and can be read without colours or Unicode."""

from __future__ import annotations

import itertools

import pytest
from synthetic import write_study

from tuning.events import (
    AttemptStarted,
    EpochEnded,
    Event,
    StudyConfirmed,
    StudyStarted,
    TrialConfirmed,
    TrialStarted,
)
from tuning.journal import read_entries
from tuning.live.frame import frame
from tuning.live.standing import Standing
from tuning.live.words import gain_words
from tuning.record import StudyRecord
from tuning.store import Store


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    """A study of 40 trials of which 30 are over, with two that run: one has three epochs, one none."""
    entries = list(read_entries(write_study(Store.at(tmp_path_factory.mktemp("store")), trials=30).journal))[:-1]
    events: list[tuple[Event, float]] = [(entry.event, entry.at) for entry in entries]
    config = next(event.config for event, _ in events if isinstance(event, TrialStarted)) | {"epochs": 8}
    for trial in ("t0031", "t0032"):
        events += [(TrialStarted(trial, 31, {"dropout": 0.2}, config), 0.0), (AttemptStarted(trial, 1), 0.0)]
    losses = {"val_loss": 0.6, "val_roc_auc": 0.8}
    events += [(EpochEnded("t0031", at, {k: v - at / 10 for k, v in losses.items()}), 0.0) for at in range(3)]
    started = entries[0].event
    assert isinstance(started, StudyStarted)
    standing = Standing(StudyRecord(started, trials_wanted=40), 0.0)
    for event, at in events[1:]:
        standing.record.apply(event)
        standing.hear(event, at)
    return standing


def _text(standing: Standing, width: int, height: int, *, plain: bool = False) -> str:
    return "\n".join(line.plain for line in frame(standing, width, height, plain=plain))


def test_it_fits_into_any_terminal(standing: Standing) -> None:
    """Of any size, with and without Unicode."""
    for width, height in itertools.product((1, 10, 20, 40, 80, 200), (1, 2, 3, 9, 20, 46)):
        for plain in (False, True):
            lines = frame(standing, width, height, plain=plain)
            assert len(lines) <= height
            assert all(line.cell_len <= width for line in lines)
            assert not plain or all(line.plain.isascii() for line in lines)


def test_a_common_terminal_shows_all(standing: Standing) -> None:
    """Progress, time left, leaders with intervals, baseline and gain, what runs, its curves."""
    shown = _text(standing, 100, 24)
    best, base = standing.leaders(1)[0], standing.baseline
    assert base is not None
    assert "30/40" in shown
    assert "left" in shown.splitlines()[0]
    assert "2 running, 8 to come" in shown
    assert f"1  {best.trial}  {best.score:.4f}" in shown
    assert f"{best.score - 0.01:.3f} – {best.score + 0.01:.3f}" in shown  # type: ignore[operator]
    assert "baseline" in shown
    assert f"{best.trial}: {best.score - base.score:+.4f} over the baseline t0001" in shown  # type: ignore[operator]
    assert "3/8 epochs  loss 0.4000" in shown
    assert "t0032" in shown
    assert "before its first epoch" in shown
    assert "val_roc_auc of t0031" in shown


def test_a_tiny_terminal_shows_what_counts(standing: Standing) -> None:
    """At 40 by 10: how far, how long, what runs, who leads."""
    shown = _text(standing, 39, 9)
    assert "30/40" in shown
    assert "left" in shown
    assert "t0031" in shown
    assert standing.leaders(1)[0].trial in shown


def test_the_baseline_is_shown_with_its_rank_if_it_is_not_among_the_leaders(standing: Standing) -> None:
    """Below them, so that what was gained can be seen."""
    base = standing.baseline
    assert base is not None
    rows = [line.split() for line in _text(standing, 200, 40).splitlines() if "baseline" in line and "│" not in line]
    assert rows[0][:2] == [str(standing.rank(base)), base.trial]
    assert standing.rank(base) > 5


def test_many_workers_do_not_push_the_leaders_out_of_sight(standing: Standing) -> None:
    """Half of the room at most is theirs; what does not fit is counted."""
    many = Standing(standing.record, 0.0)
    many.running = dict.fromkeys(list(standing.record.trials)[:20], 0.0)
    shown = _text(many, 100, 20)
    assert "and 12 more" in shown
    assert "t0008  " in shown
    assert many.leaders(3)[2].trial in shown
    assert "more" not in _text(many, 100, 3)


def test_what_was_gained_is_told_with_how_sure_it_is(standing: Standing) -> None:
    """By the search's scores and whether their intervals overlap; of confirmed ones by their paired difference."""
    best, base = standing.leaders(1)[0], standing.baseline
    assert base is not None
    assert gain_words(standing).endswith(f"over the baseline {base.trial} in the search; intervals overlap")
    confirmed = Standing(standing.record, 0.0)
    try:
        best.confirmed = _place(best.trial, 1, 0.95, [0.0, 0.0, 0.0])
        base.confirmed = _place(base.trial, 2, 0.93, [-0.02, -0.03, 0.01])
        confirmed.hear(StudyConfirmed(best.trial, {}, {}, 2, None, None), 0.0)
        said = f"{best.trial}: +0.0200 (-0.0100 to +0.0300, 95 %) over the baseline {base.trial}, both confirmed"
        assert gain_words(confirmed) == said
        assert said in _text(confirmed, 100, 24)
        assert f"1  {best.trial}  0.9500" in _text(confirmed, 100, 24)
        assert [line.split("confirmed")[1][:10] for line in _text(confirmed, 200, 24).splitlines()[4:6]] == [
            "          ",
            ", baseline",
        ]
    finally:
        best.confirmed = base.confirmed = None


def _place(trial: str, rank: int, score: float, difference: list[float]) -> TrialConfirmed:
    return TrialConfirmed(
        trial, rank, score, score - 0.01, score + 0.01, False, difference, None, {}, [], threshold=0.5, temperature=1.0
    )
