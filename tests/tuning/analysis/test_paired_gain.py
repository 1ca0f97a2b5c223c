"""The gain over the baseline: of confirmed scores where there are any, and with its interval where that can be had."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from synthetic import write_study

from pneumo_core.errors import StudyError
from tuning.analysis.baseline import baseline
from tuning.analysis.gain import Gain
from tuning.analysis.paired_gain import paired_gain
from tuning.events import TrialConfirmed
from tuning.ranking import load_record
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store


class Tables:
    """Score tables of two trials, the better one less noisy; or none."""

    def __init__(self, better: str, *, there: bool = True) -> None:
        self.better, self.there = better, there

    def of(self, trial: TrialRecord) -> list[pd.DataFrame]:
        """As `ScoreTables.of`."""
        if not self.there:
            raise StudyError("no scores")
        rng = np.random.default_rng(0)
        labels = np.arange(300) % 2
        noise = rng.normal(size=300) * (0.8 if trial.trial == self.better else 2.5)
        logits = 2.0 * labels - 1 + noise
        names = [f"p{number}" for number in range(300)]
        table = {"path": names, "group": names, "subtype": "", "label": labels, "fold": 0, "logit": logits}
        return [pd.DataFrame(table | {"probability": 1 / (1 + np.exp(-logits))})]


@pytest.fixture
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecord, TrialRecord, TrialRecord]:
    """A record, its best trial and its baseline."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    write_study(store, "s", trials=20)
    record = load_record(store, "s")
    best, base = record.best(), baseline(record)
    assert best is not None
    assert base is not None
    return record, best, base


def test_scores_in_the_search_are_compared_on_the_same_images(
    found: tuple[StudyRecord, TrialRecord, TrialRecord],
) -> None:
    """The interval is that of the paired difference; the winner was chosen for its score, which is said."""
    record, best, base = found
    gain = paired_gain(record, best, base, Tables(best.trial))  # type: ignore[arg-type]
    assert gain is not None
    assert gain.value == pytest.approx((best.score or 0) - (base.score or 0))
    assert gain.is_sure
    assert gain.is_flattered


def test_without_score_tables_the_gain_has_no_interval(found: tuple[StudyRecord, TrialRecord, TrialRecord]) -> None:
    """And is not sure."""
    record, best, base = found
    gain = paired_gain(record, best, base, Tables(best.trial, there=False))  # type: ignore[arg-type]
    assert gain is not None
    assert (gain.ends, gain.is_sure) == (None, False)


def test_confirmed_scores_come_first(found: tuple[StudyRecord, TrialRecord, TrialRecord]) -> None:
    """Their difference is known with its interval; seen from the baseline it has the other sign."""
    record, best, base = found
    place = TrialConfirmed(best.trial, 1, 0.97, 0.96, 0.98, False, [0.0, 0.0, 0.0], None, {}, [], 0.5, 1.0)
    best.confirmed = place
    base.confirmed = dataclasses.replace(place, trial=base.trial, rank=2, score=0.95, difference=[-0.02, -0.03, -0.01])
    gain = paired_gain(record, best, base, Tables(best.trial))  # type: ignore[arg-type]
    assert gain is not None
    assert gain == Gain(pytest.approx(0.02), "confirmed", (0.01, 0.03))


def test_the_baseline_has_no_gain_over_itself(found: tuple[StudyRecord, TrialRecord, TrialRecord]) -> None:
    """The search found nothing better."""
    record, _, base = found
    assert paired_gain(record, base, base, Tables(base.trial)) is None  # type: ignore[arg-type]
