"""External validation: a registered model on labelled images of anywhere, at its own threshold. Nothing is fitted."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pneumo_core.dataset import Dataset, digest_of_test
from pneumo_core.errors import ConfigError, DatasetError
from pneumo_core.evaluation_report import EvaluationReport, evaluate, report_text
from pneumo_core.labelled_folder import copies, index_labelled_folder
from pneumo_core.layout import few
from pneumo_core.operating_point import OperatingPoint
from tuning.models.ledgered_scorer import LedgeredScorer
from tuning.models.registered import RegisteredClassifier
from tuning.models.registry import ModelReference, Registry
from tuning.models.study_images import Acquaintance, acquaintance
from tuning.store import Store


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
                "digest": digest_of_test(self.dataset.manifest),
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
    if lacking := [name for label, name in enumerate(class_names) if label not in labels.values()]:
        raise ConfigError(f"--map: expected folders of both classes, left none for {lacking[0]}; add --classes.")
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
    scorer = LedgeredScorer(store, model, registry.tags(model.reference), dataset, tell)
    dataset, familiar = _new_images(dataset, model, scorer, leave_out=leave_out_known)
    scores = scorer.score(dataset.manifest)
    report = evaluate(scores, operating_point=OperatingPoint(model.threshold))  # the temperature is in the model
    return ExternalValidation(
        model=model.reference,
        class_names=(negative, positive),
        directory=directory,
        dataset=dataset,
        folders={folder: (negative, positive)[label] for folder, label in folders.items()},
        scores=scores,
        report=report,
        warnings=[
            *_left_out(dataset),
            *dataset.notes,
            *copies(dataset.manifest),
            *familiar,
            *_unlike(scorer.unlike),
            *scorer.warnings,
            *_broken_promises(model, report),
        ],
    )


def _new_images(
    dataset: Dataset, model: RegisteredClassifier, scorer: LedgeredScorer, *, leave_out: bool
) -> tuple[Dataset, list[str]]:
    """Returns the images that are new to the model, with those of test folders, and what is to be said about them."""
    met, manifest = acquaintance(model.folder, dataset.manifest), dataset.manifest
    if met is None:
        return dataset, [
            f"{model.reference} does not say which images its study had, so whether these are new to it was not "
            "checked; a model promoted anew says it."
        ]
    _refuse_part(met, scorer, dataset)
    by_ledger = scorer.test_rows
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


def _refuse_part(met: Acquaintance, scorer: LedgeredScorer, dataset: Dataset) -> None:
    """A part of the study's test folder is no test set of its own, with openings of its own; a grown one may be.

    Raises:
        DatasetError: if some of its images are there and others are not.
    """
    found = int((met.tested & scorer.unknown_rows).sum())
    if 0 < found < met.test_images:
        raise DatasetError(
            f"{dataset.root}: expected the whole test folder of the model's study, found {found} of its "
            f"{met.test_images} images: looks at parts of it would not be counted. Give the folder itself."
        )


def _familiar(paths: pd.Series) -> list[str]:
    if not len(paths):
        return []
    return [
        f"{len(paths)} images are called as some of the model's study: {few(paths)}. If they are the same pictures, "
        "saved anew, they are no new ones: those that trained or chose the model flatter it, and its test images are "
        "opened past the ledger."
    ]


def _unlike(paths: list[str]) -> list[str]:
    if not paths:
        return []
    return [f"{len(paths)} images look unlike those that the model was made with: {few(paths)}."]


def _broken_promises(model: RegisteredClassifier, report: EvaluationReport) -> list[str]:
    """Returns where these images and those of the study's test folder contradict each other."""
    path = model.folder / "test_report.json"
    if not path.is_file():
        return []
    promised, sentences = json.loads(path.read_text())["metrics"], []
    for name in ("roc_auc", "sensitivity", "specificity"):
        here, there = report.metrics[name], promised[name]
        if None not in there.values() and (here.high < there["low"] or here.low > there["high"]):
            sentences.append(
                f"{name.replace('_', ' ')} is {here.value:.3f} ({here.low:.3f} to {here.high:.3f}) here, where it was "
                f"{there['value']:.3f} ({there['low']:.3f} to {there['high']:.3f}) on the test folder of its study."
            )
    return sentences


def _left_out(dataset: Dataset) -> list[str]:
    count = len(dataset.skipped)
    return [f"Left out: files that cannot be used as images ({count})."] if count else []
