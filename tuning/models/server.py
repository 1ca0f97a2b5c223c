"""The process behind `tune serve`: a socket, one HTTP server on it, and its end (the only `uvicorn` import).

There is no login and no encryption. What an open port needs against slow and broken clients is here: connections have a
limit, and a request line with headers has to arrive in time, which uvicorn alone does not ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pneumo_core.errors import ServerError
from tuning.signals import stop_requests

if TYPE_CHECKING:
    from fastapi import FastAPI

_HEADERS_TIMEOUT_S = 10.0
_MAX_CONNECTIONS = 256
_GRACE_S = 10
_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 62\r\nconnection: close\r\n\r\n"
    b'{"detail":"expected an HTTP/1.1 request, got something else."}'
)
_TWO_LENGTHS = b'{"detail":"expected Content-Length or Transfer-Encoding, got both."}'


def listening_socket(host: str, port: int) -> socket.socket:
    """Takes a port, before anything is loaded that takes long.

    Args:
        host: name or address to listen on.
        port: to listen on; 0 for one that is free.

    Raises:
        ServerError: if it is taken, or not to be had.

    Side effects:
        Opens the socket; clients that connect wait until `run` answers them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ServerError(f"port {port} of {host}: cannot be listened on ({reason}); choose another.") from error


def is_loopback(listening: socket.socket) -> bool:
    """Returns whether only this machine can connect."""
    address = str(listening.getsockname()[0])
    return address == "::1" or address.startswith("127.")


def address_of(listening: socket.socket) -> str:
    """Returns the address of a listening socket as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listening: socket.socket) -> None:
    """Answers requests until Ctrl-C, SIGTERM or SIGHUP; those that have begun are answered first.

    Args:
        app: the application.
        listening: socket; closed at the end.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes forms that it cannot read
    config = uvicorn.Config(
        _of_one_length(app),
        loop="asyncio",
        http=_ImpatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
    )
    with listening, stop_requests() as stop, contextlib.suppress(KeyboardInterrupt):
        stop.at_once = True  # uvicorn takes SIGINT and SIGTERM while it runs, and repeats them when it is done
        uvicorn.Server(config).run(sockets=[listening])


def _of_one_length(app: FastAPI) -> Any:
    """Refuses requests that tell their length twice, and ends the connection.

    A reverse proxy that believes the other length takes the rest for part of this request, we for one of its own.
    """

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        if not {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            await app(scope, receive, send)
            return
        headers = {b"content-type": b"application/json", b"content-length": b"%d" % len(_TWO_LENGTHS)}
        headers |= {b"connection": b"close"}
        await send({"type": "http.response.start", "status": 400, "headers": list(headers.items())})
        await send({"type": "http.response.body", "body": _TWO_LENGTHS})

    return checked


class _ImpatientProtocol(H11Protocol):
    """A connection that is closed if a request does not arrive in time, and whose errors look like all others."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()

    def send_400_response(self, msg: str) -> None:
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_BAD_REQUEST)
        if cycle is not None:  # it may be reading the body that turned out to be none
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _watch(self) -> None:
        """A timer runs from the moment the last answer was complete, or the connection made, to the next request."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._waiting is None and not self.transport.is_closing():
            self._waiting = self.loop.call_later(_HEADERS_TIMEOUT_S, self.transport.close)

    def _unwatch(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
