"""External validation: a registered model on labelled images of anywhere, at its own threshold. Nothing is fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo_core.classifier import KERAS_FILE
from pneumo_core.dataset import Dataset, digest_of_test
from pneumo_core.errors import ConfigError, DatasetError, ImageError
from pneumo_core.evaluation import compute_metrics
from pneumo_core.evaluation_report import EvaluationReport, evaluate, report_text
from pneumo_core.labelled_folder import TEST_FOLDER, copies, index_labelled_folder
from pneumo_core.layout import few
from pneumo_core.operating_point import OperatingPoint
from tuning.models.kept_scores import file_digest
from tuning.models.ledger import Candidate, Ledger
from tuning.models.registered import RegisteredClassifier
from tuning.models.registry import ModelReference, Registry
from tuning.models.study_images import acquaintance
from tuning.store import Store

_AT_A_TIME = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class ExternalValidation:
    """What a registered model came to on images of anywhere.

    Attributes:
        model: the version.
        class_names: of the negative and the positive class.
        directory: where they lie.
        dataset: the images, without those that were left out.
        folders: name of a class folder → the model's class.
        scores: score table of the images, sorted by path.
        report: of the scores, at the model's threshold and temperature.
        warnings: sentences that the user should not miss.
    """

    model: ModelReference
    class_names: tuple[str, str]
    directory: Path
    dataset: Dataset
    folders: dict[str, str]
    scores: pd.DataFrame
    report: EvaluationReport
    warnings: list[str]

    def report_text(self) -> str:
        """Returns the report as Markdown that can be read as plain text."""
        return f"# {self.model} on {self.directory}\n\n{report_text(self.report, self.class_names)}"

    def text(self) -> str:
        """Returns the report with all that is to be said about the images."""
        said = [f"- {sentence}" for sentence in [*self.warnings, *self.dataset.skipped]]
        return "\n".join([self.report_text(), *said]).rstrip() + "\n"

    def skipped_lines(self, most: int = 10) -> list[str]:
        """Returns why files were left out, for a terminal."""
        more = len(self.dataset.skipped) - most
        return [*self.dataset.skipped[:most], *([f"and {more} more files, see --out or --json."] if more > 0 else [])]

    def document(self) -> dict[str, Any]:
        """Returns all of it but the scores, fit for JSON."""
        return {
            "model": str(self.model),
            "class_names": list(self.class_names),
            "data": {
                "directory": str(self.directory),
                "digest": self.dataset.digest,
                "images": len(self.dataset.manifest),
                "folders": self.folders,
            },
            "report": self.report.to_mapping(),
            "warnings": self.warnings,
            "skipped": list(self.dataset.skipped),
        }


def class_folders(
    class_names: tuple[str, str], classes: tuple[str, str] | None = None, more: Sequence[str] = ()
) -> dict[str, int]:
    """Returns which folder names stand for which label.

    Args:
        class_names: of the model: negative, positive.
        classes: names that stand for these two in the folder; the model's own if None.
        more: further ones, each as `FOLDER=CLASS` with a class of the model.

    Raises:
        ConfigError: if one is written otherwise, or a folder would be of both classes.
    """
    folders = {name: label for label, name in enumerate(classes or class_names)}
    for text in more:
        folder, sign, name = (part.strip() for part in text.partition("="))
        if not folder or not sign or name not in class_names:
            expected = " or ".join(f"FOLDER={name}" for name in class_names)
            raise ConfigError(f"--map {text}: expected {expected}, the classes of the model.")
        folders |= {folder: class_names.index(name)}
    labels = {folder.casefold(): label for folder, label in folders.items()}
    if torn := [folder for folder, label in folders.items() if labels[folder.casefold()] != label]:
        raise ConfigError(f"--classes, --map: expected one class for each folder, got both for {', '.join(torn)}.")
    return folders


def validate_externally(
    store: Store,
    registry: Registry,
    reference: str | None,
    directory: Path,
    *,
    classes: tuple[str, str] | None = None,
    more_folders: Sequence[str] = (),
    patient_pattern: str | None = None,
    leave_out_known: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> ExternalValidation:
    """Scores a registered model on a labelled folder and reports on that.

    Args:
        store: whose ledger records the opening of a test folder.
        registry: that holds the model.
        reference: `NAME@ALIAS`, `NAME/VERSION` or `NAME`; None for the only model there is.
        directory: with class folders at any depth.
        classes: see `class_folders`.
        more_folders: see `class_folders`.
        patient_pattern: see `pneumo_core.dataset.index_dataset`.
        leave_out_known: leave out the patients of images that the model's study knew, instead of refusing the folder.
        tell: takes sentences for the user.

    Raises:
        ModelError: if there is no such model, or its files are gone.
        ConfigError: if the class folders are named impossibly.
        DatasetError: if the folder cannot be used, or holds images that the model was trained on.
        ImageError: if the model refuses an image.

    Side effects:
        Where the images are the test folder of a data set: writes to its ledger.
    """
    model = RegisteredClassifier(registry, registry.find(reference))
    negative, positive = model.classifier.settings.class_names
    folders = class_folders((negative, positive), classes, more_folders)
    tell(f"reading the images of {directory}")
    dataset = index_labelled_folder(directory, folders, (negative, positive), patient_pattern=patient_pattern)
    scorer = _Scorer(store, model, registry.tags(model.reference), dataset, tell)
    dataset, familiar = _new_images(dataset, model, scorer.test_rows, leave_out=leave_out_known)
    scores = scorer.score(dataset.manifest)
    return ExternalValidation(
        model=model.reference,
        class_names=(negative, positive),
        directory=directory,
        dataset=dataset,
        folders={folder: (negative, positive)[label] for folder, label in folders.items()},
        scores=scores,
        report=evaluate(scores, operating_point=OperatingPoint(model.threshold)),  # the temperature is in the model
        warnings=[*_left_out(dataset), *dataset.notes, *copies(dataset.manifest), *familiar, *scorer.warnings],
    )


class _Scorer:
    """Scores images: those of a data set's test folder by way of the ledger, all others directly.

    Attributes:
        test_rows: (N,) bool, which images of the folder are of a test folder that the ledger answers for.
        warnings: what the ledger has to say.
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
        paths = [f"{place}{path}" for place, rows in self._test_sets.items() for path in rows["path"]]
        self.test_rows = dataset.manifest["path"].isin(paths).to_numpy()
        self.warnings: list[str] = []

    def score(self, manifest: pd.DataFrame) -> pd.DataFrame:
        """Returns the score table of images, sorted by path."""
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
        try:
            return pd.concat([self._model.score(root, part) for part in parts], ignore_index=True)
        except ValueError as error:  # the model brings a class of its own for its errors
            raise ImageError(f"{self._model.reference} refuses an image: {error}") from error


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


