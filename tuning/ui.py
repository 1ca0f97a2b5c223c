"""Where a study can be seen in MLflow: on the server it was logged to, on one that runs already, or on a new one."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Callable
from pathlib import Path

from pneumo_core.errors import TrackingError
from tuning.record import StudyRecord
from tuning.signals import stop_requests
from tuning.store import Store
from tuning.ui_note import answers
from tuning.ui_server import FIRST_PORT, free_port, running_server, started_server, why_taken
from tuning.ui_view import compare_url, is_touched, run_url, saved_view, view_tag, view_url

_DATABASES = {"sqlite", "postgresql", "mysql", "mssql"}


@dataclasses.dataclass(frozen=True)
class Links:
    """Where to look.

    Attributes:
        base: address of MLflow.
        comparison: the trials of a study side by side; empty if no study was asked for.
        study: the study's own page.
        runs_on: whether the server was there before, and stays.
    """

    base: str
    comparison: str = ""
    study: str = ""
    runs_on: bool = False


@dataclasses.dataclass(frozen=True)
class Place:
    """What is to be shown.

    Attributes:
        store: for the server's log; with the embedded database.
        uri: of the MLflow server or database, with its password.
        record: of the study; None for the whole of MLflow.
        begun_at: when the study began, in seconds since 1970.
    """

    store: Store
    uri: str
    record: StudyRecord | None = None
    begun_at: float = 0.0


def show(place: Place, host: str, port: int | None, ready: Callable[[Links], None], tell: Callable[[str], None]) -> int:
    """Finds or starts a server, says where it is, and stays with one that it started until that ends.

    Args:
        place: what is to be shown.
        host: address for a new server to listen on.
        port: for it to listen on; None for the first that is free from 5000 on, or wherever one runs already.
        ready: called once with the addresses, when they answer.
        tell: takes sentences for the user.

    Returns:
        The exit status of a server that ended; 0 if none was started.

    Raises:
        TrackingError: if MLflow cannot be reached or started, or the port is taken.

    Side effects:
        Keeps the study's view in MLflow; may start a server, and ends it on the way out.
    """
    from tuning.tracking import redacted

    if place.uri.startswith(("http://", "https://")):
        ready(_remote_links(place, tell))
        return 0
    _refuse_unusable(place)
    backend = redacted(place.uri)
    note = running_server(place.store, backend)
    if note is not None and port in (None, urllib.parse.urlsplit(note.url).port):
        ready(dataclasses.replace(_linked(place, tell)(note.url), runs_on=True))
        return 0
    with stop_requests() as stop:
        stop.at_once = True
        return _serve(place, host, _port(host, port, tell), ready, tell)


def _serve(place: Place, host: str, port: int, ready: Callable[[Links], None], tell: Callable[[str], None]) -> int:
    """The database is made ready, and the view kept in it, while the server, which nobody asks yet, starts."""
    from tuning.tracking import prepared_uri, redacted

    place.store.check_writable()
    tell("starting MLflow")
    with started_server(place.store, place.uri, redacted(place.uri), host, port) as server:
        prepared_uri(place.store, place.uri)
        links = _linked(place, tell)
        server.wait_until_healthy()
        ready(links(server.url))
        return server.wait()


def _port(host: str, port: int | None, tell: Callable[[str], None]) -> int:
    if port is None:
        found = free_port(host)
        if found != FIRST_PORT:
            tell(f"port {FIRST_PORT} is taken; port {found} is used")
        return found
    reason = why_taken(host, port)
    if reason:
        raise TrackingError(
            f"port {port} of {host}: cannot be listened on ({reason}); choose another with --port, or none for the "
            "next that is free."
        )
    return port


def _remote_links(place: Place, tell: Callable[[str], None]) -> Links:
    base = _without_login(place.uri)
    if place.record is None and not answers(base):
        raise TrackingError(f"MLflow at {base}: does not answer; check --tracking-uri, or whether it runs.")
    return dataclasses.replace(_linked(place, tell)(base), runs_on=True)


def _linked(place: Place, tell: Callable[[str], None]) -> Callable[[str], Links]:
    """Returns what makes the links from MLflow's address; MLflow is asked and told beforehand.

    Side effects:
        Keeps the study's view in MLflow.
    """
    record = place.record
    if record is None:
        return Links
    from tuning.tracking import experiment_of

    if not record.run_id:
        name = record.started.study
        raise TrackingError(f"study {name}: MLflow does not have it yet; bring it there with: tune sync {name}")
    experiment = experiment_of(record, place.uri)
    compare = view_url if _keep_view(place, record, experiment, tell) else compare_url
    return lambda base: Links(base, compare(base, record, experiment), run_url(base, record, experiment))


def _keep_view(place: Place, record: StudyRecord, experiment: str, tell: Callable[[str], None]) -> bool:
    """Returns whether MLflow has the study's view; one that somebody changed there stays."""
    from tuning.tracking import experiment_tag, set_experiment_tag

    name, value = view_tag(record), saved_view(record, place.begun_at)
    try:
        kept = experiment_tag(place.uri, experiment, name)
        if kept != value and not (kept and is_touched(kept)):
            set_experiment_tag(place.uri, experiment, name, value)
    except TrackingError as error:
        tell(f"the view of the study cannot be kept, so the link leads to a plain comparison: {error}")
        return False
    return True


def _refuse_unusable(place: Place) -> None:
    """A server would make an empty database where there is none, or fail at the first look."""
    from tuning.tracking import redacted

    scheme, _, path = place.uri.partition("://")
    if scheme.partition("+")[0] not in _DATABASES:
        raise TrackingError(
            f"{redacted(place.uri)}: is no address of an MLflow server (http://…) or database (sqlite:///…)."
        )
    file = Path(path.partition("?")[0].removeprefix("/"))
    if scheme == "sqlite" and file != place.store.database and not file.exists():
        raise TrackingError(f"{place.uri}: there is no such database; check --tracking-uri and --store.")


def _without_login(uri: str) -> str:
    """An address as it may be shown; who opens it is asked for the login."""
    parts = urllib.parse.urlsplit(uri)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
