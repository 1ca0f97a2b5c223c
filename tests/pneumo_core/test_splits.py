"""Hold-outs and folds: no patient on both sides, alike in composition, blind to row order and to the test folder."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumo_core.dataset import index_dataset
from pneumo_core.errors import DatasetError
from pneumo_core.splits import HOLDOUT_PART, Split, divide


def manifest_of(patients: dict[str, int], *, images: int = 3, split: str = "train") -> pd.DataFrame:
    """Returns a manifest with so many patients of each subtype, of 1 to `images` images each."""
    rows = [
        {
            "path": f"{split}/{subtype}-{patient}-{image}.png",
            "label": int(subtype != "normal"),
            "subtype": subtype,
            "group": f"{subtype}-{patient}",
            "split": split,
            "content_hash": f"{subtype}{patient}{image}",
        }
        for subtype, count in patients.items()
        for patient in range(count)
        for image in range(1 + patient % images)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def manifest() -> pd.DataFrame:
    """A manifest of three subtypes over all three folders, a test folder with patients of its own among them."""
    train = manifest_of({"normal": 40, "bacteria": 60, "virus": 30})
    val = manifest_of({"normal": 4, "bacteria": 4}, split="val").assign(group=lambda rows: "val-" + rows["group"])
    test = manifest_of({"normal": 9, "virus": 9}, split="test").assign(group=lambda rows: "test-" + rows["group"])
    return pd.concat([train, val, test], ignore_index=True)


def paths_of(split: Split) -> tuple[list[str], list[str]]:
    """Returns the paths of both parts of a hold-out."""
    train, validation = parts_of(split)
    return train["path"].tolist(), validation["path"].tolist()


def parts_of(split: Split, fold: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the rows that train in a fold and those that are scored."""
    return split.pool.iloc[split.training(fold)], split.pool.iloc[split.validation(fold)]


@pytest.mark.parametrize("folds", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_no_patient_is_on_both_sides(manifest: pd.DataFrame, seed: int, folds: int) -> None:
    """Groups are never divided."""
    split = divide(manifest, folds, seed=seed)
    assert split.folds == folds
    for fold in range(folds):
        train, validation = parts_of(split, fold)
        assert not set(train["group"]) & set(validation["group"])
        assert len(train) + len(validation) == len(split.pool)


def test_every_image_is_scored_in_one_fold(manifest: pd.DataFrame) -> None:
    """Out-of-fold scores are of all images, each once; the first fold of five is the hold-out."""
    split = divide(manifest, 5)
    scored = np.concatenate([split.validation(fold) for fold in range(5)])
    assert sorted(scored) == list(range(len(split.pool)))
    np.testing.assert_array_equal(split.validation(0), divide(manifest).validation(0))


def test_train_and_val_are_pooled_and_test_is_left_alone(manifest: pd.DataFrame) -> None:
    """Both parts together are exactly the rows outside test, each once; some of val's end up in training."""
    train, validation = paths_of(divide(manifest))
    assert sorted(train + validation) == sorted(manifest["path"][manifest["split"] != "test"])
    assert any(path.startswith("val/") for path in train)


@pytest.mark.parametrize("folds", [1, 3, 5, 10])
def test_a_fold_is_held_out_with_every_subtype_in_proportion(manifest: pd.DataFrame, folds: int) -> None:
    """The held-out share is 1 / folds of the images of each subtype, as nearly as whole patients allow."""
    split = divide(manifest, folds)
    pool = manifest[manifest["split"] != "test"]["subtype"].value_counts()
    for fold in range(split.folds):
        share = parts_of(split, fold)[1]["subtype"].value_counts() / pool
        np.testing.assert_allclose(share, 1 / (folds if folds > 1 else HOLDOUT_PART), atol=0.04)


def test_row_order_changes_nothing(manifest: pd.DataFrame) -> None:
    """A shuffled manifest with another index gives the same parts in the same order."""
    for folds in (1, 5):
        split, shuffled = divide(manifest, folds), divide(manifest.sample(frac=1, random_state=7), folds)
        assert split.digest == shuffled.digest
        pd.testing.assert_frame_equal(split.table(), shuffled.table())


def test_seeds_hold_out_other_patients(manifest: pd.DataFrame) -> None:
    """Equal seeds agree, different seeds differ, and the digest tells them apart."""
    digests = [divide(manifest, seed=seed).digest for seed in (0, 0, 1, 2)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_the_digest_tells_content_from_content(manifest: pd.DataFrame) -> None:
    """Another file under the same name is another split."""
    changed = manifest.copy()
    changed.loc[0, "content_hash"] = "other"
    assert divide(changed).digest != divide(manifest).digest


def test_the_test_folder_does_not_influence_the_split(manifest: pd.DataFrame) -> None:
    """Without its test rows a manifest is divided in the same way."""
    assert divide(manifest).digest == divide(manifest[manifest["split"] != "test"]).digest


def test_a_rare_subtype_does_not_stand_in_the_way() -> None:
    """Two patients of an odd subtype are divided as patients of their class, without scikit-learn's warning."""
    rows = manifest_of({"normal": 20, "bacteria": 20, "pneumonia": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = divide(rows, 5)
    assert len(split.scored) == len(rows)


@pytest.mark.parametrize(
    ("patients", "got"),
    [
        ({"normal": 4, "bacteria": 9}, "4 negative and 9 positive"),
        ({"normal": 9}, "9 negative and 0 positive"),
    ],
)
def test_too_few_patients_are_refused(patients: dict[str, int], got: str) -> None:
    """Fewer patients of a class than folds cannot be divided, and the numbers are said."""
    with pytest.raises(DatasetError, match=f"at least 5 patients of each class, got {got}"):
        divide(manifest_of(patients))


def test_a_manifest_of_test_rows_only_is_refused() -> None:
    """There is nothing to train on in a test folder."""
    with pytest.raises(DatasetError, match="got 0 negative and 0 positive"):
        divide(manifest_of({"normal": 9, "virus": 9}, split="test"))


def test_a_part_of_one_class_is_refused() -> None:
    """Patients that cannot be spread so that both parts hold both classes are refused, not scored."""
    rows = manifest_of({"normal": 2, "virus": 2}, images=1)
    rows["group"] = ["both", "well", "both", "sick"]
    with pytest.raises(DatasetError, match="leaves images of one class only for"):
        divide(rows, 2)


def test_the_real_radiographs_are_divided_by_patient(real_data: Path) -> None:
    """4,568 images of train and val: one in five held out, subtypes within one percent, no patient shared."""
    split = divide(index_dataset(real_data / "chest_xray").manifest)
    train, validation = parts_of(split)
    assert len(train) + len(validation) == 4_568
    assert not set(train["group"]) & set(validation["group"])
    shares = [part["subtype"].value_counts(normalize=True) for part in (train, validation)]
    np.testing.assert_allclose(shares[0].sort_index(), shares[1].sort_index(), atol=0.01)
