"""DICOM: which gray follows from which header, what is refused in which words, and that nothing else ever happens."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import LEAVE_OUT, PATIENT, dicom_bytes, dicom_dataset
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from pneumo_core.errors import ImageError
from pneumo_core.images import ImageHeader, decode_gray, read_header, verify_image

BYTES = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
WORDS = np.random.default_rng(1).integers(0, 4096, (20, 30), dtype=np.uint16)
WINDOW: dict[str, Any] = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2000, "WindowWidth": 1000}


def decoded(data: bytes) -> np.ndarray:
    """Decodes without a warning, as every file has to be."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode_gray(data, name="a.dcm")


def lookup_table(entries: int, first: int, bits: int, values: np.ndarray, *, as_bytes: bool = True) -> list[Dataset]:
    """Returns a sequence with one lookup table."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [entries, first, bits])
    item.add_new("LUTData", "OW" if as_bytes else "US", values.tobytes() if as_bytes else values.tolist())
    return [item]


@pytest.mark.parametrize("changes", [{}, {"WindowCenter": 128, "WindowWidth": 256}, {"Modality": LEAVE_OUT}])
def test_eight_bit_pixels_are_taken_as_they_are(changes: dict[str, Any]) -> None:
    """Without a window, and with the one that covers the whole range, stored bytes are the gray."""
    np.testing.assert_array_equal(decoded(dicom_bytes(BYTES, **changes)), BYTES)


def test_a_window_over_twelve_bits_is_what_the_standard_says() -> None:
    """LINEAR, worked out by hand after PS3.3 C.11.2.1.2.1: below black, above white, a slope between."""
    low, high = 2000 - 0.5 - 999 / 2, 2000 - 0.5 + 999 / 2
    expected = np.rint(((WORDS - (2000 - 0.5)) / 999 + 0.5).clip(0, 1) * 255)
    assert (expected[low >= WORDS] == 0).all()
    assert (expected[high < WORDS] == 255).all()
    np.testing.assert_array_equal(decoded(dicom_bytes(WORDS, **WINDOW)), expected)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": "0.5", "RescaleIntercept": "-100"}])
def test_windows_agree_with_pydicom(function: str, rescale: dict[str, Any]) -> None:
    """What pydicom makes of the stored values, stretched from its own output range to 0 to 255."""
    changes = {**WINDOW, **rescale, "WindowCenter": 900, "VOILUTFunction": function}
    dataset = dicom_dataset(WORDS, **changes)
    expected = apply_voi_lut(apply_modality_lut(WORDS, dataset), dataset)
    slope, intercept = float(rescale.get("RescaleSlope", 1)), float(rescale.get("RescaleIntercept", 0))
    expected = (expected - intercept) / (4095 * slope) * 255
    assert np.abs(decoded(dicom_bytes(WORDS, **changes)) - expected).max() <= 0.5 + 1e-9
    assert np.ptp(expected) > 100


def test_a_falling_rescale_keeps_black_below_white() -> None:
    """A negative slope turns the values round before the window sees them."""
    gray = decoded(dicom_bytes(WORDS, RescaleSlope="-1", RescaleIntercept="4095", **WINDOW))
    np.testing.assert_array_equal(gray, decoded(dicom_bytes((4095 - WORDS).astype(np.uint16), **WINDOW)))


def test_the_first_of_several_windows_counts() -> None:
    """Alternative windows, for bone say, are left aside."""
    both = {**WINDOW, "WindowCenter": [2000, 500], "WindowWidth": [1000, 10]}
    np.testing.assert_array_equal(decoded(dicom_bytes(WORDS, **both)), decoded(dicom_bytes(WORDS, **WINDOW)))


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": 2000},
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "CUBIC"},
    ],
)
def test_without_a_usable_window_percentiles_are_the_window(window: dict[str, Any]) -> None:
    """The 1st percentile becomes black and the 99th white, so that a few hot pixels don't darken everything."""
    hot = WORDS.copy()
    hot[0, :5] = 60_000
    low, high = (float(value) for value in np.percentile(hot, (1, 99), method="inverted_cdf"))
    expected = np.rint(((hot - low) / (high - low)).clip(0, 1) * 255)
    np.testing.assert_array_equal(decoded(dicom_bytes(hot, **window)), expected)
    assert high < 4096


def test_an_even_image_without_a_window_is_black() -> None:
    """There is no range to stretch, and no division by zero."""
    assert (decoded(dicom_bytes(np.full((9, 9), 700, np.uint16))) == 0).all()


