"""How well properties of the files alone tell the label, without a look at the chest.

In the published data set pneumonia images are smaller files of another shape than normal ones. A model can learn that
in place of the disease, so the score of such a shortcut belongs beside every score of a model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from pneumo_core.seeds import derive

FOLDS = 5

TELLING_AUC = 0.65
"""From here on the files give the label away, where chance does not explain it."""

Columns = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ShortcutBaseline:
    """What file properties tell about the label in `train/` and `val/`.

    Attributes:
        auc: area under the ROC curve of all properties together, the mean over the folds; None if not computed.
        standard_error: of `auc`, by Hanley & McNeil 1982, with patients for independent observations.
        alone: the same area for each property by itself.
        images: how many images were used.
        one_shape: whether all of them have the same width and height, so that only mode and file size can tell.
        reason: a sentence that says why nothing was computed; else empty.
    """

    auc: float | None
    standard_error: float | None
    alone: Mapping[str, float]
    images: int
    one_shape: bool = False
    reason: str = ""

    @property
    def gives_label_away(self) -> bool:
        """Whether the area is large, and larger than chance explains."""
        if self.auc is None or self.standard_error is None:
            return False
        return self.auc >= TELLING_AUC and self.auc - 2 * self.standard_error > 0.5


def shortcut_baseline(manifest: pd.DataFrame) -> ShortcutBaseline:
    """Scores width, height, aspect ratio, mode and file size as predictors of the label, by patient-disjoint folds.

    The model is a small gradient boosting of trees. Images of `test/` take no part.

    Args:
        manifest: as of `pneumo_core.dataset.Dataset`. The order of its rows does not matter.
    """
    pool = manifest[manifest["split"] != "test"].sort_values("path", ignore_index=True)
    patients = {label: pool["group"][pool["label"] == label].nunique() for label in (0, 1)}
    if min(patients.values()) < FOLDS:
        reason = (
            f"File properties were not tried as predictors: that takes at least {FOLDS} patients of each class in "
            f"train/ and val/, there are {patients[0]} negative and {patients[1]} positive."
        )
        return ShortcutBaseline(None, None, {}, len(pool), reason=reason)
    properties = _properties(pool)
    alone = {name: _auc(pool, columns) for name, columns in properties.items()}
    auc = _auc(pool, np.hstack(list(properties.values())))
    one_shape = len(pool[["width_px", "height_px"]].drop_duplicates()) == 1
    return ShortcutBaseline(auc, _standard_error(auc, patients[0], patients[1]), alone, len(pool), one_shape)


def _properties(pool: pd.DataFrame) -> dict[str, Columns]:
    """Returns each property as columns of shape (images, at least 1)."""
    width, height = (np.asarray(pool[name], dtype=float)[:, None] for name in ("width_px", "height_px"))
    return {
        "width": width,
        "height": height,
        "aspect ratio": width / height,
        "mode": np.asarray(pd.get_dummies(pool["mode"]), dtype=float),
        "file size": np.log(np.asarray(pool["bytes"], dtype=float))[:, None],
    }


def _auc(pool: pd.DataFrame, columns: Columns) -> float:
    """Returns the mean area over the folds that hold both classes; 0.5 for columns that never differ."""
    if np.all(columns == columns[0]):
        return 0.5
    labels = np.asarray(pool["label"])
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=derive(0, "shortcut"))
    areas = []
    for training, scoring in splitter.split(columns, labels, pool["group"]):
        if min(len(set(labels[training])), len(set(labels[scoring]))) == 2:
            model = GradientBoostingClassifier(n_estimators=50, max_depth=2, random_state=0)
            scores = model.fit(columns[training], labels[training]).predict_proba(columns[scoring])[:, 1]
            areas.append(roc_auc_score(labels[scoring], scores))
    return float(np.mean(areas)) if areas else 0.5


def _standard_error(auc: float, negatives: int, positives: int) -> float:
    """Hanley & McNeil 1982, Radiology 143, 29-36."""
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (one - auc**2) + (negatives - 1) * (two - auc**2)
    return math.sqrt(max(spread, 0.0) / (negatives * positives))
