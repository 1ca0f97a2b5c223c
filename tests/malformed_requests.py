"""Requests that a prediction server must refuse: bytes as a broken or hostile client would send them."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from dicom_files import PATIENT, dicom_bytes
from odd_files import PIXELS, REFUSED, png_of_size

MARKER = "Xq7Secret"
"""Stands in every request that has room for it, and may stand in no answer."""

_BOUNDARY = b"frontier"
_IMAGE = dicom_bytes(PIXELS)
_GOOD = base64.b64encode(_IMAGE).decode()


def malformed_requests(max_bytes: int) -> list[tuple[str, bytes, bytes]]:
    """Returns (name, head, body) of more than 200 requests.

    Args:
        max_bytes: that the server takes.
    """
    return [*_wrong_json(), *_wrong_images(), *_wrong_forms(), *_wrong_sizes(max_bytes), *_wrong_http(), *_damaged()]


def _head(
    path: str, length: int | None, *, kind: str = "application/json", method: str = "POST", more: str = ""
) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        f"Content-Type: {kind}",
        f"X-Marker: {MARKER}",
    ]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode()


def _json(name: str, body: bytes | str) -> tuple[str, bytes, bytes]:
    body = body.encode() if isinstance(body, str) else body
    return f"json: {name}", _head("/predict", len(body)), body


def _file(name: str, data: bytes, field: str = "file") -> tuple[str, bytes, bytes]:
    body = _part(data, field) + b"--" + _BOUNDARY + b"--\r\n"
    return (
        f"file: {name}",
        _head("/predict/file", len(body), kind=f"multipart/form-data; boundary={_BOUNDARY.decode()}"),
        body,
    )


def _part(data: bytes, field: str = "file", name: str = MARKER) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return b"--" + _BOUNDARY + b"\r\n" + disposition.encode() + data + b"\r\n"


def _wrong_json() -> Iterator[tuple[str, bytes, bytes]]:
    texts = {
        "empty": "",
        "a word": MARKER,
        "cut": '{"image": "' + MARKER,
        "null": "null",
        "true": "true",
        "number": "7",
        "text": f'"{MARKER}"',
        "list": f'["{MARKER}"]',
        "no key": "{}",
        "another key": f'{{"{MARKER}": 1}}',
        "both keys": '{"image": "QQ==", "images": ["QQ=="]}',
        "one more key": f'{{"image": "QQ==", "{MARKER}": 2}}',
        "image null": '{"image": null}',
        "image true": '{"image": true}',
        "image float": '{"image": 1.5}',
        "image NaN": '{"image": NaN}',
        "image Infinity": '{"image": -Infinity}',
        "image 1e999": '{"image": 1e999}',
        "image list": '{"image": ["QQ=="]}',
        "image object": f'{{"image": {{"{MARKER}": 1}}}}',
        "images text": f'{{"images": "{MARKER}"}}',
        "images object": '{"images": {}}',
        "images null": '{"images": null}',
        "images number": '{"images": 5}',
        "images empty": '{"images": []}',
        "images of null": '{"images": [null]}',
        "images of numbers": '{"images": [1, 2]}',
        "images of lists": '{"images": [["QQ=="]]}',
        "too many images": json.dumps({"images": ["QQ=="] * 5}),
        "many images": json.dumps({"images": ["QQ=="] * 50_000}),
        "deep lists": '{"image": ' + "[" * 200_000,
        "deep objects": '{"image":' * 50_000,
        "empty lists": "[" + "[]," * 300_000,
        "huge integer": '{"image": ' + "9" * 900_000 + "}",
        "long float": '{"image": 0.' + "9" * 900_000 + "}",
        "trailing": '{"image": "QQ=="} ' + MARKER,
        "comment": '{"image": "QQ==" /* ' + MARKER + " */}",
        "single quotes": "{'image': 'QQ=='}",
        "upper key": '{"Image": "QQ=="}',
        "control": '{"image": "\x01\x02"}',
        "lone surrogate": '{"image": "\\ud800"}',
        "escaped null": '{"image": "\\u0000"}',
        "form": "image=QQ==",
        "xml": f"<image>{MARKER}</image>",
        "spaces": " " * 900_000,
        "key twice": f'{{"image": "{_GOOD}", "image": "{_GOOD}"}}',
    }
    for name, text in texts.items():
        yield _json(name, text)
    yield _json("wrong UTF-8", b'{"image": "\xff\xfe"}')
    yield _json("UTF-16", '{"image": "QQ=="}'.encode("utf-16"))
    yield _json("UTF-32", '{"image": "QQ=="}'.encode("utf-32"))
    yield _json("byte order mark", b'\xef\xbb\xbf{"image": "QQ=="}')
    yield _json("null bytes", b"\0" * 1000)
    yield _json("pickle", b"\x80\x04\x95" + MARKER.encode())
    encoded = base64.b64encode(REFUSED["cut.jpeg"][0]).decode()
    wrong = [
        "",
        " ",
        "=",
        "====",
        "Q",
        "QQ",
        "QQ=",
        "Q Q=",
        "QQ==\n",
        "-_-_",
        MARKER,
        "ÄÖÜß",
        "😀😀",
        encoded[:-1],
        f" {encoded}",
    ]
    wrong += [
        f"data:image/png;base64,{encoded}",
        f"http://localhost/{MARKER}",
        "/etc/passwd",
        "file:///etc/passwd",
        "A" * 900_001,
    ]
    for number, text in enumerate(wrong):
        yield _json(f"base64 {number}", json.dumps({"image": text}))


def _wrong_images() -> Iterator[tuple[str, bytes, bytes]]:
    files = {name: data for name, (data, _) in REFUSED.items()}
    files |= {f"{width} x {height}": png_of_size(width, height) for width, height in _BOMBS}
    files |= {
        "text": MARKER.encode(),
        "gif": b"GIF89a" + MARKER.encode(),
        "bmp": b"BM" + bytes(60),
        "tiff": b"II*\0" + bytes(60),
        "webp": b"RIFF\0\0\0\0WEBPVP8 ",
        "pdf": b"%PDF-1.7 " + MARKER.encode(),
        "zip": b"PK\3\4" + MARKER.encode(),
        "svg": f"<svg>{MARKER}</svg>".encode(),
        "html": f"<script>{MARKER}</script>".encode(),
        "null bytes": bytes(5000),
        "jpeg magic": b"\xff\xd8\xff" + MARKER.encode(),
        "png magic": b"\x89PNG\r\n\x1a\n" + MARKER.encode(),
        "dicom magic": bytes(128) + b"DICM" + MARKER.encode(),
        "png bomb": _compressed_bomb(),
        "png text bomb": _text_bomb(),
        "dicom without pixels": dicom_bytes(PIXELS)[:300],
        "dicom of a patient": dicom_bytes(PIXELS, Modality="CT", PatientName=MARKER),
        "dicom modality": dicom_bytes(PIXELS, Modality=MARKER.upper()),
        "dicom view": dicom_bytes(PIXELS, ViewPosition="RL"),
        "dicom colour": dicom_bytes(PIXELS, PhotometricInterpretation=MARKER),
        "dicom size": dicom_bytes(PIXELS, Rows=60_000, Columns=60_000),
        "dicom frames": dicom_bytes(PIXELS, NumberOfFrames=2_000_000_000, PatientName=PATIENT),
    }
    for name, data in files.items():
        yield _file(name, data)
        yield _json(f"image {name}", json.dumps({"image": base64.b64encode(data).decode()}))


_BOMBS = ((60_000, 60_000), (20_001, 10), (2_001, 2_000), (0, 5), (2**31 - 1, 2**31 - 1), (7, 7))


def _compressed_bomb() -> bytes:
    """A PNG of 4,000 × 4,000 px that is all black and so a few kilobytes."""
    rows = zlib.compress(bytes(4_000 * 4_001), 9)
    return _png(4_000, 4_000, (b"IDAT", rows))


def _text_bomb() -> bytes:
    """A small PNG with text that unpacks to 100 MB."""
    return _png(64, 64, (b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9)), (b"IDAT", zlib.compress(bytes(10))))


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (header, *chunks, (b"IEND", b""))
    )


def _wrong_forms() -> Iterator[tuple[str, bytes, bytes]]:
    good, end = _part(REFUSED["empty.png"][0]), b"--" + _BOUNDARY + b"--\r\n"
    bodies = {
        "empty": b"",
        "second file cut": _part(_IMAGE) * 2,
        "only an end": end,
        "no end": _part(MARKER.encode())[:-2],
        "cut in the header": good[:30],
        "many files": good * 5 + end,
        "very many files": good * 3000 + end,
        "a field": b"--"
        + _BOUNDARY
        + b'\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        + MARKER.encode()
        + b"\r\n"
        + end,
        "another name": _part(MARKER.encode(), field=MARKER) + end,
        "no name": good.replace(b'name="file"; ', b"") + end,
        "no disposition": b"--" + _BOUNDARY + b"\r\n\r\nabc\r\n" + end,
        "line feeds": good.replace(b"\r\n", b"\n") + end,
        "long name": _part(b"", field="f" * 100_000) + end,
        "many headers": b"--" + _BOUNDARY + b"\r\nX: y" * 50_000,
        "null name": _part(b"", field="fi\0le") + end,
        "noise": np.random.default_rng(1).bytes(5000),
        "dashes": b"-" * 500_000,
        "line ends": b"\r\n" * 400_000,
        "boundaries": (b"--" + _BOUNDARY + b"\r\n") * 50_000,
    }
    for name, body in bodies.items():
        yield (
            f"form: {name}",
            _head("/predict/file", len(body), kind=f"multipart/form-data; boundary={_BOUNDARY.decode()}"),
            body,
        )
    kinds = [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=other",
        "multipart/mixed; boundary=frontier",
    ]
    kinds += [
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "image/jpeg",
        "",
        "multipart/form-data; boundary=" + "b" * 300,
    ]
    kinds += [
        "multipart/form-data; boundary=frontier; charset=rot13",
        'multipart/form-data; boundary="',
        "multipart/form-data; boundary=;;=;",
    ]
    for kind in kinds:
        yield f"form of kind {kind[:60]}", _head("/predict/file", len(good + end), kind=kind), good + end


def _wrong_sizes(max_bytes: int) -> Iterator[tuple[str, bytes, bytes]]:
    long = b'{"image": "' + b"Q" * max_bytes + b'"}'
    yield "a byte too long", *_json("", long[: max_bytes + 1])[1:]
    for path, kind in (
        ("/predict", "application/json"),
        ("/predict/file", f"multipart/form-data; boundary={_BOUNDARY.decode()}"),
    ):
        for length in ("99999999999", "9" * 30, "-1", "1e3", "0x10", "1, 2", ""):
            yield (
                f"{path} of length {length}",
                _head(path, None, kind=kind, more=f"Content-Length: {length}\r\n"),
                b"{}",
            )
        chunked = _head(path, None, kind=kind, more="Transfer-Encoding: chunked\r\n")
        chunk = b"%x\r\n" % 65536 + b"Q" * 65536 + b"\r\n"
        yield f"{path} in endless pieces", chunked, chunk * (max_bytes // 65536 + 1) + b"0\r\n\r\n"
        yield f"{path} in a piece of no length", chunked, b"zz\r\nabc\r\n"
        yield f"{path} in no piece", chunked, b"0\r\n\r\n"
        yield f"{path} with both lengths", _head(path, 2, kind=kind, more="Transfer-Encoding: gzip, chunked\r\n"), b"{}"
        yield f"{path} without length", _head(path, None, kind=kind), b""
        for encoding in ("gzip", "br", "deflate", "zstd", f"gzip, {MARKER}"):
            body = zlib.compress(bytes(1_000_000))
            yield (
                f"{path} as {encoding[:7]}",
                _head(path, len(body), kind=kind, more=f"Content-Encoding: {encoding}\r\n"),
                body,
            )


def _wrong_http() -> Iterator[tuple[str, bytes, bytes]]:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
        yield f"{method} /predict", _head("/predict", 2, method=method), b"{}"
    for path in (
        "/",
        "/predict/",
        "/docs",
        "/redoc",
        f"/{MARKER}",
        "/../etc/passwd",
        "/predict/file/x",
        "/%00",
        "/model/1",
        "/" + "a" * 9000,
    ):
        yield f"path {path[:20]}", _head(path, 2), b"{}"
    for path in ("/health", "/model", "/openapi.json"):
        yield f"POST {path}", _head(path, 2), b"{}"
    for kind in (
        "text/plain",
        "application/xml",
        "application/jsonp",
        "*/*",
        f"application/{MARKER}",
        "application/vnd.api+json",
    ):
        yield f"kind {kind}", _head("/predict", 17, kind=kind), b'{"image": "QQ=="}'
    heads = {
        "no HTTP": MARKER.encode() + b"\r\n\r\n",
        "no version": b"GET /health\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        "no host": b"POST /predict HTTP/1.1\r\n\r\n",
        "colon": b"POST /predict HTTP/1.1\r\n: x\r\n\r\n",
        "null": b"POST /pre\0dict HTTP/1.1\r\nHost: x\r\n\r\n",
        "long header": b"POST /predict HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        "HTTP/9": b"POST /predict HTTP/9.9\r\nHost: x\r\n\r\n",
    }
    for name, head in heads.items():
        yield f"http: {name}", head, b""


def _damaged() -> Iterator[tuple[str, bytes, bytes]]:
    """Images cut off at random places: what is there is sound, and not all of it."""
    draw = np.random.default_rng(11)
    dicom, jpeg = _IMAGE, REFUSED["cut.jpeg"][0]
    for data in (dicom, jpeg):
        for end in draw.integers(1, len(data) - 100, 12):
            yield _file(f"cut at {end}", data[:end])
