"""The shortcut baseline: found where files give the label away, silent where they do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pneumo_core.dataset import COLUMNS
from pneumo_core.shortcuts import _standard_error, shortcut_baseline


def files(patients: int = 80, images: int = 1, *, telling: bool = False, split: str = "train") -> pd.DataFrame:
    """Returns a manifest of random sizes, those of positive images larger if they shall tell."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(patients):
        label = patient % 2
        width, size = 800 + int(rng.integers(0, 200)) + telling * label * 150, int(rng.integers(20_000, 90_000))
        rows += [
            dict.fromkeys(COLUMNS, "")
            | {"path": f"{split}/{patient:03}-{image}", "group": f"{split}-{patient}", "split": split, "label": label}
            | {"width_px": width, "height_px": 700, "mode": "L", "bytes": size}
            for image in range(images)
        ]
    return pd.DataFrame(rows).astype(COLUMNS)


def test_a_width_that_tells_is_found_and_named() -> None:
    """The area is high for all properties and for width, and chance for what never differs."""
    found = shortcut_baseline(files(telling=True))
    assert found.gives_label_away
    assert found.alone["width"] > 0.9
    assert found.alone["height"] == found.alone["mode"] == 0.5
    assert abs(found.alone["file size"] - 0.5) < 0.2


def test_files_that_tell_nothing_are_no_shortcut() -> None:
    """Sizes that do not depend on the label leave the area near a half."""
    found = shortcut_baseline(files(400))
    assert found.auc == pytest.approx(0.5, abs=0.1)
    assert not found.gives_label_away


def test_patients_stay_apart() -> None:
    """Six files of one size each: known patients would be recognized by it, unknown ones are not."""
    found = shortcut_baseline(files(40, images=6))
    assert found.alone["file size"] < 0.75


def test_test_images_take_no_part() -> None:
    """What lies in test/ changes no digit."""
    train = files(telling=True)
    both = pd.concat([train, files(30, split="test")], ignore_index=True)
    assert shortcut_baseline(both) == shortcut_baseline(train)


def test_the_order_of_rows_does_not_matter() -> None:
    """A shuffled manifest gives the same numbers."""
    train = files(telling=True)
    assert shortcut_baseline(train.sample(frac=1, random_state=1)) == shortcut_baseline(train)


def test_too_few_patients_are_said_to_be_too_few() -> None:
    """There is a sentence in place of numbers."""
    found = shortcut_baseline(files(8, images=9))
    assert found.auc is None
    assert "there are 4 negative and 4 positive" in found.reason
    assert not found.gives_label_away


def test_the_standard_error_is_that_of_a_rank_sum_at_chance() -> None:
    """At an area of a half the formula is the variance of the Mann-Whitney statistic, (m + n + 1) / 12mn."""
    assert _standard_error(0.5, 30, 50) == pytest.approx(np.sqrt(81 / (12 * 30 * 50)))
    assert _standard_error(1.0, 30, 50) == 0
