"""From the bytes of a JPEG, PNG or DICOM file to square 8-bit gray pixels: one path for training and for prediction.

What counts as an image, and what is refused, is decided here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from .dicom import DICOM_ENDINGS, is_dicom, open_dicom  # relative: see `classifier`
from .errors import ImageError
from .preprocessing import Gray, Preprocessing, preprocess

IMAGE_ENDINGS = (".jpeg", ".jpg", ".png", *DICOM_ENDINGS)
"""Endings of the files that are images, in lower case."""

PIXELS_VERSION = "1"
"""For the caches: to be counted up with every change that gives an image other pixels, be it here or in `dicom`,
`preprocessing` or `augmentation`."""

PLAIN = Preprocessing()
"""Squash, and nothing else."""

MIN_SIDE_PX = 8
SMALL_SIDE_PX = 64
MAX_SIDE_PX = 20_000
MAX_PIXELS = 64_000_000

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
# Pillow's decoders share no base class of errors; 20,000 randomly damaged files raised nothing but these.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What an image says of itself, before any conversion.

    Attributes:
        width_px: as stored, before a turn that EXIF asks for.
        height_px: as stored.
        mode: Pillow's name for the pixel format: `1`, `L`, `LA`, `P`, `RGB`, `RGBA` or `I;16`; or `DICOM MONOCHROME1`,
            `DICOM MONOCHROME2`.
    """

    width_px: int
    height_px: int
    mode: str

    @property
    def is_small(self) -> bool:
        """Whether it has a side under `SMALL_SIDE_PX`: legal, but hardly a radiograph."""
        return min(self.width_px, self.height_px) < SMALL_SIDE_PX


def read_header(data: bytes, *, name: str) -> ImageHeader:
    """Returns what an image says of itself, without decoding it.

    Args:
        data: the contents of the file.
        name: of the file, for messages.

    Raises:
        ImageError: as `decode_gray`, but not for damage behind the header.
    """
    if is_dicom(data):
        radiograph = open_dicom(data, name=name)
        _check_size(radiograph.width_px, radiograph.height_px, name)
        return ImageHeader(radiograph.width_px, radiograph.height_px, radiograph.mode)
    with _open(data, name) as image:
        return ImageHeader(image.width, image.height, image.mode)


def verify_image(data: bytes, *, name: str) -> ImageHeader:
    """Decodes an image completely, as cheaply as that can be done, to find out whether `decode_gray` will succeed.

    A JPEG is decoded at an eighth of its size: all of the file is still read, which is what finds a truncated one.

    Args:
        data: the contents of the file.
        name: of the file, for messages.

    Returns:
        The size and pixel format that the file states.

    Raises:
        ImageError: as `decode_gray`.
    """
    if is_dicom(data):
        header = read_header(data, name=name)
        decode_gray(data, name=name)
        return header
    with _open(data, name) as image:
        header = ImageHeader(image.width, image.height, image.mode)
        image.draft("L", (1, 1))
        image.load()
    return header


def decode_gray(data: bytes, *, name: str) -> Gray:
    """Decodes a JPEG, PNG or DICOM file to 8-bit gray at its full size; what it is, its contents say, not its name.

    Colours become ITU-R 601 luma, transparent pixels are laid over black, 16-bit gray is divided by 257 (so that 65535
    becomes 255). The image is turned upright where EXIF says that it was stored turned, because that is how every
    viewer shows it to the people who label and read it. Colour profiles and gamma are ignored. For DICOM see
    `Radiograph.gray`.

    Args:
        data: the contents of the file.
        name: of the file, for messages.

    Returns:
        Pixels of shape (height, width), dtype uint8, 0 to 255.

    Raises:
        ImageError: if it is not a JPEG, PNG or DICOM file, is damaged or cut off, is a CMYK or animated image, has a
            side under 8 px or over 20,000 px, or more than 64 megapixels, or as `open_dicom`. Sizes are checked before
            anything is decoded.
    """
    if is_dicom(data):
        radiograph = open_dicom(data, name=name)
        _check_size(radiograph.width_px, radiograph.height_px, name)
        return radiograph.gray()
    with _open(data, name) as image:
        image.load()
        return _to_gray(_upright(image))


