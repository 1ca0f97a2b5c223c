"""From a DICOM file to 8-bit gray, or a reason why it cannot be a frontal radiograph. The only `pydicom` import.

Of the header only what decides about pixels is read; what identifies a patient is never looked at, let alone shown. So
messages don't quote pydicom, which may quote the file. This module travels inside every registered model: see
`classifier`.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from .errors import ImageError  # relative: see `classifier`
from .preprocessing import Gray

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM_ENDINGS = (".dcm", ".dicom")
"""Endings of the files that are DICOM, in lower case."""

PERCENTILES = (1.0, 99.0)
"""Of the values of an image without a usable window: what becomes black, and what becomes white."""

_MODALITIES = ("CR", "DX", "RG", "RF", "OT", "")
_LATERAL = ("LL", "RL", "LAT", "LATERAL", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO")
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_FRAME_DECODERS: Mapping[str, Callable[[io.BytesIO], ImageFile]] = {
    "1.2.840.10008.1.2.4.50": JpegImageFile,  # baseline
    "1.2.840.10008.1.2.4.51": JpegImageFile,  # extended, of which 8 bits can be decoded
    "1.2.840.10008.1.2.4.90": Jpeg2KImageFile,  # lossless
    "1.2.840.10008.1.2.4.91": Jpeg2KImageFile,
}
_TAGS = [
    "Modality", "ViewPosition", "ViewCodeSequence", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
    "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
]  # fmt: skip
_ROWS_AT_ONCE = 256
_QUIET = ("ignore", None, Warning, re.compile(r"pydicom\."), 0)
_DAMAGED = "The file is damaged or cut off; replace it"

Values = npt.NDArray[np.float64]


class Radiograph:
    """An opened DICOM file that may be a frontal radiograph, its pixels not yet decoded.

    Attributes:
        width_px: as the header says.
        height_px: as the header says.
        mode: `DICOM MONOCHROME1` or `DICOM MONOCHROME2`.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        self._dataset, self._name = dataset, name
        self.width_px, self.height_px = _whole(dataset, "Columns"), _whole(dataset, "Rows")
        self.mode = f"DICOM {_word(dataset, 'PhotometricInterpretation')}"

    def gray(self) -> Gray:
        """Decodes the pixels.

        Stored values go through the modality LUT (or rescale), then through the VOI LUT (or window: the first, where
        there are several). Without either, 8-bit values are taken as they are, others from their 1st to their 99th
        percentile. MONOCHROME1 is inverted, so that bone is white.

        Returns:
            Pixels of shape (height, width), dtype uint8, 0 to 255.

        Raises:
            ImageError: if the pixels are cut off or damaged, or packed in a way that cannot be unpacked here.
        """
        from pydicom.pixels.utils import pixel_array

        try:
            _silence()
            _check_frame(self._dataset, (self.width_px, self.height_px))
            stored = pixel_array(self._dataset, raw=True)
            if stored.shape != (self.height_px, self.width_px) or stored.dtype.itemsize > 2:
                raise ValueError("pixels do not fit the header")
            patterns = np.ascontiguousarray(stored).view(f"u{stored.dtype.itemsize}")
            return _looked_up(patterns, _gray_table(self._dataset, patterns, stored.dtype))
        except MemoryError:
            raise
        except Exception as error:  # pydicom's decoders raise every kind there is, down to RuntimeError and KeyError
            got = f"pixels that cannot be decoded ({type(error).__name__}; {_shown(_syntax(self._dataset).name)})"
            raise ImageError.refusing(self._name, "a whole DICOM image", got, _DAMAGED) from error


def is_dicom(data: bytes) -> bool:
    """Returns whether a file's contents call themselves DICOM, whatever its name says."""
    return data[128:132] == b"DICM"


