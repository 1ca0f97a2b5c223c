"""The files of a model as they were when it was registered: `SHA256SUMS`, which `sha256sum -c` checks too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pneumo_core.errors import ModelError

SUMS_FILE = "SHA256SUMS"


def write_sums(folder: Path) -> str:
    """Writes the SHA-256 of every file of a folder into it.

    Returns:
        The SHA-256 (hex) of what was written, which stands for all of the files.

    Side effects:
        Writes `SHA256SUMS`.
    """
    sums = folder / SUMS_FILE
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != sums)
    sums.write_text("".join(f"{_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files))
    return _digest(sums)


def check_sums(folder: Path, expected: str) -> None:
    """Makes sure that the files of a folder are those that were registered.

    Files that came later are passed over: MLflow writes one when a model is loaded, Python its compiled ones.

    Args:
        folder: of the model.
        expected: as `write_sums` returned it.

    Raises:
        ModelError: with the first file that is missing or differs.
    """
    try:
        if _digest(folder / SUMS_FILE) != expected:
            raise ModelError(f"{SUMS_FILE} was changed")
        for line in (folder / SUMS_FILE).read_text().splitlines():
            digest, _, name = line.partition("  ")
            if _digest(folder / name) != digest:
                raise ModelError(f"{name} was changed")
    except OSError as error:
        name = Path(error.filename or folder).name
        raise ModelError(f"{name} cannot be read ({error.strerror or error})") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