@pytest.mark.parametrize("changes", [{}, WINDOW])
def test_monochrome1_is_inverted(changes: dict[str, Any]) -> None:
    """The same picture stored the other way round gives the same gray: bone is white."""
    one = decoded(dicom_bytes(WORDS, PhotometricInterpretation="MONOCHROME1", **changes)).astype(int)
    np.testing.assert_array_equal(255 - one, decoded(dicom_bytes(WORDS, **changes)))


def test_signed_pixels_keep_their_order() -> None:
    """Negative values are darker than positive ones."""
    signed = np.arange(-300, 300, dtype=np.int16).reshape(20, 30)
    gray = decoded(dicom_bytes(signed, WindowCenter=0, WindowWidth=600)).ravel().astype(int)
    assert (np.diff(gray) >= 0).all()
    assert (gray[0], gray[-1]) == (0, 255)


@pytest.mark.parametrize("as_bytes", [True, False])
def test_lookup_tables_are_followed(as_bytes: bool) -> None:
    """Modality LUT, then VOI LUT; values below and above a table take its first and last entry."""
    modality = np.arange(4096, dtype="<u2")[::-1].copy()
    voi = (np.linspace(0, 1, 2000) ** 2 * 1023).astype("<u2")
    data = dicom_bytes(
        WORDS,
        ModalityLUTSequence=lookup_table(4096, 0, 16, modality, as_bytes=as_bytes),
        VOILUTSequence=lookup_table(2000, 1000, 10, voi, as_bytes=as_bytes),
        WindowCenter=5,
        WindowWidth=5,
    )
    expected = np.rint(voi[np.clip(4095 - WORDS.astype(int) - 1000, 0, 1999)] / 1023 * 255)
    np.testing.assert_array_equal(decoded(data), expected)