def open_dicom(data: bytes, *, name: str) -> Radiograph:
    """Reads the header of a DICOM file and refuses what cannot be a frontal radiograph, or not be decoded here.

    Args:
        data: the contents of the file.
        name: of the file, for messages.

    Raises:
        ImageError: if it is damaged, has no pixels or several frames, is in colour, neither 8-bit nor 16-bit, of a
            modality other than CR, DX, RG, RF and OT, a lateral or oblique view, or compressed in a way unknown here.
    """
    try:
        import pydicom
    except ImportError as error:
        do = "Install it, or convert the file to PNG"
        raise ImageError.refusing(name, "pydicom, which reads DICOM files", "none installed", do) from error
    try:
        _silence()
        _refuse_deflated(data, name)
        dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=_TAGS)
        _check_content(dataset, name)
        _check_pixels(dataset, name)
        return Radiograph(dataset, name)
    except (ImageError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # pydicom raises whatever reading a value that is none runs into, RecursionError included
        got = f"one whose header cannot be read ({type(error).__name__})"
        raise ImageError.refusing(name, "a whole DICOM image", got, _DAMAGED) from error


def _silence() -> None:
    """Keeps pydicom's warnings about odd files from the terminal; they may quote what is in them.

    The filter is set once, not around each call: filters belong to the process, and threads read images side by side.
    """
    if not warnings.filters or warnings.filters[0] != _QUIET:
        warnings.filterwarnings("ignore", module=r"pydicom\.")


def _refuse_deflated(data: bytes, name: str) -> None:
    """Reading such a header unpacks the whole file, however large it becomes."""
    from pydicom.filereader import read_dataset

    file = io.BytesIO(data)
    file.seek(132)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
        raise _compressed(name, "Deflated Explicit VR Little Endian")


def _check_content(dataset: Dataset, name: str) -> None:
    """Refuses, by what the header says, that which is no single frontal radiograph."""
    if (frames := _whole(dataset, "NumberOfFrames", 1)) > 1:
        do = "Export the frame that is meant as a file of its own"
        raise ImageError.refusing(name, "a single image", f"a multi-frame DICOM file ({frames} frames)", do)
    if (modality := _word(dataset, "Modality")) not in _MODALITIES:
        expected = f"a radiograph (modality {', '.join(filter(None, _MODALITIES))})"
        raise ImageError.refusing(name, expected, f"modality {modality!r}", "Leave it out")
    if view := _lateral_view(dataset):
        raise ImageError.refusing(name, "a frontal radiograph", f"view {view!r}", "Leave it out")
    photometric, samples = _word(dataset, "PhotometricInterpretation"), _whole(dataset, "SamplesPerPixel", 1)
    if photometric not in _MONOCHROME or samples != 1:
        got = f"{photometric or 'no photometric interpretation'} with {samples} samples a pixel"
        raise ImageError.refusing(name, "MONOCHROME1 or MONOCHROME2 pixels", got, "Export the image as grayscale")


def _check_pixels(dataset: Dataset, name: str) -> None:
    """Refuses what cannot be decoded, before anything is."""
    from pydicom.pixels.decoders.base import get_decoder

    if "PixelData" not in dataset:
        do = "The file is cut off, or no image; replace it"
        raise ImageError.refusing(name, "a DICOM file with pixel data", "one without", do)
    if (bits := _whole(dataset, "BitsAllocated")) not in (8, 16):
        raise ImageError.refusing(name, "8 or 16 bits a pixel", f"{bits}", "Export the image as 16-bit grayscale")
    syntax = _syntax(dataset)
    try:
        decodable = get_decoder(syntax).is_available
    except NotImplementedError:
        decodable = False
    if not decodable:
        raise _compressed(name, syntax.name)


def _check_frame(dataset: Dataset, size: tuple[int, int]) -> None:
    """Refuses a compressed frame that would become larger than the header says, before it is decompressed."""
    from pydicom.encaps import get_frame

    if not _syntax(dataset).is_encapsulated:
        return
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if decoder := _FRAME_DECODERS.get(_syntax(dataset)):
        if (stated := decoder(io.BytesIO(frame)).size) != size:
            raise ValueError(f"a frame of {stated}")
    elif len(frame) > 2 * size[0] * size[1] * _whole(dataset, "BitsAllocated") // 8 + 1024:
        raise ValueError("run lengths that take more room than what they stand for")


def _compressed(name: str, syntax: str) -> ImageError:
    expected = "pixels that are uncompressed, RLE, JPEG baseline or JPEG 2000"
    do = "Decompress the file, for example with gdcmconv --raw or dcmdjpeg"
    return ImageError.refusing(name, expected, f"the transfer syntax {_shown(syntax)}", do)


def _lateral_view(dataset: Dataset) -> str:
    """Returns the view if it is lateral or oblique, else nothing. A lateral decubitus image is a frontal one."""
    if (view := _word(dataset, "ViewPosition")) in _LATERAL:
        return view
    for item in dataset.get("ViewCodeSequence") or ():
        meaning = _shown(item.get("CodeMeaning", ""))
        if re.search(r"\b(lateral|oblique)\b", meaning, re.IGNORECASE) and "decubitus" not in meaning.lower():
            return meaning
    return ""


def _gray_table(dataset: Dataset, patterns: npt.NDArray[Any], dtype: np.dtype[Any]) -> Gray:
    """Returns the gray value of every bit pattern that a pixel can have, in the order of unsigned numbers."""
    values = _after_modality(dataset, np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype))
    if not np.isfinite(values).all():
        raise ValueError("rescaling gives no numbers")
    brightness = _after_voi(dataset, values)
    if brightness is None:
        brightness = _spread(values, *_range(dataset, values, patterns))
    if _word(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        brightness = 1 - brightness
    gray: Gray = np.rint(brightness.clip(0, 1) * 255).astype(np.uint8)
    return gray


def _after_modality(dataset: Dataset, stored: npt.NDArray[Any]) -> Values:
    if sequence := dataset.get("ModalityLUTSequence"):
        return _through_lut(dataset, sequence[0], stored.astype(np.float64))[0]
    slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        values: Values = stored.astype(np.float64) * slope + intercept
    return values


def _after_voi(dataset: Dataset, values: Values) -> Values | None:
    """Returns 0 (black) to 1 (white) by VOI LUT or window; None where there is no usable one."""
    if sequence := dataset.get("VOILUTSequence"):
        looked_up, white = _through_lut(dataset, sequence[0], values)
        return looked_up / white
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    function = _word(dataset, "VOILUTFunction") or "LINEAR"
    if center is None or width is None or not np.isfinite([center, width]).all():
        return None
    return _windowed(values, center, width, function)


def _windowed(values: Values, center: float, width: float, function: str) -> Values | None:
    import pydicom
    from pydicom.pixels.processing import apply_windowing

    # A data set of our own, because pydicom's output range follows from what else is in the header.
    window = pydicom.Dataset()
    window.PhotometricInterpretation, window.PixelRepresentation, window.BitsStored = "MONOCHROME2", 0, 8
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, width, function
    try:
        with np.errstate(over="ignore"):
            return apply_windowing(values, window) / 255
    except ValueError:
        return None  # a width of 0, or a function that the standard does not know


def _through_lut(dataset: Dataset, item: Dataset, values: Values) -> tuple[Values, float]:
    """Returns the values that a lookup table has for others, and its largest possible one (DICOM PS3.3 C.11.1.1).

    pydicom's own functions index an 8-bit table by 8 bits, however long it is.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    if first >= 2**15 and values.min() < 0:
        first -= 2**16  # written as unsigned, meant as signed
    content = item.LUTData
    if isinstance(content, bytes):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        table = np.frombuffer(content, "u1" if len(content) == (entries or 2**16) else f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(content))
    entries = entries or 2**16
    if len(table) < entries or not 1 <= bits <= 16:
        raise ValueError("the lookup table does not fit its description")
    places = (np.rint(values) - first).clip(0, entries - 1).astype(np.int64)
    return table[places].astype(np.float64), float(2**bits - 1)


def _range(dataset: Dataset, values: Values, patterns: npt.NDArray[Any]) -> tuple[float, float]:
    """What becomes black and white without a window."""
    if patterns.dtype.itemsize == 1 and _whole(dataset, "BitsStored") == 8:
        return float(values.min()), float(values.max())
    counts = np.zeros(len(values), np.int64)
    for start in range(0, len(patterns), _ROWS_AT_ONCE):
        counts += np.bincount(patterns[start : start + _ROWS_AT_ONCE].ravel(), minlength=len(values))
    order = np.argsort(values, kind="stable")
    shares = np.cumsum(counts[order]) / patterns.size
    low, high = (float(values[order][np.searchsorted(shares, percent / 100)]) for percent in PERCENTILES)
    return low, high


def _spread(values: Values, low: float, high: float) -> Values:
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _looked_up(patterns: npt.NDArray[Any], table: Gray) -> Gray:
    """Does so by rows, because NumPy makes 8 bytes of every index."""
    gray = np.empty(patterns.shape, np.uint8)
    for start in range(0, len(patterns), _ROWS_AT_ONCE):
        gray[start : start + _ROWS_AT_ONCE] = table[patterns[start : start + _ROWS_AT_ONCE]]
    return gray


def _syntax(dataset: Dataset) -> Any:
    return dataset.file_meta.TransferSyntaxUID


def _whole(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value = dataset.get(keyword)
    return int(value) if value is not None or default is None else default


def _number(dataset: Dataset, keyword: str, default: Any = None) -> Any:
    """Returns the number, the first of several, or the default if there is none."""
    value = dataset.get(keyword)
    if value is not None and not isinstance(value, (str, int, float)):
        value = next(iter(value), None)
    return default if value in (None, "") else float(value)


def _word(dataset: Dataset, keyword: str) -> str:
    return _shown(dataset.get(keyword) or "").strip().upper()


def _shown(text: object) -> str:
    """A text from the file as it may go to a terminal: short, and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:64])
