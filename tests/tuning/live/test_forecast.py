"""What is foretold holds as often as it says, and nothing is foretold from too little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import SPACE, synthetic_space, write_study
from test_progress import CONFIG, STARTED

from tuning.confirmation import expected_s
from tuning.events import AttemptStarted, EpochEnded, TrialCompleted, TrialStarted
from tuning.journal import read_journal
from tuning.live.forecast import confirmation_left, search_left, student_quantile
from tuning.live.standing import Standing
from tuning.record import StudyRecord, replay
from tuning.store import Store


def _standing(durations_s: list[float], wanted: int) -> Standing:
    standing = Standing(StudyRecord(STARTED, trials_wanted=wanted), 0.0)
    for number, seconds in enumerate(durations_s, start=1):
        for event in (
            TrialStarted(f"t{number}", number, {}, CONFIG),
            AttemptStarted(f"t{number}", 1),
            TrialCompleted(f"t{number}", 0.9, {"val_roc_auc": 0.9}, 0, "", seconds),
        ):
            standing.record.apply(event)
            standing.hear(event, 0.0)
    return standing


def _hear(standing: Standing, *events: Any) -> None:
    for event in events:
        standing.record.apply(event)
        standing.hear(event, 0.0)


@pytest.mark.parametrize(("seen", "left"), [(3, 5), (5, 40), (20, 20)])
def test_eight_of_ten_studies_end_within_the_range(seen: int, left: int) -> None:
    """In 400 made-up studies, with durations that vary as much as those of real ones do."""
    rng, held, studies = np.random.default_rng(seen), 0, 400
    for _ in range(studies):
        durations = rng.gamma(6.0, 5.0, seen + left)
        forecast = search_left(_standing(list(durations[:seen]), seen + left))
        assert forecast is not None
        held += forecast.low <= durations[seen:].sum() <= forecast.high
    assert 0.72 < held / studies < 0.88


def test_nothing_is_foretold_from_two_trials() -> None:
    """Two trials say nothing of how much trials differ."""
    assert search_left(_standing([5.0, 6.0], 9)) is None
    assert search_left(_standing([5.0, 6.0, 7.0], 9)) is not None


def test_workers_share_what_is_left_and_epochs_count() -> None:
    """As many trials at once as were seen, each with what it still has to do."""
    standing = _standing([4.0] * 4, 8)
    assert search_left(standing).likely == pytest.approx(16.0)  # type: ignore[union-attr]
    for name in ("a", "b"):
        _hear(standing, TrialStarted(name, 9, {}, CONFIG), AttemptStarted(name, 1), EpochEnded(name, 0, {}))
    assert search_left(standing).likely == pytest.approx((8 - 4 - 2 * 0.5) * 4.0 / 2)  # type: ignore[union-attr]


def test_a_study_that_nobody_runs_has_no_end_in_sight() -> None:
    """A killed process does not finish."""
    standing = _standing([4.0] * 4, 8)
    standing.process_died = True
    assert search_left(standing) is None


def test_confirmation_is_expected_as_the_study_itself_expects_it(tmp_path: Path) -> None:
    """The same figure as `tuning.confirmation.expected_s`, by which a study with a time limit plans."""
    confirmed = "confirm: {top: 3, seeds: 2, folds: 4, image_size: 64}"
    space = synthetic_space(SPACE.replace("confirm: {top: 0}", confirmed))
    folder = write_study(Store.at(tmp_path), trials=12, space=space, ended=False)
    record = replay(read_journal(folder.journal))
    record.confirm = space.confirm.model_dump()
    forecast = confirmation_left(Standing(record, 0.0))
    assert forecast is not None
    assert forecast.likely == pytest.approx(expected_s(record))
    assert forecast.likely > 0


@pytest.mark.parametrize(("freedom", "quantile"), [(2, 1.886), (5, 1.476), (30, 1.310)])
def test_the_quantile_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    """Of Student's t at 90 %."""
    assert student_quantile(freedom) == pytest.approx(quantile, abs=0.05)


def test_a_trial_that_continues_another_has_all_its_own_epochs_before_it() -> None:
    """The epochs that its parent trained were no work of its own."""
    standing = _standing([10.0, 10.0, 10.0, 10.0], 5)
    before = search_left(standing)
    epochs = int(CONFIG["epochs"])
    _hear(standing, TrialStarted("t5", 5, {}, CONFIG, parent="t1", first_epoch=epochs - 1), AttemptStarted("t5", 1))
    assert before is not None
    assert search_left(standing) == before
