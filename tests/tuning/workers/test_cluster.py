"""Addresses of schedulers: what they mean, and what one should know of them."""

from __future__ import annotations

import dask
import pytest
from service import free_port

from pneumo_core.errors import ConfigError, WorkerError
from tuning.workers.cluster import ClusterWorkers


@pytest.mark.parametrize(
    "address",
    ["localhost:8786", "http://node1:8786", "8786", "", "tcp://node1", "tcp://node1:eight", "tcp://node1:99999"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """With an example of one."""
    with pytest.raises(ConfigError, match="expected an address like tcp://host:8786"):
        ClusterWorkers(address)


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("tcp://10.0.0.1:8786", True),
        ("tcp://node1:8786", True),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("tls://10.0.0.1:8786", False),
    ],
)
def test_an_open_connection_is_cautioned_of(address: str, is_open: bool) -> None:
    """Beyond this machine, unless it is encrypted: Dask runs what it is sent."""
    with dask.config.set({"distributed.comm.tls.ca-file": "ca.pem"}):
        caution = ClusterWorkers(address).caution
    assert bool(caution) == is_open
    assert not is_open or address in caution


def test_encryption_needs_certificates() -> None:
    """How Dask is told of them is said, rather than what its sockets lack."""
    with pytest.raises(ConfigError, match="DASK_DISTRIBUTED__COMM__TLS__CA_FILE"):
        ClusterWorkers("tls://10.0.0.1:8786")


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it; at the study's beginning nobody is waited for."""
    monkeypatch.setattr("tuning.workers.cluster._CONNECT_S", 0.3)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(WorkerError, match=rf"no Dask scheduler answers at {address} \(.*\); start one with"):
        ClusterWorkers(address).connect(lambda: False)


def test_a_scheduler_that_was_there_is_waited_for_until_the_study_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be started again."""
    monkeypatch.setattr("tuning.workers.cluster._CONNECT_S", 0.1)
    monkeypatch.setattr("tuning.workers.cluster._PAUSE_S", 0.0)
    source, asked = ClusterWorkers(f"tcp://127.0.0.1:{free_port()}"), []
    source._known = True

    def given_up() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(WorkerError):
        source.connect(given_up)
    assert len(asked) == 3
