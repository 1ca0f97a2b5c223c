"""The audit of a data folder: everything about its images that could spoil a training or flatter a score.

Nothing is changed and nothing is refused here: what is wrong becomes a finding.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pneumo_core.composition import OFFICIAL_CLASSES, Count, composition, deviations
from pneumo_core.dataset import UNNAMED, Dataset, patient_of
from pneumo_core.duplicates import MIN_CONTRAST, duplicate_findings, sides_first
from pneumo_core.findings import SEVERITIES, Case, Finding, by_severity, counted
from pneumo_core.images import SMALL_SIDE_PX, read_images
from pneumo_core.shortcuts import ShortcutBaseline, shortcut_baseline

THUMBNAIL_PX = 64

OUTLIER_Z = 3.5
"""Robust z score (median and MAD) from which a value is an outlier: Iglewicz & Hoaglin 1993."""

_COLOUR_MODES = ("RGB", "P", "YBR")
_UNEQUAL_SHARE = 0.05
_MIN_IMAGES_FOR_OUTLIERS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """What was found in a data folder.

    Attributes:
        dataset: the folder as indexed, unusable files left out.
        counts: images and patients by split, class and subtype.
        shortcut: how well file properties alone tell the label.
        findings: worst first.
    """

    dataset: Dataset
    counts: tuple[Count, ...]
    shortcut: ShortcutBaseline
    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """Findings that join test with training data."""
        return tuple(finding for finding in self.findings if finding.severity == "leak")

    def summary(self) -> dict[str, Any]:
        """Returns the audit in a few numbers, fit for JSON, to be kept with every study of these images."""
        per_severity = Counter(finding.severity for finding in self.findings)
        copies = self.dataset.manifest["content_hash"].value_counts()
        return {
            "digest": self.dataset.digest,
            "images": len(self.dataset.manifest),
            "patients": int(self.dataset.manifest["group"].nunique()),
            "unusable": len(self.dataset.skipped),
            "identical_groups": int((copies > 1).sum()),
            "counts": {f"{c.split} {c.class_name}": c.images for c in self.counts if not c.subtype},
            "severities": {severity: per_severity[severity] for severity in SEVERITIES},
            "findings": {finding.kind: finding.count for finding in self.findings},
            "shortcut_auc": None if self.shortcut.auc is None else round(self.shortcut.auc, 4),
        }


def audit_dataset(dataset: Dataset) -> Audit:
    """Reads all images once more, as small thumbnails, and looks for everything that `docs/data-check.md` lists.

    The findings depend on the files and their names, not on where the root is or how the file system lists it.

    Args:
        dataset: as `index_dataset` returns it with `skip_unreadable=True`.

    Raises:
        ImageError: if an image cannot be read any more.
    """
    manifest, index = dataset.manifest, audit_index(dataset)
    thumbnails = read_images(dataset.root, list(manifest["path"]), THUMBNAIL_PX)[..., 0]
    findings = [*index.findings, *duplicate_findings(manifest, thumbnails), *_odd_exposure(manifest, thumbnails)]
    return dataclasses.replace(index, findings=by_severity(findings))


def audit_index(dataset: Dataset) -> Audit:
    """Looks for what can be found without reading an image again: no duplicates, and nothing about brightness.

    Studies keep this much of their images, because they must not look at those of the test folder.

    Args:
        dataset: as of `index_dataset`.
    """
    manifest, counts, shortcut = dataset.manifest, composition(dataset), shortcut_baseline(dataset.manifest)
    findings = [
        *_shared_patients(manifest),
        *_nameless(manifest),
        *_unusable(dataset),
        *_small(manifest),
        *_colour(dataset),
        *_misfiled(dataset),
        *_shortcut(shortcut),
        *_counts(dataset, counts),
    ]
    return Audit(dataset, counts, shortcut, by_severity(findings))


def _shared_patients(manifest: pd.DataFrame) -> Iterator[Finding]:
    splits = manifest.groupby("group")["split"].agg(set)
    for severity, kind, shared, meaning in (
        (
            "leak",
            "patient-in-test-and-train",
            splits[[("test" in held and len(held) > 1) for held in splits]],
            "images both in test/ and outside it, which flatters test scores",
        ),
        (
            "note",
            "patient-in-train-and-val",
            splits[[{"train", "val"} <= held for held in splits]],
            "images in train/ and val/; both are pooled and divided anew by patient",
        ),
    ):
        if len(shared):
            rows = ((name, manifest[manifest["group"] == name]) for name in sorted(shared.index))
            cases = tuple(Case(tuple(sides_first(of)), f"patient {name}") for name, of in rows)
            have = "has" if len(cases) == 1 else "have"
            yield Finding(severity, kind, f"{counted(len(cases), 'patient')} {have} {meaning}.", cases)


def _unusable(dataset: Dataset) -> Iterator[Finding]:
    if dataset.skipped:
        files = counted(len(dataset.skipped), "file")
        text = f"{files} not usable as an image; --skip-unreadable leaves such files out of a study."
        yield Finding("problem", "unusable", text, tuple(Case((), reason) for reason in dataset.skipped))


def _small(manifest: pd.DataFrame) -> Iterator[Finding]:
    sides = manifest[["width_px", "height_px"]].min(axis=1)
    small = manifest[sides < SMALL_SIDE_PX].sort_values(["width_px", "path"])
    if len(small):
        sizes = zip(small["path"], small["width_px"], small["height_px"], strict=True)
        cases = tuple(Case((path,), f"{width} × {height} px") for path, width, height in sizes)
        text = f"{counted(len(small), 'image')} with a side under {SMALL_SIDE_PX} px."
        yield Finding("warning", "small", text, cases)


def _colour(dataset: Dataset) -> Iterator[Finding]:
    manifest = dataset.manifest
    colour = manifest["mode"].str.startswith(_COLOUR_MODES)
    if not colour.any():
        return
    shares = [float(colour[manifest["label"] == label].mean()) for label in (0, 1)]
    unequal = abs(shares[0] - shares[1]) > _UNEQUAL_SHARE
    of_each = " and ".join(f"{share:.1%} of {name}" for share, name in zip(shares, dataset.class_names, strict=True))
    modes = ", ".join(sorted(set(manifest["mode"][colour])))
    text = f"{counted(int(colour.sum()), 'file')} stored in colour ({modes}): {of_each}. Models are shown gray pixels."
    if unequal:
        text += " Whatever else reads these files can tell the classes apart by it."
    named = zip(manifest["path"][colour], manifest["mode"][colour], strict=True)
    cases = tuple(Case((path,), mode) for path, mode in named)
    yield Finding("warning" if unequal else "note", "colour", text, cases)


def _misfiled(dataset: Dataset) -> Iterator[Finding]:
    """Files whose names, as the published data set gives them, belong to the other class."""
    if dataset.class_names != OFFICIAL_CLASSES:
        return
    pairs = zip(dataset.manifest["path"], dataset.manifest["label"], strict=True)
    named = ((path, label, patient_of(path) or "") for path, label in pairs)
    wrong = [
        Case((path,), f"patient {patient}")
        for path, label, patient in named
        if patient and patient.startswith(("bacteria-", "virus-")) != bool(label)
    ]
    if wrong:
        text = f"{counted(len(wrong), 'file')} named like images of the other class."
        yield Finding("problem", "misfiled", text, tuple(wrong))


def _odd_exposure(manifest: pd.DataFrame, thumbnails: npt.NDArray[np.uint8]) -> Iterator[Finding]:
    pixels = thumbnails.reshape(len(thumbnails), -1)
    brightness, contrast = pixels.mean(axis=1), pixels.std(axis=1)
    paths = np.asarray(manifest["path"])
    blank = contrast < MIN_CONTRAST
    if blank.any():
        levels = zip(paths[blank], brightness[blank], strict=True)
        cases = tuple(Case((path,), f"mean gray {level:.0f}") for path, level in levels)
        yield Finding("problem", "blank", f"{counted(len(cases), 'image')} of one gray level all over.", cases)
    for kind, measure, values in (("brightness", "mean gray", brightness), ("contrast", "SD", contrast)):
        z = _robust_z(values, usable=~blank)
        extreme = [index for index in np.argsort(-np.abs(z), kind="stable") if abs(z[index]) > OUTLIER_Z]
        if extreme:
            cases = tuple(
                Case((paths[index],), f"{measure} {values[index]:.0f}, z {z[index]:+.1f}") for index in extreme
            )
            middle = f"{measure}, median {np.median(values[~blank]):.0f} of 255"
            yield Finding("warning", kind, f"{counted(len(cases), 'image')} of unusual {kind} ({middle}).", cases)


def _robust_z(values: npt.NDArray[np.float64], *, usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Returns deviations from the median in units of what is a standard deviation for normal values; 0 if unusable."""
    z = np.zeros(len(values))
    if usable.sum() >= _MIN_IMAGES_FOR_OUTLIERS:
        median = np.median(values[usable])
        if deviation := float(np.median(np.abs(values[usable] - median))):
            z[usable] = 0.6745 * (values[usable] - median) / deviation
    return z