def read_bytes(path: Path, *, name: str | None = None) -> bytes:
    """Returns the contents of an image file.

    Args:
        path: the file.
        name: of the file in messages; its path if left out.

    Raises:
        ImageError: if it is missing, not a regular file, or not readable by this user.
    """
    name = name or str(path)
    try:
        if path.is_dir():
            raise ImageError.refusing(name, "an image file", "a folder", "Name a file")
        if path.exists() and not path.is_file():
            raise ImageError.refusing(name, "an image file", "a device or pipe", "Name a regular file")
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImageError.refusing(name, "a readable file", reason, "Check the path and its permissions") from error


def read_gray(path: Path, size_px: int, preprocessing: Preprocessing = PLAIN) -> Gray:
    """Reads one image file as `decode_gray` and `preprocess` do.

    Args:
        path: a JPEG, PNG or DICOM file.
        size_px: side of the square, in px.
        preprocessing: what to do on the way; by default squash.

    Returns:
        Pixels of shape (size_px, size_px), dtype uint8, 0 to 255.

    Raises:
        ImageError: if the file cannot be read, or as `decode_gray`.
    """
    return preprocess(decode_gray(read_bytes(path), name=str(path)), size_px, preprocessing)


def read_images(
    root: Path, paths: Sequence[str], size_px: int, preprocessing: Preprocessing = PLAIN
) -> npt.NDArray[np.uint8]:
    """Reads many images, on all processors.

    Args:
        root: the folder that paths are relative to.
        paths: of the images.
        size_px: side of the square that each is resized to, in px.
        preprocessing: what to do on the way; by default squash.

    Returns:
        Pixels of shape (len(paths), size_px, size_px, 1), dtype uint8, 0 to 255, in the order of `paths`.

    Raises:
        ImageError: about the first path, in the order given, that cannot be read.
    """
    pixels = np.empty((len(paths), size_px, size_px, 1), np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        squares = pool.map(lambda path: read_gray(root / path, size_px, preprocessing), paths)
        for index, square in enumerate(squares):
            pixels[index, :, :, 0] = square
    return pixels


@contextmanager
def _open(data: bytes, name: str) -> Iterator[ImageFile.ImageFile]:
    """Opens and checks the header; whatever Pillow raises in the block becomes an `ImageError`."""
    try:
        image = _decoder(data, name)(io.BytesIO(data))
        _check_header(image, name)
        yield image
    except ImageError:
        raise
    except _DAMAGE as error:
        do = "The file is damaged or cut off; replace it"
        raise ImageError.refusing(
            name, "a whole JPEG or PNG image", f"one that cannot be decoded ({error})", do
        ) from error


def _decoder(data: bytes, name: str) -> type[ImageFile.ImageFile]:
    # Image.open would try the same two decoders, but warn about large images before their size can be refused here,
    # and Python's warning filters cannot be changed safely among threads.
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    got = f"a file that begins with {data[:12]!r}" if data else "an empty file"
    raise ImageError.refusing(name, "a JPEG, PNG or DICOM image", got, "Replace the file, whatever its ending says")


def _check_header(image: ImageFile.ImageFile, name: str) -> None:
    _check_size(*image.size, name)
    if (frames := getattr(image, "n_frames", 1)) > 1:
        do = "Save the frame that is meant as a file of its own"
        raise ImageError.refusing(name, "a single image", f"an animation of {frames} frames", do)
    if image.mode not in _MODES:
        expected = "gray, RGB or palette pixels, with or without transparency"
        raise ImageError.refusing(name, expected, f"{image.mode} pixels", "Save the image as 8-bit gray")


def _check_size(width: int, height: int, name: str) -> None:
    size = f"{width} × {height} px"
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        expected = f"at most {MAX_SIDE_PX:,} px a side and {MAX_PIXELS // 1_000_000} megapixels"
        raise ImageError.refusing(name, expected, size, "Scale the image down")
    if min(width, height) < MIN_SIDE_PX:
        raise ImageError.refusing(name, f"at least {MIN_SIDE_PX} px a side", size, "Use the image at its original size")


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return image  # metadata that cannot be read is no reason to refuse whole pixels
    return image if turn is None else image.transpose(turn)


def _to_gray(image: Image.Image) -> Gray:
    if image.mode == "I;16":  # Pillow's own conversion clips everything over 255 to white
        return ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    return np.asarray(image.convert("L"))
