"""Files that a command writes where the user says: checked before the work is done, written after it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_core.errors import StoreError
from pneumo_core.images import IMAGE_ENDINGS
from pneumo_core.places import resolved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STDOUT = Path("-")
FIGURE_ENDINGS = (".png", ".pdf", ".svg")


def check_target(option: str, path: Path | None, endings: Sequence[str] = (), sources: Iterable[Path] = ()) -> None:
    """Makes sure, as far as that can be foreseen, that a file can be written, and that it is none of the user's images.

    Args:
        option: that names it, for messages.
        path: of the file; None or `STDOUT` for none.
        endings: that its name may have, in lower case; any but those of images if left out.
        sources: files that are read, and must not be overwritten.

    Raises:
        StoreError: if not.
    """
    if path is None or (path == STDOUT and not endings):
        return
    if endings and path.suffix.lower() not in endings:
        raise StoreError(f"{option} {path}: expected a name that ends in {', '.join(endings)}.")
    if not endings and path.suffix.lower() in IMAGE_ENDINGS:  # `--csv *.jpeg` names the first of them
        raise StoreError(f"{option} {path}: expected the name of a file for rows, got that of an image.")
    if resolved(path) in map(resolved, sources):
        raise StoreError(f"{option} {path}: expected a file of its own, got one of the images; name another.")
    if path.is_dir():
        raise StoreError(f"{option} {path}: expected the name of a file, got a folder.")
    if not path.parent.is_dir():
        raise StoreError(f"{option} {path}: there is no folder {path.parent}; make it first.")


def check_new_target(option: str, path: Path, endings: Sequence[str], *, overwrite: bool) -> None:
    """Makes sure of the same of a file that a user may have written by hand, and that none is lost.

    Args:
        option: see `check_target`.
        path: see `check_target`.
        endings: see `check_target`.
        overwrite: whether a file that is there may be replaced.

    Raises:
        StoreError: if not.
    """
    check_target(option, path, endings)
    if path.exists() and not overwrite:
        raise StoreError(f"{option} {path}: is there already; name another file, or replace it with --overwrite.")


def write_text(option: str, path: Path, text: str) -> None:
    """Writes text to a file, or to stdout.

    Raises:
        StoreError: if the file cannot be written.

    Side effects:
        Writes the file.
    """
    if path == STDOUT:
        sys.stdout.write(text)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(option, path, error) from error


def save_figure(option: str, path: Path, figure: Figure) -> None:
    """Writes a figure in the format that the file's ending names.

    Raises:
        StoreError: if the file cannot be written.

    Side effects:
        Writes the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name in a script that the font lacks
            figure.savefig(path, dpi=100)
    except OSError as error:
        raise _unwritable(option, path, error) from error


def _unwritable(option: str, path: Path, error: OSError) -> StoreError:
    reason = (error.strerror or str(error)).lower()
    return StoreError(f"{option} {path}: expected a file that can be written, got: {reason}.")