def _shortcut(baseline: ShortcutBaseline) -> Iterator[Finding]:
    if baseline.auc is None:
        yield Finding("note", "shortcut", baseline.reason)
        return
    strongest = max(baseline.alone, key=lambda name: baseline.alone[name])
    told = (
        f"cross-validated AUC {baseline.auc:.3f} ± {baseline.standard_error:.3f} from width, height, aspect ratio, "
        f"mode and file size; {strongest} alone gives {baseline.alone[strongest]:.3f}."
    )
    if not baseline.gives_label_away:
        yield Finding("note", "shortcut", f"File properties do not give the label away: {told}")
        return
    text = f"A model can tell the label without looking at the chest: {told}"
    if baseline.one_shape:
        text += " As all images have one size, the file size says how much detail a picture holds, which models see."
    yield Finding("warning", "shortcut", text)


def _counts(dataset: Dataset, counts: tuple[Count, ...]) -> Iterator[Finding]:
    if different := deviations(counts):
        text = f"Not the numbers of images that the data set was published with: {', '.join(different)}."
        yield Finding("note", "counts", text)
    if not (dataset.manifest["split"] == "test").any():
        yield Finding("note", "no-test", "There is no test/ folder with images, so leaks into it cannot be looked for.")
    for note in dataset.notes:
        if not note.startswith("Patients with images both in test/") and UNNAMED not in note:  # said better elsewhere
            yield Finding("note", "reading", note)


def _nameless(manifest: pd.DataFrame) -> Iterator[Finding]:
    nameless = manifest["path"][manifest["group"] == manifest["path"]]
    if len(nameless):
        text = (
            f"{len(nameless)} of {len(manifest)} file names give no patient: whether one has images on both sides of "
            "test/ cannot be known. Say how names give it with --patient-pattern."
        )
        yield Finding("warning", "patients-unknown", text, tuple(Case((path,), "") for path in sorted(nameless)))
