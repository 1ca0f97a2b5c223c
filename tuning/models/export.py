"""A registered model as one file for those who deploy it, with all they need to know beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo_core.classifier import SETTINGS_FILE
from pneumo_core.errors import ImageError, ModelError, PneumoError
from pneumo_core.images import IMAGE_ENDINGS
from tuning.models.kept_scores import file_digest
from tuning.models.registered import RegisteredClassifier
from tuning.models.registry import ModelReference, Registry
from tuning.models.runtimes import Comparison, Port, export_file
from tuning.ranking import load_record
from tuning.store import Store

CHECKED_IMAGES = 64
"""So many images are compared, at most."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file that was declared good.

    Attributes:
        model: the version it is of.
        path: of the file.
        description: what `FILE.json` says.
        comparison: with the Keras face.
    """

    model: ModelReference
    path: Path
    description: dict[str, Any]
    comparison: Comparison


def export_registered(
    store: Store,
    registry: Registry,
    reference: str | None,
    file_format: str,
    path: Path,
    images: Sequence[Path] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Exports a registered model and compares the file with its Keras face on real images.

    Args:
        store: that holds the study which the model is of.
        registry: that holds the model.
        reference: `NAME@ALIAS`, `NAME/VERSION` or `NAME`; None for the only model there is.
        file_format: see `tuning.models.runtimes.export_file`.
        path: of the new file; checked by `tuning.models.runtimes.check_target`.
        images: files, or folders of files, to compare on; those that the model was checked on if there are none.
        tell: takes sentences for the user.

    Raises:
        ModelError: if there is no such model, or there are no images to compare on.
        ImageError: if an image cannot be used.
        ExportError: if the file cannot be written so, or scores differently; no file is left.

    Side effects:
        Writes the file, and `FILE.json` beside it.
    """
    model = RegisteredClassifier(registry, registry.find(reference))
    tags = registry.tags(model.reference)
    pixels = _pixels(model, _some_of(images) if images else _checked_images(store, model, tags))
    tell(f"exporting {model.reference} as {file_format}, to be compared with its Keras face on {len(pixels)} images")
    described: dict[str, Any] = {}

    def describe(file: Path, source: Port, target: Port, comparison: Comparison) -> str:
        text = json.dumps(_description(model, tags, file, file_format, source, target, comparison), indent=2) + "\n"
        described.update(json.loads(text))
        return text

    comparison = export_file(model.keras_model, file_format, path, pixels, describe)
    return Exported(model.reference, path, described, comparison)


def _description(
    model: RegisteredClassifier,
    tags: Mapping[str, str],
    file: Path,
    file_format: str,
    source: Port,
    target: Port,
    comparison: Comparison,
) -> dict[str, Any]:
    settings = json.loads((model.folder / SETTINGS_FILE).read_text())
    negative, positive = settings["class_names"]
    steps = settings["preprocessing"]
    return {
        "file": file.name,
        "format": file_format,
        "bytes": file.stat().st_size,
        "sha256": file_digest(file),
        "model": str(model.reference),
        "made_by": {name: tags[name] for name in sorted(tags) if name.startswith("pneumo.")},
        "input": dataclasses.asdict(source)
        | {
            "holds": "gray pixels, 0 (black) to 255 (white), (images, height, width, 1); scaling is inside",
            "image_size_px": settings["image_size"],
            "preprocessing": steps,
            "steps": _steps(steps, settings["image_size"]),
        },
        "output": dataclasses.asdict(target)
        | {
            "holds": f"probability of {positive}, 0 to 1",
            "temperature": f"{tags.get('pneumo.temperature', 'the model’s')}, applied inside: the output is calibrated",
        },
        "class_names": [negative, positive],
        "threshold": model.threshold,
        "call": f"{positive} where the probability is at least the threshold, else {negative}",
        "bands": settings.get("bands") or _bands(model.threshold),
        "comparison": dataclasses.asdict(comparison)
        | {"with": "the Keras face of the registered model, in probabilities; one image alone and batches of 16"},
        "use": "for research, not for diagnosis",
    }


def _steps(preprocessing: Mapping[str, str], size_px: int) -> list[str]:
    """What has to be done to an image first, in words, for whoever does it without this program."""
    square = f"{size_px} × {size_px} px"
    shape = {
        "squash": f"resize to {square}, giving the aspect ratio up",
        "crop": f"cut the square out of the middle, and resize it to {square}",
        "pad": f"resize so that the longer side has {size_px} px, keeping the aspect ratio",
    }[preprocessing["resize"]]
    return [
        "decode, turn upright as EXIF says, make it 8-bit gray (ITU-R 601 luma)",
        f"{shape}; bilinear with antialiasing, as Pillow's BILINEAR",
        *(["blur with a Gaussian of 3 × 3 px"] if preprocessing["denoise"] == "gaussian" else []),
        *(["CLAHE with clip limit 2 and 8 × 8 tiles, as OpenCV's"] if preprocessing["contrast"] == "clahe" else []),
        *([f"lay it into the middle of a black square of {square}"] if preprocessing["resize"] == "pad" else []),
        "pass the values 0 to 255 as they are",
    ]


def _bands(threshold: float) -> dict[str, float]:
    """Of models of earlier versions of this program, which do not say theirs; see `pneumo_core.classifier`."""
    return {"moderate_from": 0.6 * threshold, "high_from": 1 - 0.6 * (1 - threshold)}


def _pixels(model: RegisteredClassifier, files: Sequence[Path]) -> np.ndarray:
    try:
        return model.pixels(Path(), [str(file) for file in files])
    except PneumoError:
        raise
    except ValueError as error:  # the model brings a class of its own for its errors
        raise ImageError(f"--images: {error}") from error


def _some_of(images: Sequence[Path]) -> list[Path]:
    """The image files, evenly picked where there are too many."""
    files: list[Path] = []
    for place in images:
        if not place.exists():
            raise ModelError(f"--images {place}: expected an image or a folder of images, found nothing there.")
        inside = (
            sorted(file for file in place.rglob("*") if file.suffix.lower() in IMAGE_ENDINGS)
            if place.is_dir()
            else [place]
        )
        files += [file for file in inside if not file.name.startswith(".")]
    if not files:
        raise ModelError(f"--images: expected images ({', '.join(IMAGE_ENDINGS)}), found none.")
    return [files[row] for row in _evenly(len(files))]


def _checked_images(store: Store, model: RegisteredClassifier, tags: Mapping[str, str]) -> list[Path]:
    """Images of the model's study that it was checked on when it was registered, from all over its probabilities."""
    ask = "name some with --images (files, or a folder)"
    table = model.folder / "checked_scores.csv"
    try:
        root = Path(load_record(store, tags.get("pneumo.study", "")).identity.data_root)
        checked = pd.read_csv(table, keep_default_na=False).sort_values("probability", ignore_index=True)
        paths = checked["path"].iloc[_evenly(len(checked))]
    except (PneumoError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"model {model.reference}: the images it was checked on are not known here; {ask}.") from error
    files = [root / path for path in paths]
    if not files or not all(file.is_file() for file in files):
        raise ModelError(f"model {model.reference}: the images it was checked on are no longer in {root}; {ask}.")
    return files


def _evenly(count: int) -> list[int]:
    chosen = np.unique(np.linspace(0, count - 1, min(count, CHECKED_IMAGES)).round().astype(int))
    return [int(row) for row in chosen] if count else []
