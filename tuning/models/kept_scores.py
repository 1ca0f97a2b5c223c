"""Scores of models on test images, kept as files so that no model needs to see the same images twice."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pneumo_core.config import TrialConfig
from pneumo_core.durability import flush
from pneumo_core.errors import StoreError
from pneumo_core.images import PIXELS_VERSION

_TEXT_COLUMNS, _WHOLE_COLUMNS = ("path", "group", "subtype"), ("label", "fold")


def model_digest(
    config: TrialConfig, backbone_digest: str, arrays: Mapping[str, np.ndarray], temperature: float = 1.0
) -> str:
    """Returns the SHA-256 (hex) of all that decides a model's probabilities.

    Args:
        config: of the trial.
        backbone_digest: of the backbone weights it started from.
        arrays: what was trained, by variable path.
        temperature: that logits are divided by.
    """
    digest = hashlib.sha256(f"{config.digest()}\n{backbone_digest}\n{PIXELS_VERSION}\n{temperature!r}\n".encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class KeptScores:
    """Score tables as CSV files, one for each test set and model; a file that is there is whole.

    Attributes:
        folder: of the files; in a folder that exists.
    """

    folder: Path

    def file(self, test_digest: str, model_digest: str) -> Path:
        """Returns where the scores of a model on a test set are kept, be they there or not."""
        return self.folder / test_digest / f"{model_digest}.csv"

    def read(self, test_digest: str, model_digest: str, recorded_digest: str | None = None) -> pd.DataFrame:
        """Returns the score table of a model on a test set, to the last digit as it was written.

        Args:
            test_digest: of the test images.
            model_digest: of the model.
            recorded_digest: that the file should have; None if that is not known.

        Raises:
            StoreError: if the file cannot be read or was changed.
        """
        path = self.file(test_digest, model_digest)
        try:
            if recorded_digest not in (None, file_digest(path)):
                raise StoreError(
                    f"test scores {path}: were changed after they had been recorded; bring the file back, or remove "
                    "it to have the test folder opened again."
                )
            # Names such as NA are names; and pandas' own floats, unlike Python's, may be wrong in the last digit.
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            others = [name for name in table if name not in _TEXT_COLUMNS]
            return table.astype({name: "int64" if name in _WHOLE_COLUMNS else "float64" for name in others})
        except StoreError:
            raise
        except (OSError, ValueError) as error:
            raise StoreError(f"test scores {path}: cannot be read ({error}); bring the file back.") from error

    def write(self, table: pd.DataFrame, test_digest: str, model_digest: str) -> None:
        """Keeps a score table. The file gets its name when all of it is on disk.

        Raises:
            StoreError: if the disk refuses.

        Side effects:
            Writes the file.
        """
        path = self.file(test_digest, model_digest)
        unfinished = path.with_suffix(".unfinished")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(table.to_csv(index=False).encode())
            flush(unfinished)
            unfinished.replace(path)
            for folder in (path.parent, self.folder, self.folder.parent):
                flush(folder)
        except OSError as error:
            raise StoreError(f"test scores {path}: cannot be written ({error.strerror or error}).") from error


def file_digest(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