def _new_images(
    dataset: Dataset, model: RegisteredClassifier, by_ledger: np.ndarray, *, leave_out: bool
) -> tuple[Dataset, list[str]]:
    """Returns the images that are new to the model, with those of test folders, and what is to be said about them."""
    met, manifest = acquaintance(model.folder, dataset.manifest), dataset.manifest
    if met is None:
        return dataset, [
            f"{model.reference} does not say which images its study had, so whether these are new to it was not "
            "checked; a model promoted anew says it."
        ]
    hidden = met.tested & ~by_ledger
    known = met.trained | hidden
    counts = [f"{met.trained.sum()} images that trained or chose {model.reference}"] if met.trained.any() else []
    counts += [f"{hidden.sum()} of its study's test folder, elsewhere"] if hidden.any() else []
    what = " and ".join(counts)
    if known.any() and not leave_out:
        raise DatasetError(
            f"{dataset.root}: expected images that are new to the model, found {what}, the first "
            f"{manifest['path'][known].iloc[0]}: scores on them say nothing about new patients. Leave their "
            "patients out with --new-only. A test folder is scored under its own name only, by `tune promote` or "
            "--data DIR/test."
        )
    keep = by_ledger | ~manifest["group"].isin(manifest["group"][known]).to_numpy()
    if manifest["label"][keep].nunique() < 2:
        raise DatasetError(f"{dataset.root}: expected new images of both classes, found {keep.sum()} beside {what}.")
    sentences = [f"Left out: {(~keep).sum()} images, of the patients of {what}."] if known.any() else []
    sentences += _familiar(manifest["path"][keep & met.namesakes])
    if (met.tested & keep).any():
        sentences.append("These are test images of the model's own study: this is no external validation.")
    return dataclasses.replace(dataset, manifest=manifest[keep].reset_index(drop=True)), sentences


def _familiar(paths: pd.Series) -> list[str]:
    if not len(paths):
        return []
    return [
        f"{len(paths)} images are called as some that trained or chose the model: {few(paths)}. If they are the same "
        "pictures, saved anew, they flatter it."
    ]


def _left_out(dataset: Dataset) -> list[str]:
    count = len(dataset.skipped)
    return [f"Left out: files that cannot be used as images ({count})."] if count else []
