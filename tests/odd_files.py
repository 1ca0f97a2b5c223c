"""Files as they turn up in real folders, with the word that is documented for each (docs/images.md)."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import dicom_bytes
from PIL import Image

PIXELS = np.random.default_rng(7).integers(0, 256, (80, 70), dtype=np.uint8)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """Returns a PNG that states a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


_GRAY = Image.fromarray(PIXELS)
_ALPHA = np.dstack([PIXELS, PIXELS, PIXELS, np.full_like(PIXELS, 255)])

REFUSED: dict[str, tuple[bytes, str]] = {
    "cut.jpeg": (_saved(_GRAY, "JPEG")[:-200], "cannot be decoded"),
    "text.jpeg": (b"a letter, not a picture", "begins with b'a letter, no'"),
    "huge.png": (png_of_size(60_000, 60_000), "60000 × 60000 px"),
    "cmyk.jpeg": (_saved(_GRAY.convert("CMYK"), "JPEG"), "CMYK pixels"),
    "moving.png": (
        _saved(_GRAY, "PNG", save_all=True, append_images=[_GRAY.rotate(180)], duration=9),
        "an animation of 2 frames",
    ),
    "series.dcm": (dicom_bytes(PIXELS, NumberOfFrames=3, PixelData=PIXELS.tobytes() * 3), "multi-frame DICOM file (3"),
    "lateral.dcm": (dicom_bytes(PIXELS, ViewPosition="LL"), "view 'LL'"),
    "empty.png": (b"", "an empty file"),
}
"""Contents and a part of the reason."""

CONVERTED: dict[str, tuple[bytes, str]] = {
    "alpha.png": (_saved(Image.fromarray(_ALPHA), "PNG"), "RGBA"),
    "palette.png": (_saved(_GRAY.convert("P"), "PNG"), "P"),
    "deep.png": (_saved(Image.fromarray(PIXELS.astype(np.uint16) * 257), "PNG"), "I;16"),
    "inverted.dcm": (dicom_bytes(255 - PIXELS, PhotometricInterpretation="MONOCHROME1"), "DICOM MONOCHROME1"),
    "plain.dicom": (dicom_bytes(PIXELS), "DICOM MONOCHROME2"),
}
"""Contents, all of which show PIXELS, and the mode that the manifest has for them."""

WARNED: dict[str, bytes] = {"twenty.png": _saved(_GRAY.crop((0, 0, 20, 20)), "PNG")}


def write_odd_files(folder: Path) -> list[Path]:
    """Writes all of them into a folder and returns their paths."""
    contents = {name: data for name, (data, _) in (REFUSED | CONVERTED).items()} | WARNED
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]
