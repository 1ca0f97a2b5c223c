"""Whether the registered versions can be loaded, and the test ledger says what its files say."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from pneumo_core.classifier import KERAS_FILE, SETTINGS_FILE, ClassifierSettings
from pneumo_core.errors import PneumoError
from tuning.diagnosis import Diagnosis
from tuning.models.holdings import HeldVersion, Holdings, local_folder
from tuning.models.kept_scores import file_digest
from tuning.models.ledger import Ledger, LedgerEntry
from tuning.store import Store


def registry(holdings: Holdings) -> Iterator[Diagnosis]:
    """Looks at every version's files, at where aliases point, and at models that never became versions."""
    versions, aliases = holdings.versions(), holdings.aliases()
    for version in versions:
        if reason := _fault(version):
            advice = f"tune doctor --fix if the store was moved; else promote {version.name} again"
            yield Diagnosis(f"model {version}", "problem", reason, advice)
    known = {(version.name, version.version) for version in versions}
    for name, pointed in sorted(aliases.items()):
        for alias, version_number in sorted(pointed.items()):
            if (name, version_number) not in known:
                seen = f"points to version {version_number}, which is not there"
                yield Diagnosis(f"model {name}@{alias}", "problem", seen, "promote a model to it")
    named = {version.model_id for version in versions}
    stray = [model for model in holdings.logged_models() if model.model_id not in named and not model.ready]
    if stray:
        seen = f"{len(stray)} uploads were begun and never became a version"
        yield Diagnosis("registry", "warning", seen, "tune registry mends what it can; tune gc removes old ones")
    yield Diagnosis("registry", "ok", f"models: {len(aliases)}, versions: {len(versions)}")


def _fault(version: HeldVersion) -> str:
    """What is wrong with a version's files; nothing if they are whole, or lie on a server."""
    folder = local_folder(version.location)
    if folder is None:
        return ""
    if not folder.is_dir():
        return f"its folder {folder} is not there"
    missing = [name for name in ("MLmodel", SETTINGS_FILE, KERAS_FILE) if not (folder / name).is_file()]
    if missing:
        return f"{folder} lacks {', '.join(missing)}"
    return _damage(folder)


def _damage(folder: Path) -> str:
    try:
        ClassifierSettings.load(folder)
        with zipfile.ZipFile(folder / KERAS_FILE) as archive:
            damaged = archive.testzip()
    except Exception as error:  # of JSON, of zip files, of the settings' own checks
        return f"{folder} is damaged ({type(error).__name__}: {error})"
    return f"{folder / KERAS_FILE} is damaged in {damaged}" if damaged else ""


def ledger(store: Store) -> Iterator[Diagnosis]:
    """Reads the test ledger, and compares the kept scores with what it recorded of them."""
    try:
        entries = Ledger(store).entries()
    except PneumoError as error:
        yield Diagnosis("test ledger", "problem", str(error), "restore test_ledger.jsonl from a copy")
        return
    recorded = {entry.scores: entry for entry in entries if entry.scores}
    wrong = [text for entry in recorded.values() if (text := _changed(store, entry))]
    for text in wrong:
        advice = "bring the file back; without it the next promotion opens the test folder again"
        yield Diagnosis("test scores", "problem", text, advice)
    if entries and not store.test_ledger.read_bytes().endswith(b"\n"):
        yield Diagnosis("test ledger", "warning", "its last line was cut short by a crash", "the next entry drops it")
    opened = {f"{entry.test_digest}/{entry.model_digest}" for entry in entries if entry.outcome == "opened"}
    kept = [f"{path.parent.name}/{path.stem}" for path in store.test_scores.glob("*/*.csv")]
    if lost := sum(one not in opened for one in kept):
        seen = f"{lost} score tables are kept whose opening it does not tell, so it lost entries"
        yield Diagnosis("test ledger", "problem", seen, "restore test_ledger.jsonl from a copy")
    openings = sum(entry.outcome == "opened" for entry in entries)
    yield Diagnosis("test ledger", "ok", f"{len(entries)} entries, {openings} openings, {len(recorded)} score tables")


def _changed(store: Store, entry: LedgerEntry) -> str:
    file = store.root / entry.scores
    if not file.is_file():
        return f"{entry.scores} is not there"
    return "" if file_digest(file) == entry.scores_digest else f"{entry.scores} was changed after it had been recorded"
