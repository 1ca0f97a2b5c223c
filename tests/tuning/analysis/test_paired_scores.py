"""Two trials on the same validation images."""

from __future__ import annotations

import numpy as np
import pytest
from made_scores import made_table

from pneumo_core.errors import PneumoError
from pneumo_core.operating_point import OperatingPoint
from tuning.analysis.paired_scores import ScoredTrial, compare_scores, shared_images

HALF = OperatingPoint(0.5)


def test_a_better_trial_is_told_from_its_reference_and_not_the_other_way_round() -> None:
    """The trial's metrics less the reference's, over all images."""
    good, poor = ScoredTrial([made_table(3.0)], HALF), ScoredTrial([made_table(1.0)], HALF)
    found, reverse = compare_scores(good, poor), compare_scores(poor, good)
    auc = found.comparison.differences["roc_auc"]
    assert 0 < auc.low < auc.value
    assert reverse.comparison.differences["roc_auc"].value == pytest.approx(-auc.value)
    assert (found.comparison.images, found.comparison.patients, found.left_out, found.models) == (240, 120, 0, 1)


def test_the_same_folds_stay_whatever_order_the_rows_have() -> None:
    """Within a study nothing is changed by finding the images that both have scored."""
    one = made_table(2.0, folds=3)
    (ours,), (theirs,) = shared_images([one], [one.sample(frac=1, random_state=0)])
    assert ours["path"].tolist() == theirs["path"].tolist()
    folds = one.set_index("path")["fold"]
    assert (ours["fold"].to_numpy() == folds[ours["path"]].to_numpy()).all()


def test_images_of_other_folds_are_compared_within_pairs_of_models() -> None:
    """Scores of two models are never ranked together: an offset of one fold's scores changes no AUC."""
    one, other = made_table(2.0, folds=2), made_table(2.0, folds=3)
    shifted = other.assign(logit=other["logit"] + 10.0 * other["fold"])
    plain, offset = (compare_scores(ScoredTrial([one], HALF), ScoredTrial([table], HALF)) for table in (other, shifted))
    assert plain.models == offset.models == 6
    assert plain.comparison.differences["roc_auc"] == offset.comparison.differences["roc_auc"]


def test_only_images_that_both_have_scored_count() -> None:
    """A hold-out beside folds: the rest is left out, and how many that are is said."""
    folds, everything = made_table(2.0, folds=2), made_table(1.0)
    held_out = everything.iloc[:60]
    found = compare_scores(ScoredTrial([held_out], HALF), ScoredTrial([folds], HALF))
    assert (found.comparison.images, found.left_out, found.models) == (60, 180, 2)


def test_trials_without_common_images_cannot_be_compared() -> None:
    """One line that says what to do."""
    table = made_table(1.0)
    with pytest.raises(PneumoError, match="both trials have scored, got none; compare trials whose studies"):
        shared_images([table.iloc[:100]], [table.iloc[100:]])


def test_other_patients_of_the_same_images_are_refused() -> None:
    """Two studies that tell patients apart in different ways have no common draws."""
    table = made_table(1.0)
    with pytest.raises(PneumoError, match="same labels, patients"):
        compare_scores(ScoredTrial([table], HALF), ScoredTrial([table.assign(group=table["path"])], HALF))


def test_a_table_without_folds_is_of_a_hold_out() -> None:
    """Tables of earlier versions have none."""
    table = made_table(1.0)
    (ours,), _ = shared_images([table.drop(columns="fold")], [table])
    assert np.unique(ours["fold"]).tolist() == [0]


def test_the_document_has_all_of_it() -> None:
    """For scripts: differences, changed calls, and how many images."""
    good, poor = ScoredTrial([made_table(3.0)], HALF), ScoredTrial([made_table(1.0)], HALF)
    document = compare_scores(good, poor).to_mapping()
    assert set(document) == {"differences", "changed", "images", "patients", "left_out", "pairs_of_models"}
