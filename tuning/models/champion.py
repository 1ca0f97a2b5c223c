"""The version that holds the alias, on the test images of a model that wants to replace it."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from pneumo_core.errors import ModelError, PromotionError
from tuning.models.gate import Rivalry
from tuning.models.kept_scores import file_digest
from tuning.models.ledger import Candidate, Ledger
from tuning.models.lineage import LINEAGE_FILE
from tuning.models.registry import ModelReference, Registry
from tuning.models.study_images import acquaintance

if TYPE_CHECKING:
    from pneumo_core.dataset import Dataset
    from tuning.models.registered import RegisteredClassifier


_TRUSTED = ("pneumo.data_digest", "pneumo.model_digest", "pneumo.threshold")


@dataclasses.dataclass(frozen=True)
class Champion:
    """The version that an alias points to.

    Attributes:
        registry: that holds it.
        reference: of the version.
        tags: of the version.
    """

    registry: Registry
    reference: ModelReference
    tags: Mapping[str, str]

    @classmethod
    def of(cls, registry: Registry, name: str, alias: str) -> Champion | None:
        """Returns the holder of an alias; None if it never had one.

        Where somebody removed the alias, or the version along with it, it is the last one of the history: else a model
        would have nobody to beat, and no mark.
        """
        reference = registry.holder(name, alias) or registry.last_holder(name, alias)
        return None if reference is None else cls(registry, reference, registry.tags(reference))

    def __str__(self) -> str:
        return str(self.reference)

    def is_model(self, model_digest: str, threshold: float) -> bool:
        """Returns whether it makes the same calls, because it is the same model."""
        tags = (self.tags.get("pneumo.model_digest"), self.tags.get("pneumo.threshold"))
        return tags == (model_digest, repr(threshold))

    def rivalry(self, dataset: Dataset, challenger: pd.DataFrame, threshold: float, ledger: Ledger) -> Rivalry:
        """Compares a challenger with it on the same test images, each at its own threshold.

        Args:
            dataset: of the challenger's study.
            challenger: its score table of the test images.
            threshold: of the challenger.
            ledger: the way to the test images, where the champion's scores on them are not kept.

        Returns:
            The comparison; or why there is none, where its files are gone, its tags were changed or it knows patients
            of the test folder.

        Side effects:
            Writes to the ledger; scores the test images where that was never done.
        """
        from pneumo_core.comparison import compare
        from pneumo_core.operating_point import OperatingPoint

        try:
            self._refuse_changed_tags()
            self._refuse_known_patients(dataset)
            table = self._scores(dataset, ledger)
            points = (OperatingPoint(threshold), OperatingPoint(self._threshold()))  # temperatures are in the models
            return Rivalry(str(self.reference), compare(challenger, table, points))
        except (ModelError, PromotionError) as error:
            return Rivalry(str(self.reference), obstacle=str(error).rstrip("."))

    def _scores(self, dataset: Dataset, ledger: Ledger) -> pd.DataFrame:
        """Its score table of the test images, kept or new; patients and kinds as in the challenger's study."""
        study, trial, digest = self.tags.get("pneumo.study", ""), self.tags.get("pneumo.trial", ""), self._digest()
        if not ledger.has_scores(dataset.manifest, digest):
            self._check_classes(dataset)  # before the folder is opened: what cannot be loaded shall not cost a look
        candidate = Candidate(study, trial, self.reference.name, digest)
        scored = ledger.score(dataset.manifest, candidate, lambda rows: self._loaded.score(dataset.root, rows))
        known = dataset.manifest.set_index("path").loc[scored.table["path"], ["group", "subtype"]]
        return scored.table.assign(**{name: known[name].to_numpy() for name in known})

    @functools.cached_property
    def _loaded(self) -> RegisteredClassifier:
        from tuning.models.registered import RegisteredClassifier

        return RegisteredClassifier(self.registry, self.reference)

    def _check_classes(self, dataset: Dataset) -> None:
        names = tuple(self._loaded.classifier.settings.class_names)
        if names != tuple(dataset.class_names):
            ours = " and ".join(dataset.class_names)
            raise PromotionError(f"it tells {' from '.join(names)}, and these images are of {ours}")

    def _threshold(self) -> float:
        tag = self.tags.get("pneumo.threshold")
        return float(tag) if tag else self._loaded.threshold

    def _digest(self) -> str:
        """Of what decides its scores; of its file, where an earlier version of this program registered it."""
        from pneumo_core.classifier import KERAS_FILE

        tag = self.tags.get("pneumo.model_digest")
        return tag or file_digest(self.registry.folder(self.reference) / KERAS_FILE)

    def _refuse_changed_tags(self) -> None:
        """Makes sure that the tags that a comparison rests on are those that its files hold.

        MLflow lets anybody edit them: with another threshold, or another model's digest, it would be easy to beat.

        Raises:
            PromotionError: if one is not.
        """
        origin = self.registry.folder(self.reference) / LINEAGE_FILE
        held = json.loads(origin.read_text())["tags"] if origin.is_file() else {}  # an earlier program wrote none
        for name in _TRUSTED:
            if name in held and held[name] != self.tags.get(name):
                raise PromotionError(f"its tag {name} was changed in MLflow; it was {held[name]}")

    def _refuse_known_patients(self, dataset: Dataset) -> None:
        """Makes sure that no test image is of a patient whom the champion was trained on.

        The same data set has the same test folder, whose patients are nowhere else.

        Raises:
            PromotionError: if one is, or that cannot be known.
        """
        if self.tags.get("pneumo.data_digest") == dataset.digest:
            return
        test = dataset.manifest[dataset.manifest["split"] == "test"]
        known = acquaintance(self.registry.folder(self.reference), test)
        if known is None:
            raise PromotionError(
                "it comes of other data and does not say of which images, so it may have been trained on these patients"
            )
        shared = known.trained | known.patients
        if shared.any():
            patients = test["group"][shared].nunique()
            raise PromotionError(
                f"it was trained on images of {patients} of these patients, the first {test['group'][shared].iloc[0]}: "
                "its scores on them would flatter it"
            )
