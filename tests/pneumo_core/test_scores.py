"""A score table is read whatever optional columns it has, and refused where it cannot be right."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from pneumo_core.errors import PneumoError
from pneumo_core.scores import read_aligned, read_scores

BARE = pd.DataFrame({"label": [0, 1, 1], "probability": [0.2, 0.9, 1.0]})


def test_a_bare_table_is_one_fold_of_as_many_patients_as_images() -> None:
    """Logits follow from the probabilities, finite at 1 as well; the probabilities order the images."""
    scores = read_scores(BARE)
    assert scores.folds.tolist() == [0, 0, 0]
    assert scores.patients.tolist() == [0, 1, 2]
    assert scores.logits[:2] == pytest.approx(logit([0.2, 0.9]))
    assert np.isfinite(scores.logits).all()
    assert scores.ranking.tolist() == [0.2, 0.9, 1.0]
    assert scores.positive_subtypes() == []


def test_logits_order_images_whose_probabilities_tie() -> None:
    """A sigmoid saturates at 37: such probabilities are equal, such images are not."""
    scores = read_scores(BARE.assign(probability=[0.5, 1.0, 1.0], logit=[0.0, 40.0, 50.0]))
    assert scores.ranking.tolist() == [0.0, 40.0, 50.0]


def test_only_kinds_of_positives_are_kinds_to_tell_apart() -> None:
    """Several of them, that have names."""
    table = BARE.assign(subtype=["normal", "virus", "bacteria"])
    assert read_scores(table).positive_subtypes() == ["bacteria", "virus"]
    assert read_scores(table.assign(subtype=["normal", "pneumonia", "pneumonia"])).positive_subtypes() == []


@pytest.mark.parametrize(
    "change",
    [
        {"probability": [0.1, np.nan, 0.5]},
        {"probability": [0.1, 1.2, 0.5]},
        {"logit": [0.0, np.inf, 1.0]},
        {"label": [1, 1, 1]},
        {"fold": [0, 0, 1]},
    ],
)
def test_what_cannot_be_scored_is_refused(change: dict[str, list[float]]) -> None:
    """Values that are no probabilities or logits, one class, a fold of one class."""
    with pytest.raises(PneumoError, match="scores: expected"):
        read_scores(BARE.assign(**change))


def test_no_table_at_all_is_refused() -> None:
    """An empty list of seeds, or one without rows."""
    with pytest.raises(PneumoError, match="at least one"):
        read_aligned([])
    with pytest.raises(PneumoError, match="both classes"):
        read_scores(BARE.iloc[:0])


def test_tables_are_put_in_the_order_of_the_first() -> None:
    """By path; a patient's number may have become a word on the way."""
    table = BARE.assign(path=["a", "b", "c"], group=[1, 2, 3])
    first, second = read_aligned([table, table.iloc[::-1].assign(group=["3", "2", "1"])])
    assert first.probabilities.tolist() == second.probabilities.tolist()
    assert first.patients.tolist() == second.patients.tolist()
