"""A scheduler with TLS as docs/deploy says, and who can connect to it."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
from deployment import Deployment, write_certificates

_TLS = "DASK_DISTRIBUTED__COMM__TLS__"


def _hears(address: str, certificates: dict[str, str] | None) -> bool:
    """Whether somebody with these certificates hears a word of a scheduler; with none, by plain TCP."""
    host, port = address.partition("://")[2].split(":")
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
        if certificates is not None:
            context = ssl.create_default_context(cafile=certificates[f"{_TLS}CA_FILE"])
            context.check_hostname = False  # as Dask does
            context.load_cert_chain(certificates[f"{_TLS}CLIENT__CERT"], certificates[f"{_TLS}CLIENT__KEY"])
            line = stack.enter_context(context.wrap_socket(line))
        else:
            line.sendall(bytes(64))
        with contextlib.suppress(ConnectionResetError):
            return len(line.recv(1)) == 1
    return False


def test_whoever_has_no_certificate_of_this_ca_is_shut_out(deployment: Deployment) -> None:
    """Dask runs what it is sent: neither plain connections nor certificates of another CA get that far."""
    ours, theirs = deployment.folder / "ours", deployment.folder / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    certificates, others = write_certificates(ours), write_certificates(theirs)
    scheduler = deployment.scheduler(settings=certificates, protocol="tls")
    assert _hears(scheduler.address, certificates)
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):  # the scheduler's, to them
        _hears(scheduler.address, others)
    with pytest.raises(ssl.SSLError, match="alert"):  # theirs, to the scheduler
        _hears(scheduler.address, others | {f"{_TLS}CA_FILE": certificates[f"{_TLS}CA_FILE"]})
    assert not _hears(scheduler.address, None)
