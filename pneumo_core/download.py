"""The Kaggle data set, fetched with kagglehub; nothing else here speaks to Kaggle."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pneumo_core.errors import DownloadError

KAGGLE_HANDLE = "paultimothymooney/chest-xray-pneumonia"
KAGGLE_PAGE = f"https://www.kaggle.com/datasets/{KAGGLE_HANDLE}"

_REASON_LENGTH = 200


def fetch_kaggle() -> Path:
    """Downloads the Kaggle data set (about 2 GB), or finds that kagglehub has already done so.

    Kaggle is asked for the current version in either case, so this needs a connection.

    Returns:
        The folder that kagglehub delivers; `pneumo_core.dataset.find_root` finds the data set in it.

    Raises:
        DownloadError: whatever went wrong, with what can be done instead. There is no silent replacement.

    Side effects:
        Writes to kagglehub's cache folder, and progress to stderr.
    """
    try:
        # kagglehub prints notices to stdout, where a script expects JSON and nothing else
        with contextlib.redirect_stdout(sys.stderr):
            import kagglehub

            _log_to_stderr()
            return Path(kagglehub.dataset_download(KAGGLE_HANDLE))
    except Exception as error:  # kagglehub's errors share no base, and none of them may surface as a traceback
        raise DownloadError(_message(error)) from error


def _log_to_stderr() -> None:
    for handler in logging.getLogger("kagglehub").handlers:
        if type(handler) is logging.StreamHandler:
            handler.stream = sys.stderr  # setStream would flush the old stream, which may be closed by now


def _message(error: Exception) -> str:
    lines = [f"The Kaggle data set {KAGGLE_HANDLE} could not be downloaded: {_reason(error)}. Instead you can"]
    lines += [f"use the earlier download: --data {folder}" for folder in _earlier_downloads()]
    lines += [
        f"download it by hand from {KAGGLE_PAGE}, unpack it and pass the folder: --data DIR",
        "or use synthetic radiographs, which need no download: --data demo",
    ]
    return "\n  ".join(lines)


def _reason(error: Exception) -> str:
    """Puts the failure into words, by its kind where that is known, else in kagglehub's own words."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    # requests repeats what urllib3 tried; the reason inside that is what people can act on
    innermost = getattr(error.args[0], "reason", error) if error.args else error
    detail = textwrap.shorten(str(innermost), _REASON_LENGTH, placeholder=" …").rstrip(".")
    if status in (401, 403) or "UnauthenticatedError" in kinds or "CredentialError" in kinds:
        return f"Kaggle refused access ({detail}); a token belongs in ~/.kaggle/access_token or KAGGLE_API_TOKEN"
    if status == 404:
        return f"Kaggle knows no such data set ({detail})"
    if any(isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in _causes(error)):
        return f"the disk is full ({detail}); KAGGLEHUB_CACHE names a cache folder elsewhere"
    if kinds & {"ConnectionError", "Timeout"}:
        return f"Kaggle cannot be reached from here ({detail})"
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _earlier_downloads() -> list[Path]:
    """Returns the newest version that kagglehub has completely in its cache, if any."""
    try:
        from kagglehub.config import get_cache_folder
    except ImportError:
        return []
    folder = Path(get_cache_folder()) / "datasets" / KAGGLE_HANDLE
    versions = [path for path in (folder / "versions").glob("*") if (folder / f"{path.name}.complete").exists()]
    return sorted(versions, key=lambda path: path.stat().st_mtime)[-1:]
