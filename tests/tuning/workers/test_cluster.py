"""Addresses of schedulers: what they mean, and what one should know of them."""

from __future__ import annotations

import pytest

from pneumo_core.errors import ConfigError
from tuning.workers.cluster import ClusterWorkers


@pytest.mark.parametrize("address", ["localhost:8786", "http://node1:8786", "8786", ""])
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
    caution = ClusterWorkers(address).caution
    assert bool(caution) == is_open
    assert not is_open or address in caution
