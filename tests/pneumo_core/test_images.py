"""Decoding and resizing: what becomes which pixels, and what is refused in which words."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from odd_files import png_of_size
from PIL import Image

from pneumo_core.errors import ImageError
from pneumo_core.images import ImageHeader, decode_gray, read_gray, read_header, read_images, verify_image

RAMP = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Returns the bytes of an image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_of_size(width: int, height: int) -> bytes:
    """Returns a JPEG whose header states another size than its pixels have."""
    data = bytearray(encoded(RAMP, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def test_eight_bit_gray_is_kept_as_it_is() -> None:
    """A gray PNG's pixels arrive unchanged, whole and in place."""
    decoded = decode_gray(encoded(RAMP), name="a.png")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, RAMP)


def test_sixteen_bit_gray_is_scaled_not_clipped() -> None:
    """65535 becomes 255 and the middle stays in the middle, where Pillow's own conversion makes all of it white."""
    deep = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20)
    np.testing.assert_array_equal(decode_gray(encoded(deep), name="a.png"), np.rint(deep / 257).astype(np.uint8))


def test_colour_becomes_luma() -> None:
    """RGB is weighted as ITU-R 601 says, within rounding."""
    colour = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    expected = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode_gray(encoded(colour), name="a.png") - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_a_gray_radiograph_gives_the_same_pixels_in_every_mode(mode: str) -> None:
    """The pixel format is no label leak: RGB files, all of them pneumonia on Kaggle, decode as gray ones do."""
    decoded = decode_gray(encoded(Image.fromarray(RAMP).convert(mode)), name="a.png")
    np.testing.assert_array_equal(decoded, RAMP)


def test_a_gray_jpeg_and_its_rgb_twin_give_the_same_pixels() -> None:
    """The same holds for JPEG, where RGB is stored as luma and chroma."""
    gray = encoded(RAMP, "JPEG", quality=95)
    rgb = encoded(Image.fromarray(RAMP).convert("RGB"), "JPEG", quality=95)
    np.testing.assert_array_equal(decode_gray(gray, name="a.jpeg"), decode_gray(rgb, name="b.jpeg"))


def test_one_bit_pixels_become_black_and_white() -> None:
    """A 1-bit image uses the whole range, not 0 and 1."""
    bits = RAMP % 2 == 0
    np.testing.assert_array_equal(decode_gray(encoded(Image.fromarray(bits)), name="a.png"), bits * np.uint8(255))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_lie_over_black(mode: str) -> None:
    """What cannot be seen does not shine through, and half of it shines by half."""
    image = Image.new("L", (16, 16), 200).convert(mode)
    image.putalpha(Image.fromarray(np.repeat(np.array([[0, 128]], np.uint8), 8, axis=1).repeat(16, axis=0)))
    decoded = decode_gray(encoded(image), name="a.png")
    assert (decoded[:, :8] == 0).all()
    assert np.abs(decoded[:, 8:].astype(int) - 100).max() <= 1


def test_a_transparent_palette_colour_becomes_black() -> None:
    """Transparency of a palette counts too, although its mode does not show it."""
    image = Image.new("L", (16, 16), 200).convert("P")
    index = image.getpixel((0, 0))
    assert (decode_gray(encoded(image, transparency=index), name="a.png") == 0).all()


