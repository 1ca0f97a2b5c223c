"""Where a study's MLflow is: addresses that mean the same everywhere, and that tell no passwords."""

from __future__ import annotations

import re
from pathlib import Path

from pneumo_core.errors import TrackingError
from tuning.record import StudyRecord
from tuning.store import Store

_URI = re.compile(r"([A-Za-z][\w+.-]*://)(\S+)")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:@]*)(:\d*)?")
_SECRET_OPTION = re.compile(r"([?&][^=&\s]*(?:password|passwd|pwd|secret|token)[^=&\s]*=)[^&\s]+", re.IGNORECASE)


def embedded_uri(store: Store) -> str:
    """Returns the tracking URI of the SQLite database in the store."""
    return f"sqlite:///{store.database}"


def absolute_uri(uri: str) -> str:
    """Returns the URI so that it means the same from every working directory: SQLite paths are made absolute.

    Raises:
        TrackingError: if it is none.
    """
    if "://" not in uri and not uri.startswith("databricks"):
        raise TrackingError(
            f"--tracking-uri: expected an address like http://host:5000, or sqlite:///file.db, got {redacted(uri)}."
        )
    scheme, _, path = uri.partition(":///")
    if scheme == "sqlite" and path and not path.startswith("/"):
        return f"sqlite:///{Path(path).resolve()}"
    return uri


def redacted(text: str) -> str:
    """Returns a URI, or a text with URIs in it, without passwords: for messages and for the record.

    A password may have any character but blanks, also those that a URI should have as `%2F` and `%40`. Where it is not
    clear what belongs to it, more is hidden rather than less.
    """
    return _SECRET_OPTION.sub(r"\1***", _URI.sub(_without_password, text))


def _without_password(uri: re.Match[str]) -> str:
    """All from the user's colon to the last @; on the web a token may stand in the place of a user."""
    scheme, rest = uri.groups()
    credentials, at, place = rest.rpartition("@")
    is_web = scheme.lower() in ("http://", "https://")
    if not at or rest.startswith("/") or (is_web and _HOST_AND_PORT.fullmatch(rest.partition("/")[0])):
        return uri[0]  # what @ there is belongs to a path
    user, colon, _ = credentials.partition(":")
    if colon:
        return f"{scheme}{user}:***@{place}"
    return f"{scheme}***@{place}" if is_web else uri[0]


def tracking_address(store: Store, uri: str | None) -> str:
    """Returns the absolute address of a tracking store: the one given, or the store's own database."""
    return embedded_uri(store) if uri is None else absolute_uri(uri)


def recorded_uri(record: StudyRecord, uri: str | None = None) -> str:
    """Returns the address of the MLflow that a study is logged to.

    Args:
        record: of the study.
        uri: what the user gave, which counts.

    Raises:
        TrackingError: if the address has a password, which is not recorded, and none was given.
    """
    recorded = record.started.tracking_uri
    if uri is not None:
        return absolute_uri(uri)
    if _lacks_password(recorded):
        raise TrackingError(
            f"study {record.started.study}: was logged to {recorded}, whose password is not kept; give the address "
            "with --tracking-uri."
        )
    return recorded


def reachable_uri(record: StudyRecord, current: str) -> str | None:
    """Returns the address of the MLflow that a study was logged to, as far as it is known without the user.

    Args:
        record: of the study.
        current: an address in use, with its password; it counts if the study was logged there.
    """
    recorded = record.started.tracking_uri
    if redacted(current) == recorded:
        return current
    return None if _lacks_password(recorded) else recorded


def _lacks_password(uri: str) -> bool:
    return "***" in uri
