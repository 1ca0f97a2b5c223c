"""Workers of a Dask cluster that somebody else keeps: `--cluster tcp://host:8786`."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from urllib.parse import urlsplit

import dask
from distributed import Client

from pneumo_core.errors import ConfigError, WorkerError
from tuning.workers.errands import errand
from tuning.workers.roster import Member
from tuning.workers.source import silence_dask

_CONNECT_S = 10.0
_PAUSE_S = 1.0
_END_S = 10.0


class ClusterWorkers:
    """Whatever workers a Dask scheduler has, those that come later included.

    Args:
        address: of the scheduler, such as `tcp://node1:8786`; with `tls://`, certificates are those that Dask's
            configuration names.

    Raises:
        ConfigError: if that is no such address.
    """

    local = False

    def __init__(self, address: str) -> None:
        if not _is_address(address):
            raise ConfigError(f"--cluster: expected an address like tcp://host:8786 or tls://host:8786, got {address}.")
        if is_encrypted(address) and not dask.config.get("distributed.comm.tls.ca-file", None):
            raise ConfigError(
                f"--cluster {address}: needs certificates, and Dask's configuration names none; set "
                "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, __CLIENT__CERT and __CLIENT__KEY (docs/deploy/tls.env.example)."
            )
        self.place, self.caution, self._known = address, "", False
        if not is_encrypted(address) and not is_loopback(address):
            self.caution = (
                f"--cluster {address}: not encrypted, and whoever reaches the scheduler can run programs on all its "
                "workers; use tls:// on a network that others share"
            )

    def connect(self, given_up: Callable[[], bool]) -> Client:
        """See `WorkerSource`."""
        silence_dask()
        while True:
            try:
                client = self._client()
            except (OSError, TimeoutError) as error:
                if not self._known or given_up():
                    raise WorkerError(
                        f"no Dask scheduler answers at {self.place} ({error}); start one with `dask scheduler`, look "
                        "at the address (with certificates it begins with tls://), or make the trials here: --workers 1"
                        "."
                    ) from error
                time.sleep(_PAUSE_S)
                continue
            self._known = True
            return client

    def objection(self, worker: Member) -> str:
        """None: what its workers may take is the cluster's affair."""
        return ""

    def end(self, client: Client, worker: Member) -> None:
        """See `WorkerSource`. Its nanny does it, or else the scheduler, which shuts it out."""
        # `Client.restart_workers` refuses workers without a nanny, the scheduler does not.
        arguments = {
            "workers": [worker.address],
            "timeout": _END_S,
            "on_error": "return",
            "stimulus_id": "tune-gives-up",
        }
        errand(client.sync, client.scheduler.restart_workers, **arguments)

    def close(self) -> None:
        """Nothing was started."""

    def _client(self) -> Client:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that versions differ is told of each worker, in our words
                with dask.config.set({"distributed.comm.retry.count": 0}):
                    return Client(self.place, timeout=_CONNECT_S, set_as_default=False)
        except (ValueError, TypeError, ImportError, RuntimeError) as error:  # no such port, certificates missing
            raise WorkerError(f"--cluster {self.place}: {error}") from error


def _is_address(address: str) -> bool:
    parts = urlsplit(address)
    with contextlib.suppress(ValueError):  # the port is no number, or too high
        return parts.scheme in ("tcp", "tls") and bool(parts.hostname) and bool(parts.port) and not parts.path
    return False


def is_encrypted(address: str) -> bool:
    """Returns whether nobody else can read or send what goes to a scheduler."""
    return address.startswith("tls://")


def is_loopback(address: str) -> bool:
    """Returns whether a scheduler is on this machine."""
    host = address.partition("://")[2].rpartition(":")[0]
    return host in ("localhost", "[::1]") or host.startswith("127.")