def test_exif_orientation_is_respected() -> None:
    """An image stored on its side is decoded upright, as viewers show it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_gray(encoded(RAMP, "PNG", exif=exif), name="a.png")
    np.testing.assert_array_equal(decoded, np.rot90(RAMP, -1))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_exif_that_cannot_be_read_is_ignored() -> None:
    """Broken metadata does not cost an image whose pixels are whole."""
    exif = Image.Exif()
    exif[0x0112] = 6
    broken = encoded(RAMP, "JPEG", exif=exif).replace(b"Exif\0\0MM\0*", b"Exif\0\0XX\0*")
    np.testing.assert_array_equal(decode_gray(broken, name="a.jpeg"), decode_gray(encoded(RAMP, "JPEG"), name="b.jpeg"))


REFUSED = {
    "empty": (b"", "an empty file"),
    "text": (b"not an image at all", "begins with b'not an image"),
    "gif": (encoded(RAMP, "GIF"), "begins with b'GIF8"),
    "cmyk": (encoded(Image.new("CMYK", (16, 16)), "JPEG"), "CMYK pixels"),
    "60,000 px": (png_of_size(60_000, 60_000), "60000 × 60000 px"),
    "60,000 px jpeg": (jpeg_of_size(60_000, 60_000), "60000 × 60000 px"),
    "long": (png_of_size(20_001, 10), "20001 × 10 px"),
    "65 megapixels": (png_of_size(8_000, 8_001), "8000 × 8001 px"),
    "64 megapixels, but no pixels": (png_of_size(8_000, 8_000), "cannot be decoded"),
    "tiny": (encoded(RAMP[:7]), "20 × 7 px"),
    "truncated jpeg": (encoded(RAMP, "JPEG")[:-20], "cannot be decoded"),
    "one byte short": (encoded(RAMP, "JPEG")[:-1], "cannot be decoded"),
    "truncated progressive jpeg": (encoded(RAMP, "JPEG", progressive=True)[:-40], "cannot be decoded"),
    "truncated png": (encoded(RAMP)[:50], "cannot be decoded"),
    "header only": (b"\xff\xd8\xff\xe0", "cannot be decoded"),
    "no pixels": (png_of_size(16, 16), "cannot be decoded"),
    "animation": (
        encoded(RAMP, save_all=True, append_images=[Image.fromarray(RAMP[::-1])], duration=9),
        "an animation of 2 frames",
    ),
}


@pytest.mark.parametrize("check", [verify_image, decode_gray])
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_whole_image_is_refused_in_words(case: str, check: object) -> None:
    """Both ways of opening refuse the same files, name the file, say what was found and what to do, and never warn."""
    data, got = REFUSED[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as caught:
            check(data, name="train/NORMAL/odd.jpeg")
    message = str(caught.value)
    assert message.startswith("train/NORMAL/odd.jpeg: expected ")
    assert got in message
    assert message.endswith(".")


def test_a_large_but_legal_image_is_decoded_without_a_warning() -> None:
    """Only the limits documented here count: Pillow's own, however low, neither warns nor refuses."""
    image = np.zeros((3_000, 3_000), np.uint8)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 1_000
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert decode_gray(encoded(image), name="a.png").shape == (3_000, 3_000)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def test_damaged_bytes_never_raise_anything_but_image_errors() -> None:
    """Whatever a flipped byte does to a decoder, it ends in a refusal or in pixels."""
    rng = np.random.default_rng(0)
    wholes = [encoded(RAMP, "JPEG"), encoded(RAMP), encoded(Image.fromarray(RAMP).convert("P"))]
    outcomes = set()
    for number in range(600):
        data = bytearray(wholes[number % len(wholes)])
        data[rng.integers(len(data))] = rng.integers(256)
        try:
            outcomes.add(decode_gray(bytes(data), name="a").dtype.name)
        except ImageError:
            outcomes.add("refused")
    assert outcomes == {"uint8", "refused"}


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("RGB", "JPEG"), ("1", "PNG"), ("LA", "PNG"), ("P", "PNG")])
def test_verifying_reports_the_header_as_stored(mode: str, kind: str) -> None:
    """Size and mode are the file's own, not those of the reduced decoding; they are what reveals shortcuts."""
    data = encoded(Image.new("L", (100, 60)).convert(mode), kind)
    assert verify_image(data, name="a") == ImageHeader(100, 60, mode)


def test_reading_many_keeps_their_order(tmp_path: Path) -> None:
    """Threads may finish in any order; pixels lie in the order of the paths, repeats included."""
    for number in range(40):
        Image.new("L", (8 + number, 9), number).save(tmp_path / f"{number}.png")
    order = [int(number) for number in np.random.default_rng(0).permutation(40)] + [3, 3]
    pixels = read_images(tmp_path, [f"{number}.png" for number in order], 16)
    assert pixels.shape == (42, 16, 16, 1)
    assert pixels.dtype == np.uint8
    assert pixels[:, 0, 0, 0].tolist() == order


def test_one_and_many_are_read_alike(tmp_path: Path) -> None:
    """Prediction (one image) and training (many) share every pixel."""
    (tmp_path / "a.jpeg").write_bytes(encoded(np.tile(RAMP, (5, 4)), "JPEG"))
    np.testing.assert_array_equal(read_images(tmp_path, ["a.jpeg"], 32)[0, :, :, 0], read_gray(tmp_path / "a.jpeg", 32))


def test_the_first_bad_path_is_the_one_named(tmp_path: Path) -> None:
    """Which error is reported depends on the order of paths, not on the timing of threads."""
    Image.new("L", (9, 9)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no")
    with pytest.raises(ImageError, match=r"gone\.png: expected a readable file, got no such file"):
        read_images(tmp_path, ["good.png", "gone.png", "bad.png"], 16)


def test_no_paths_give_no_images(tmp_path: Path) -> None:
    """An empty list is an empty array of the right shape."""
    assert read_images(tmp_path, [], 16).shape == (0, 16, 16, 1)


def test_a_folder_named_like_an_image_is_refused(tmp_path: Path) -> None:
    """A directory is refused in the same manner as any other thing that is no image."""
    (tmp_path / "a.jpeg").mkdir()
    with pytest.raises(ImageError, match="expected an image file, got a folder"):
        read_gray(tmp_path / "a.jpeg", 16)


def test_original_radiographs_of_all_sizes_are_read(real_data: Path) -> None:
    """Gray and RGB originals of 400 to 2,900 px are read, and none comes out flat."""
    root = real_data / "originals"
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpeg"))
    assert {verify_image((root / path).read_bytes(), name=path).mode for path in paths} == {"L", "RGB"}
    pixels = read_images(root, paths, 64)
    assert pixels.std(axis=(1, 2, 3)).min() > 10


def test_the_header_is_read_without_decoding() -> None:
    """Size and mode of a file whose pixels are cut off are known; only a side under 64 px is small."""
    assert read_header(png_of_size(64, 900), name="a") == ImageHeader(64, 900, "L")
    smallness = {side: read_header(png_of_size(side, 900), name="a").is_small for side in (8, 63, 64)}
    assert smallness == {8: True, 63: True, 64: False}
    with pytest.raises(ImageError, match="60000"):
        read_header(png_of_size(60_000, 60_000), name="a")