def test_an_eight_bit_lookup_table_may_have_thousands_of_entries() -> None:
    """Its places don't wrap around at 256."""
    voi = (np.arange(4096) // 16).astype(np.uint8)
    np.testing.assert_array_equal(
        decoded(dicom_bytes(WORDS, VOILUTSequence=lookup_table(4096, 0, 8, voi))), WORDS // 16
    )


def test_a_lookup_table_may_begin_below_zero() -> None:
    """Also where its first value is written as if it were unsigned."""
    signed = np.arange(-300, 300, dtype=np.int16).reshape(20, 30)
    voi = np.linspace(0, 65535, 600).astype("<u2")
    expected = np.rint(voi / 65535 * 255).reshape(20, 30)
    for first in (-300, 2**16 - 300):
        np.testing.assert_array_equal(
            decoded(dicom_bytes(signed, VOILUTSequence=lookup_table(600, first, 16, voi))), expected
        )


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_encoding_of_the_header_makes_no_difference(syntax: Any) -> None:
    """Implicit types and swapped bytes give the same picture."""
    voi = (np.linspace(0, 1, 4096) ** 2 * 65535).astype("<u2")
    plain = dicom_bytes(WORDS, VOILUTSequence=lookup_table(4096, 0, 16, voi, as_bytes=False), **WINDOW)
    pixels = WORDS.byteswap() if syntax == ExplicitVRBigEndian else WORDS
    other = dicom_bytes(pixels, syntax, VOILUTSequence=lookup_table(4096, 0, 16, voi, as_bytes=False), **WINDOW)
    np.testing.assert_array_equal(decoded(other), decoded(plain))


def _compressed(kind: str, pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def test_lossless_compression_changes_nothing() -> None:
    """RLE and JPEG 2000, 8 and 16 bits."""
    for pixels, changes in ((BYTES, {}), (WORDS, WINDOW | {"BitsStored": 16, "HighBit": 15})):
        expected = decoded(dicom_bytes(pixels, **changes))
        packed = dcmread(io.BytesIO(dicom_bytes(pixels, **changes)))
        packed.compress(RLELossless)
        buffer = io.BytesIO()
        packed.save_as(buffer)
        np.testing.assert_array_equal(decoded(buffer.getvalue()), expected)
        frame = _compressed("JPEG2000", pixels, no_jp2=True)
        np.testing.assert_array_equal(decoded(dicom_bytes(pixels, JPEG2000Lossless, frame, **changes)), expected)


def test_a_wrapped_jpeg_is_the_jpeg() -> None:
    """The same bytes inside DICOM and on their own give the same pixels."""
    frame = _compressed("JPEG", BYTES, quality=80)
    np.testing.assert_array_equal(
        decoded(dicom_bytes(BYTES, JPEGBaseline8Bit, frame)), decode_gray(frame, name="a.jpeg")
    )


def test_wrapped_originals_are_the_originals(real_data: Path) -> None:
    """Real radiographs, wrapped as they are and decompressed, keep every pixel."""
    paths = sorted((real_data / "originals" / "NORMAL").glob("*.jpeg"))[:3]
    assert paths
    for path in paths:
        frame = path.read_bytes()
        gray = decode_gray(frame, name="a.jpeg")
        np.testing.assert_array_equal(decoded(dicom_bytes(gray, JPEGBaseline8Bit, frame)), gray)
        np.testing.assert_array_equal(decoded(dicom_bytes(gray)), gray)


def test_the_header_is_reported() -> None:
    """Size and pixel format, without or with decoding; names of files play no part."""
    data = dicom_bytes(WORDS, PhotometricInterpretation="MONOCHROME1")
    header = ImageHeader(30, 20, "DICOM MONOCHROME1")
    assert read_header(data, name="a.jpeg") == header
    assert verify_image(data, name="a.png") == header


ACCEPTED: dict[str, dict[str, Any]] = {
    "no modality": {"Modality": ""},
    "other": {"Modality": "OT"},
    "digital": {"Modality": "DX"},
    "fluoroscopy": {"Modality": "RF"},
    "no view": {"ViewPosition": LEAVE_OUT},
    "decubitus": {"ViewPosition": "LLD"},
    "one frame": {"NumberOfFrames": 1},
    "padded": {"PixelData": WORDS.tobytes() + b"\0\0"},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_may_be_a_frontal_radiograph_is_accepted(case: str) -> None:
    """Nothing is refused for what a header leaves open."""
    assert decoded(dicom_bytes(WORDS, **ACCEPTED[case])).shape == (20, 30)


def _view(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "R-10236", meaning
    return [item]


def test_a_decubitus_view_is_frontal() -> None:
    """The patient lies on the side; the beam still goes from front to back."""
    assert decoded(dicom_bytes(WORDS, ViewCodeSequence=_view("antero-posterior lateral decubitus"))).size


def _deep(levels: int) -> bytes:
    """A file whose header opens sequences within sequences, and closes none."""
    start = dicom_bytes(BYTES, Modality="CR")
    opened = struct.pack("<HH2sHI", 0x0054, 0x0220, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return start[: start.index(b"\x28\0\x02\0")] + opened * levels


def _resized_jpeg(width: int, height: int) -> bytes:
    """Returns a JPEG whose header states another size than its pixels have."""
    data = bytearray(_compressed("JPEG", BYTES))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


REFUSED: dict[str, tuple[bytes, str]] = {
    "multi-frame": (dicom_bytes(WORDS, NumberOfFrames=12, PixelData=WORDS.tobytes() * 12), "file (12 frames)"),
    "lying multi-frame": (dicom_bytes(WORDS, NumberOfFrames=2_000_000_000), "file (2000000000 frames)"),
    "ct": (dicom_bytes(WORDS, Modality="CT"), "modality 'CT'"),
    "mammography": (dicom_bytes(WORDS, Modality="MG"), "modality 'MG'"),
    "lateral": (dicom_bytes(WORDS, ViewPosition="LATERAL"), "view 'LATERAL'"),
    "left lateral": (dicom_bytes(WORDS, ViewPosition="LL"), "view 'LL'"),
    "coded lateral": (dicom_bytes(WORDS, ViewCodeSequence=_view("left lateral")), "view 'left lateral'"),
    "colour": (
        dicom_bytes(np.zeros((20, 30, 3), np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        "RGB with 3 samples a pixel",
    ),
    "palette": (dicom_bytes(BYTES, PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR with 1 samples"),
    "control characters": (
        dicom_bytes(BYTES).replace(b"MONOCHROME2", b"MONO\n\x1b[2JXY"),
        "MONO??[2JXY with 1 samples",
    ),
    "no photometry": (dicom_bytes(BYTES, PhotometricInterpretation=LEAVE_OUT), "no photometric interpretation"),
    "no pixels": (dicom_bytes(BYTES, PixelData=LEAVE_OUT), "one without"),
    "60,000 px": (dicom_bytes(BYTES, Rows=60_000, Columns=60_000), "60000 × 60000 px"),
    "tiny": (dicom_bytes(BYTES[:7]), "30 × 7 px"),
    "no size": (dicom_bytes(BYTES, Rows=LEAVE_OUT), "cannot be read"),
    "32 bits": (dicom_bytes(np.zeros((20, 30), np.uint32)), "got 32"),
    "fewer pixels than stated": (dicom_bytes(BYTES, Rows=400), "cannot be decoded"),
    "truncated": (dicom_bytes(WORDS)[:-200], "cannot be decoded"),
    "header only": (dicom_bytes(WORDS)[:600], "expected"),
    "preamble only": (b"\0" * 128 + b"DICM", "expected"),
    "no transfer syntax": (b"\0" * 128 + b"DICM" + dicom_bytes(WORDS)[400:], "expected"),
    "lossless jpeg": (dicom_bytes(BYTES, JPEGLosslessSV1, b"\xff\xd8\xff\xd9"), "JPEG Lossless"),
    "deflated": (dicom_bytes(BYTES, DeflatedExplicitVRLittleEndian), "Deflated"),
    "empty jpeg": (dicom_bytes(BYTES, JPEGBaseline8Bit, b"\xff\xd8\xff\xd9"), "cannot be decoded"),
    "truncated jpeg": (dicom_bytes(BYTES, JPEGBaseline8Bit, _compressed("JPEG", BYTES)[:-20]), "cannot be decoded"),
    "jpeg of another size": (
        dicom_bytes(BYTES, JPEGBaseline8Bit, _compressed("JPEG", np.tile(BYTES, (3, 3)))),
        "cannot be decoded",
    ),
    "jpeg bomb": (
        dicom_bytes(BYTES, JPEGBaseline8Bit, _resized_jpeg(19_000, 19_000)),
        "cannot be decoded (ValueError; JPEG Baseline",
    ),
    "rle bomb": (dicom_bytes(BYTES, RLELossless, b"\x81\0" * 2_000), "cannot be decoded (ValueError; RLE"),
    "short table": (
        dicom_bytes(WORDS, VOILUTSequence=lookup_table(4096, 0, 16, np.zeros(7, "<u2"))),
        "cannot be decoded",
    ),
    "endless rescale": (dicom_bytes(WORDS, RescaleSlope="1e308", RescaleIntercept="1e308"), "cannot be decoded"),
    "sequences without end": (_deep(5_000), "expected"),
    "no preamble": (dicom_bytes(WORDS)[132:], "a JPEG, PNG or DICOM image"),
}  # fmt: skip


@pytest.mark.parametrize("check", [verify_image, decode_gray])
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_frontal_radiograph_is_refused_in_words(case: str, check: Any) -> None:
    """Both ways of opening refuse the same files, say why and what to do, never warn, and never name the patient."""
    data, got = REFUSED[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            check(data, name="train/NORMAL/odd.dcm")
    message = str(caught.value)
    assert message.startswith("train/NORMAL/odd.dcm: expected ")
    assert got in message
    assert message.endswith(".")
    assert "\n" not in message
    assert PATIENT not in message


@pytest.mark.parametrize("case", ["multi-frame", "60,000 px", "ct", "lateral", "colour", "lossless jpeg"])
def test_refusals_come_before_any_pixel_is_decoded(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the header rules out costs no memory."""

    def decode(*arguments: object, **options: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", decode)
    with pytest.raises(ImageError, match=r"expected"):
        verify_image(REFUSED[case][0], name="a.dcm")


def test_damaged_files_never_raise_anything_but_image_errors() -> None:
    """Flipped bytes and cuts anywhere end in pixels or in one line; the patient's name stays out of it."""
    rng = np.random.default_rng(0)
    voi = (np.linspace(0, 1, 4096) ** 2 * 65535).astype("<u2")
    wholes = [
        dicom_bytes(BYTES, ViewCodeSequence=_view("frontal")),
        dicom_bytes(WORDS, ImplicitVRLittleEndian, RescaleSlope="1.5", RescaleIntercept="-7", **WINDOW),
        dicom_bytes(WORDS[:8, :8], VOILUTSequence=lookup_table(64, 0, 16, voi[:64]), **WINDOW),
        dicom_bytes(BYTES, JPEGBaseline8Bit, _compressed("JPEG", BYTES)),
    ]
    decoded_files, messages = 0, []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for number in range(600):
            data = bytearray(wholes[number % len(wholes)])
            if number % 3 == 0:
                del data[rng.integers(132, len(data)) :]
            else:
                places = rng.integers(132, min(len(data), 1_200), rng.integers(1, 4))
                for place in places:
                    data[place] = rng.integers(256)
            try:
                decoded_files += decode_gray(bytes(data), name="a.dcm").dtype == np.uint8
            except ImageError as error:
                messages.append(str(error))
    assert min(decoded_files, len(messages)) > 100
    assert decoded_files + len(messages) == 600
    assert not [message for message in messages if "\n" in message or "Geheim" in message]
    assert not [str(warning.message) for warning in warned]


def test_pydicom_is_needed_only_for_dicom() -> None:
    """Without it JPEG and PNG files are read, and a DICOM file is refused with the reason."""
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from pneumo_core.images import decode_gray\n"
        "from pneumo_core.errors import ImageError\n"
        "try: decode_gray(bytes(128) + b'DICM', name='a.dcm')\n"
        "except ImageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.startswith("a.dcm: expected pydicom")
