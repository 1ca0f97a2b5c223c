"""What makes a study the same study: data, space and program. A resume compares them with what was recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pneumo_core
import search_spaces
import tuning
from pneumo_core.provenance import package_versions
from tuning.events import StudyStarted
from tuning.protocol import images_in_words

_CORE_ASIDE = {
    "audit",
    "classifier",
    "comparison",
    "composition",
    "curves",
    "download",
    "duplicates",
    "ensemble",
    "errors",
    "explain",
    "explain_plots",
    "familiarity",
    "findings",
    "fit_verdict",
    "labelled_folder",
    "phantom",
    "phantom_set",
    "plots",
    "prediction_panel",
    "provenance",
    "shortcuts",
}
_TUNING = {
    "algorithms",
    "attempt",
    "confirmation",
    "hyperband",
    "oracles",
    "protocol",
    "pruning",
    "search",
    "spaces",
    "tpe",
    "trial",
    "trial_data",
}
_LIBRARIES = (
    "keras",
    "keras-tuner",
    "numpy",
    "opencv-python-headless",
    "optuna",
    "pillow",
    "pydicom",
    "scikit-learn",
    "scipy",
    "tensorflow",
)
_COMPARED = ("store", "data_root", "data_digest", "split_digest", "images", "definition", "code", "versions", "threads")
_SHOWN_DIGITS = 12


def code_digests() -> dict[str, str]:
    """Returns the first digits of the SHA-256 of each file of this program that determines what a trial comes to."""
    return {name: _digest(path) for name, path in sorted(_files())}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _files() -> Iterator[tuple[str, Path]]:
    for package in (pneumo_core, search_spaces, tuning):
        for path in Path(str(package.__file__)).parent.glob("*.py"):
            if (path.stem in _TUNING) if package is tuning else path.stem not in _CORE_ASIDE:
                yield f"{package.__name__}/{path.name}", path


def identity_of(started: StudyStarted) -> dict[str, Any]:
    """Returns the fields that `differences` looks at."""
    return {name: getattr(started, name) for name in _COMPARED}


def deciding_versions(versions: Mapping[str, str]) -> dict[str, str | None]:
    """Returns those of some packages' versions on which it depends what a trial comes to."""
    return {name: versions.get(name) for name in _LIBRARIES}


def program_changes(before: StudyStarted) -> list[str]:
    """Returns a line for everything of this program and its libraries that is not as it was.

    Args:
        before: what was recorded of a study.
    """
    versions = package_versions()
    was, now = (deciding_versions(of) for of in (before.versions, versions))
    return [*_changes("code", before.code, code_digests()), *_changes("package", was, now)]


def differences(before: StudyStarted, now: StudyStarted) -> list[str]:
    """Returns a line for everything that would make a study go on otherwise than it began.

    Args:
        before: what was recorded when the study began.
        now: what would be recorded if it began now.
    """
    lines = []
    if before.data_digest != now.data_digest or before.split_digest != now.split_digest:
        counts = [images_in_words(study) for study in (before, now)]
        lines.append(
            f"data: {before.data_root} had {counts[0]}, digest {before.data_digest[:_SHOWN_DIGITS]}; "
            f"{now.data_root} has {counts[1]}, digest {now.data_digest[:_SHOWN_DIGITS]}"
        )
    lines += _changes("space", _flat(before.definition), _flat(now.definition))
    lines += _changes("code", before.code, now.code)
    lines += _changes("package", *(deciding_versions(study.versions) for study in (before, now)))
    lines += _changes("setting", {"threads": before.threads}, {"threads": now.threads})
    return lines


def _changes(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if what == "code":
            yield f"code: {name} was {'removed' if new is None else 'added' if old is None else 'changed'}"
        else:
            yield f"{what}: {name} was {_word(old)}, is {_word(new)}"


def _word(value: object) -> str:
    return "not there" if value is None else str(value)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, lists of named parameters by name; what does not determine results is left out."""
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        if name == "parameters":
            for parameter in value:
                flat |= _flat(parameter, f"{parameter['name']} ")
        elif isinstance(value, Mapping) and name != "confirm":
            flat |= _flat(value, f"{prefix}{name}.")
        elif prefix or name not in ("trials", "description", "confirm"):
            flat[prefix + name] = value
    return flat
