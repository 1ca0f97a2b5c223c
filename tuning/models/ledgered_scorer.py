"""Labelled images of anywhere, scored without a way round the ledger: test folders are recognised and go through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pneumo_core.classifier import KERAS_FILE
from pneumo_core.dataset import Dataset, digest_of_test
from pneumo_core.errors import ImageError
from pneumo_core.evaluation import compute_metrics, score_table
from pneumo_core.labelled_folder import TEST_FOLDER
from pneumo_core.model import classifier_logits
from tuning.models.kept_scores import file_digest
from tuning.models.ledger import Candidate, Ledger
from tuning.models.registered import RegisteredClassifier
from tuning.store import Store

_AT_A_TIME = 1000


class LedgeredScorer:
    """Scores images: those of a data set's test folder by way of the ledger, all others directly.

    Args:
        store: that holds the ledger.
        model: that scores.
        tags: of its version.
        dataset: the images.
        tell: takes sentences for the user.

    Attributes:
        test_rows: (N,) bool, which images of the folder are of a test folder that the ledger answers for.
        unknown_rows: (N,) bool, which of these are of a test folder that neither ledger nor model knows as a whole.
        warnings: what the ledger has to say.
        unlike: paths of images that the model finds unlike those it was made with, of those that were read.
    """

    def __init__(
        self,
        store: Store,
        model: RegisteredClassifier,
        tags: Mapping[str, str],
        dataset: Dataset,
        tell: Callable[[str], None],
    ) -> None:
        self._model, self._root, self._tell = model, dataset.root, tell
        self._ledger = Ledger(store, tell)
        digest = tags.get("pneumo.model_digest") or file_digest(model.folder / KERAS_FILE)
        self._candidate = Candidate(
            tags.get("pneumo.study", ""), tags.get("pneumo.trial", ""), model.reference.name, digest
        )
        known = {entry.test_digest for entry in self._ledger.entries()} | {tags.get("pneumo.test_digest", "")}
        self._test_sets = _test_sets(dataset, known)
        unknown = {place: rows for place, rows in self._test_sets.items() if digest_of_test(rows) not in known}
        self.test_rows, self.unknown_rows = (_rows_of(sets, dataset) for sets in (self._test_sets, unknown))
        self.warnings: list[str] = []
        self.unlike: list[str] = []

    def score(self, manifest: pd.DataFrame) -> pd.DataFrame:
        """Returns the score table of images, sorted by path.

        Args:
            manifest: rows of the data set, with all of its test folders.

        Raises:
            DatasetError: if a test folder lacks a class.
            ImageError: if the model refuses an image.

        Side effects:
            Appends to the ledger, if there is a test folder among them.
        """
        by_ledger = [self._by_ledger(place, rows) for place, rows in self._test_sets.items()]
        answered = {path for table in by_ledger for path in table["path"]}
        others = manifest[~manifest["path"].isin(answered)]
        tables = [*by_ledger, *([self._directly(self._root, others)] if len(others) else [])]
        table = pd.concat(tables, ignore_index=True).sort_values("path", ignore_index=True)
        by_path = manifest.set_index("path").loc[table["path"]]  # patients and kinds are as they were asked for here
        return table.assign(group=by_path["group"].to_numpy(), subtype=by_path["subtype"].to_numpy())

    def _by_ledger(self, place: str, rows: pd.DataFrame) -> pd.DataFrame:
        root = self._root / place
        scored = self._ledger.score(
            rows,
            self._candidate,
            lambda some: self._directly(root, some),
            lambda table: compute_metrics(table, self._model.threshold),
        )
        what = "its scores are read from an earlier opening" if scored.reused else "opened; the ledger has recorded it"
        self._tell(f"{root / TEST_FOLDER} is the test folder of a data set: {what} (docs/test-folder.md)")
        self.warnings += [scored.warning] if scored.warning else []
        return scored.table.assign(path=place + scored.table["path"])

    def _directly(self, root: Path, rows: pd.DataFrame) -> pd.DataFrame:
        self._tell(f"scoring {len(rows)} images")
        parts = [rows.iloc[start : start + _AT_A_TIME] for start in range(0, len(rows), _AT_A_TIME)]
        return pd.concat([self._scored(root, part) for part in parts], ignore_index=True)

    def _scored(self, root: Path, rows: pd.DataFrame) -> pd.DataFrame:
        paths = rows["path"].tolist()
        try:
            pixels = self._model.pixels(root, paths)
        except ValueError as error:  # the model brings a class of its own for its errors
            raise ImageError(f"{self._model.reference} refuses an image: {error}") from error
        # models of earlier versions of this program do not know what their training images look like
        warning = getattr(self._model.classifier, "warning", lambda gray: None)
        self.unlike += [path for path, gray in zip(paths, pixels[..., 0], strict=True) if warning(gray)]
        return score_table(rows, classifier_logits(self._model.keras_model, pixels))


def _rows_of(sets: Mapping[str, pd.DataFrame], dataset: Dataset) -> np.ndarray:
    paths = [f"{place}{path}" for place, rows in sets.items() for path in rows["path"]]
    return np.asarray(dataset.manifest["path"].isin(paths))


def _test_sets(dataset: Dataset, known: set[str]) -> dict[str, pd.DataFrame]:
    """Finds test folders that the ledger answers for: known to it, or with a `train` folder beside them.

    Returns:
        Path of the folder above `test`, with a `/` at its end unless it is empty → rows of the images, their paths
        relative to it.
    """
    manifest = dataset.manifest
    found = manifest["path"].str.extract(rf"^((?:.*/)?){TEST_FOLDER}/", expand=False)
    sets = {}
    for place in sorted(found.dropna().unique()):
        rows = manifest[found == place]
        rows = rows.assign(path=rows["path"].str[len(place) :])
        if digest_of_test(rows) in known or (dataset.root / place / "train").is_dir():
            sets[place] = rows
    return sets
