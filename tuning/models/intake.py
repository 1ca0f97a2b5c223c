"""What a request to the prediction server may be: limits, refusals, and from a body to encoded images.

Refusals say what was expected and what came in words of our own. They never quote the request: it may hold what is
nobody's business, and a log that quotes attackers is written by them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from pneumo_core.dicom import is_dicom
from pneumo_core.errors import ImageError
from pneumo_core.images import read_header

_LIBRARY_WORDS = re.compile(r"(?<=cannot be decoded) \(.*\)")  # a decoder's reason may hold bytes of the file
_QUOTED = re.compile(r"""b?'(?:\\.|[^'\\])*'|b?"(?:\\.|[^"\\])*"|(?<=got )[^:]*(?= with -?\d+ samples)""")
_JSON_TYPES = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
_JSON_BODY = '{"image": "<base64>"} or {"images": ["<base64>", …]}'
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the server takes on at most.

    Attributes:
        max_bytes: of a request's body.
        max_pixels: of an image, by its header.
        max_images: of a request.
        body_timeout_s: for all of a body to arrive.
        max_waiting: requests whose turn has not come yet; one more is sent away.
        max_held: bodies of full size that are kept in memory at the same time, or the same in smaller ones.
    """

    max_bytes: int = 32_000_000
    max_pixels: int = 32_000_000
    max_images: int = 16
    body_timeout_s: float = 60.0
    max_waiting: int = 32
    max_held: int = 8


class RefusedRequest(Exception):  # noqa: N818  # a noun of its own
    """A request that is answered with an HTTP status other than 200.

    Attributes:
        status: of HTTP.
        detail: one line.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


class WaitingRoom:
    """Keeps the memory of all requests together within bounds: who finds it full is told to come back.

    Args:
        limits: of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting = self._held_bytes = 0

    @contextlib.contextmanager
    def memory(self) -> Iterator[Callable[[int], None]]:
        """Yields what takes more bytes for a request; all are given back at the end.

        Raises:
            RefusedRequest: 503, when taking more than there is room for.
        """
        mine = 0

        def take(more: int) -> None:
            nonlocal mine
            if self._held_bytes + more > self._limits.max_held * self._limits.max_bytes:
                raise _busy("its memory for requests is full")
            self._held_bytes += more
            mine += more

        try:
            yield take
        finally:
            self._held_bytes -= mine

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place in the queue for the model.

        Raises:
            RefusedRequest: 503, if none is free.
        """
        if self._waiting >= self._limits.max_waiting:
            raise _busy(f"{self._waiting} requests are waiting")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


def check_headers(headers: Mapping[str, str], media_type: str, limits: Limits) -> None:
    """Refuses by its headers what would be refused anyway.

    Args:
        headers: of the request, by lower-case name.
        media_type: that the body must be of.
        limits: of the server.

    Raises:
        RefusedRequest: 413 for a body that says it is too long, 415 for another or an encoded one.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise RefusedRequest(415, "expected a body without Content-Encoding, got an encoded one; send it as it is.")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise RefusedRequest(415, f"expected Content-Type {media_type}, got another or none.")
    length = headers.get("content-length", "")
    if length.isdecimal() and len(length) < 20 and int(length) > limits.max_bytes:
        raise _too_long(limits)


async def whole_body(stream: AsyncIterator[bytes], limits: Limits, take: Callable[[int], None]) -> bytes:
    """Reads a body, however long its headers say it is.

    Args:
        stream: pieces of it, as they arrive.
        limits: of the server.
        take: makes room for so many bytes.

    Raises:
        RefusedRequest: 413 as soon as it is too long, 408 if it does not arrive in time, 503 if there is no room.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            async for piece in stream:
                if len(body) + len(piece) > limits.max_bytes:
                    raise _too_long(limits)
                take(len(piece))
                body += piece
    except TimeoutError as error:
        raise RefusedRequest(408, f"expected the whole body within {limits.body_timeout_s:g} s.") from error
    return bytes(body)


def images_of_json(body: bytes, limits: Limits) -> list[bytes]:
    """Returns the encoded images of a JSON body.

    Raises:
        RefusedRequest: 422, if it is anything but `{"image": "<base64>"}` or `{"images": ["<base64>", …]}`.
    """
    # Three bytes of JSON can become sixty of memory, nested lists exhaust the stack; base64 has none of these signs.
    if sum(body.count(sign) for sign in (b"[", b"{", b",", b":")) > limits.max_images + 8:
        raise _unprocessable(f"expected {_JSON_BODY} with at most {limits.max_images} images, got a larger structure.")
    try:
        content = json.loads(body.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # wrong UTF-8 and numbers of too many digits are ValueErrors, too
        got = "something else" if body else "an empty body"
        raise _unprocessable(f"expected JSON such as {_JSON_BODY}, got {got}.") from error
    if not isinstance(content, dict) or set(content) not in ({"image"}, {"images"}):
        got = "an object of other keys" if isinstance(content, dict) else _type_of(content)
        raise _unprocessable(f"expected {_JSON_BODY}, got {got}.")
    texts = content.get("images", [content.get("image")])
    if not isinstance(texts, list):
        raise _unprocessable(f"expected images to be a list, got {_type_of(texts)}.")
    check_number(len(texts), limits)
    return [_decoded(text, f"image {number}") for number, text in enumerate(texts, start=1)]


def check_number(images: int, limits: Limits) -> None:
    """Refuses no images, and too many.

    Raises:
        RefusedRequest: 422.
    """
    if not 1 <= images <= limits.max_images:
        raise _unprocessable(f"expected 1 to {limits.max_images} images, got {images}.")


def check_images(images: Sequence[bytes], limits: Limits) -> None:
    """Refuses, by what their headers say, images that are none or too large, before any is decoded.

    Raises:
        RefusedRequest: 422.
    """
    for number, data in enumerate(images, start=1):
        name = f"image {number}"
        if data and not data.startswith(_MAGIC) and not is_dicom(data):
            raise _unprocessable(f"{name}: expected a JPEG, PNG or DICOM file, got something else.")
        try:
            header = read_header(data, name=name)
        except ImageError as error:
            raise refused_image(error) from error
        if header.width_px * header.height_px > limits.max_pixels:
            size = f"{header.width_px} × {header.height_px} px"
            raise _unprocessable(f"{name}: expected at most {limits.max_pixels:,} pixels, got {size}; scale it down.")


def refused_image(error: object) -> RefusedRequest:
    """Returns the refusal that says why an image cannot be used, without what was quoted from the file."""
    words = _QUOTED.sub("…", _LIBRARY_WORDS.sub("", " ".join(str(error).split())))
    return _unprocessable(words if len(words) <= 300 else words[:299] + "…")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):  # all images but one would be lost silently
        raise ValueError
    return content


def _decoded(text: Any, name: str) -> bytes:
    if not isinstance(text, str):
        raise _unprocessable(f"{name}: expected a JPEG, PNG or DICOM file as base64 text, got {_type_of(text)}.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _unprocessable(f"{name}: expected a JPEG, PNG or DICOM file as base64, got other text.") from error


def _type_of(content: Any) -> str:
    return _JSON_TYPES.get(type(content), "a number")


def _unprocessable(detail: str) -> RefusedRequest:
    return RefusedRequest(422, detail)


def _too_long(limits: Limits) -> RefusedRequest:
    return RefusedRequest(413, f"expected a body of at most {limits.max_bytes:,} bytes, got more; send fewer images.")


def _busy(reason: str) -> RefusedRequest:
    return RefusedRequest(503, f"the server is busy: {reason}; try again in a second.", {"Retry-After": "1"})
