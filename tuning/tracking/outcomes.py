"""What a call of MLflow came to, whatever it raised: it may succeed later, it never will, or a line for the user."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from pneumo_core.errors import PneumoError, TrackingError
from tuning.tracking.addresses import redacted

_HOPELESS = {
    "ALREADY_EXISTS",
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_PASSING = {401, 403, 404, 407, 408, 409, 425, 429}  # HTTP statuses of a server that is not itself just now
_BUGS = (TypeError, AttributeError, LookupError, NameError, AssertionError, ValueError, MemoryError)


class OutageError(Exception):
    """MLflow cannot be reached, or cannot write at present: the same call may succeed later."""


class RefusalError(Exception):
    """MLflow will never take what it was given, as when its run was deleted."""


@contextlib.contextmanager
def judging() -> Iterator[None]:
    """Tells what may pass from what will not. MLflow raises errors of SQLAlchemy, requests and file systems too.

    Raises:
        OutageError: for whatever MLflow raised that may pass.
        RefusalError: for what will not.
    """
    try:
        yield
    except (OutageError, RefusalError):
        raise
    except TrackingError as error:
        raise OutageError(redacted(_first_line(error))) from error
    except PneumoError:
        raise
    except Exception as error:
        if isinstance(error, _BUGS) and not isinstance(error, OSError):  # requests has some that are both
            raise
        kind = RefusalError if _is_hopeless(error) else OutageError
        raise kind(redacted(_first_line(error))) from error


@contextlib.contextmanager
def hoping() -> Iterator[None]:
    """As `judging`, but takes a refusal for something that passes.

    Raises:
        OutageError: for whatever MLflow raised.
    """
    try:
        with judging():
            yield
    except RefusalError as refusal:
        raise OutageError(*refusal.args) from refusal


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns whatever MLflow raises in the block into a `TrackingError` of one line about `what`."""
    try:
        yield
    except PneumoError:
        raise
    except Exception as error:  # MLflow passes on errors of SQLAlchemy, requests and the file system
        sentence = f"{what}: cannot be used ({_first_line(error)}); check --tracking-uri and --store, or leave "
        sentence += "--tracking-uri out to log to the store's own database."
        raise TrackingError(redacted(sentence)) from error


def _is_hopeless(error: Exception) -> bool:
    code = getattr(error, "error_code", None)
    if code is not None:
        return code in _HOPELESS
    status = getattr(getattr(error, "response", None), "status_code", 500)
    return bool(400 <= status < 500 and status not in _PASSING)


def _first_line(error: BaseException) -> str:
    """What went wrong, in the few words of the database or the socket at the bottom of it if there is one."""
    link: BaseException | None = error
    while link is not None:
        if hasattr(link, "orig"):  # SQLAlchemy's name for the database's own error
            return str(link.orig)
        if isinstance(link, ConnectionError | TimeoutError | socket.gaierror) and not isinstance(link, PneumoError):
            return link.strerror or str(link)
        link = link.__cause__ or link.__context__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
