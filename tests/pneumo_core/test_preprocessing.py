"""Resizing, noise and contrast: what becomes of the pixels, in which order, and that it never varies."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pneumo_core.errors import ConfigError
from pneumo_core.preprocessing import CONTRASTS, DENOISINGS, RESIZINGS, Gray, Preprocessing, preprocess

PLAIN = Preprocessing()
ALL = [Preprocessing(*values) for values in itertools.product(CONTRASTS, DENOISINGS, RESIZINGS)]
NOISE: Gray = np.random.default_rng(0).integers(0, 256, (300, 200), dtype=np.uint8)


def test_the_default_is_what_it_always_was() -> None:
    """Without settings an image is squashed by Pillow's antialiased bilinear filter, bit by bit."""
    expected = np.asarray(Image.fromarray(NOISE).resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(preprocess(NOISE, 64, PLAIN), expected)


def test_squashing_averages_over_what_it_replaces() -> None:
    """A fine checkerboard shrinks to even gray (antialiasing) instead of stripes."""
    board = (np.indices((200, 100)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = preprocess(board, 20, PLAIN)
    assert small.shape == (20, 20)
    assert small.dtype == np.uint8
    assert np.abs(small.astype(int) - 127).max() <= 6


def test_squashing_keeps_the_whole_image() -> None:
    """Nothing is cropped or padded: the left half of a wide image is the left half of the square."""
    wide = np.concatenate([np.zeros((50, 100), np.uint8), np.full((50, 100), 255, np.uint8)], axis=1)
    square = preprocess(wide, 10, PLAIN)
    assert (square[:, :4] == 0).all()
    assert (square[:, 6:] == 255).all()


@pytest.mark.parametrize("resize", RESIZINGS)
def test_a_square_of_the_right_size_is_not_resampled(resize: str) -> None:
    """Images that are square and of the size asked for keep their pixels, however they are resized."""
    square = NOISE[:64, :64]
    np.testing.assert_array_equal(preprocess(square, 64, Preprocessing(resize=resize)), square)


@pytest.mark.parametrize(("shape", "bars"), [((60, 120), (16, 16, 0, 0)), ((120, 100), (0, 0, 5, 6))])
def test_padding_keeps_the_proportions(shape: tuple[int, int], bars: tuple[int, int, int, int]) -> None:
    """Black bars above and below, or left and right, of equal width; an odd pixel goes right; nothing is lost."""
    square = preprocess(np.full(shape, 200, np.uint8), 64, Preprocessing(resize="pad"))
    top, bottom, left, right = bars
    inside = square[top : 64 - bottom, left : 64 - right]
    assert (inside == 200).all()
    assert square.sum() == inside.sum()


def test_cropping_takes_the_square_in_the_middle() -> None:
    """A third is cut off on either side of a wide image, and the middle does not bleed in what was cut off."""
    wide = np.repeat(np.array([[10, 120, 250]], np.uint8), 40, axis=1).repeat(40, axis=0)
    assert (preprocess(wide, 32, Preprocessing(resize="crop")) == 120).all()
    np.testing.assert_array_equal(
        preprocess(NOISE, 64, Preprocessing(resize="crop")), preprocess(NOISE[50:250], 64, PLAIN)
    )


def test_the_blur_is_the_binomial_one() -> None:
    """Weights 1, 2, 1 in both directions, rounded once, mirrored at the border: worked out here with NumPy."""
    square = NOISE[:64, :64]
    wide = np.pad(square.astype(int), 1, mode="reflect")
    rows = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    expected = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:] + 8) // 16
    np.testing.assert_array_equal(preprocess(square, 64, Preprocessing(denoise="gaussian")), expected)


def test_clahe_equalises_each_tile_up_to_its_limit() -> None:
    """Where all tiles are alike nothing is interpolated, and the clipped histogram can be worked out by hand."""
    tile = np.random.default_rng(3).normal(120, 10, (32, 32)).astype(np.uint8)
    counts = np.bincount(tile.ravel(), minlength=256)
    limit = 2 * tile.size // 256
    kept = np.minimum(counts, limit)
    spread, left = divmod(int((counts - kept).sum()), 256)
    kept += spread
    kept[:: max(256 // left, 1)][:left] += 1
    table = np.rint(np.cumsum(kept) * (255 / tile.size)).astype(np.uint8)
    done = preprocess(np.tile(tile, (8, 8)), 256, Preprocessing(contrast="clahe"))
    np.testing.assert_array_equal(done, np.tile(table[tile], (8, 8)))
    assert np.std(done) > 1.3 * np.std(tile)


def test_the_steps_come_in_their_documented_order() -> None:
    """Resized first, then blurred, then equalised: the three apart give what they give together."""
    all_at_once = preprocess(NOISE, 64, Preprocessing(contrast="clahe", denoise="gaussian"))
    small = preprocess(NOISE, 64, PLAIN)
    blurred = preprocess(small, 64, Preprocessing(denoise="gaussian"))
    np.testing.assert_array_equal(all_at_once, preprocess(blurred, 64, Preprocessing(contrast="clahe")))
    other_way = preprocess(
        preprocess(small, 64, Preprocessing(contrast="clahe")), 64, Preprocessing(denoise="gaussian")
    )
    assert not np.array_equal(all_at_once, other_way)


def test_bars_stay_black_and_leave_the_image_alone() -> None:
    """Contrast and blur see the image without its bars; CLAHE would turn black bars gray."""
    done = Preprocessing(contrast="clahe", denoise="gaussian", resize="pad")
    square = preprocess(NOISE, 60, done)
    assert (square[:, :10] == 0).all()
    assert (square[:, 50:] == 0).all()
    scaled = np.asarray(Image.fromarray(NOISE).resize((40, 60), Image.Resampling.BILINEAR))
    padded_alone = preprocess(scaled, 60, dataclasses.replace(done, resize="pad"))
    np.testing.assert_array_equal(square, padded_alone)


@pytest.mark.parametrize("shape", [(8, 20_000), (20_000, 8), (8, 8), (9, 8), (300, 200)])
def test_every_legal_image_becomes_a_square(shape: tuple[int, int]) -> None:
    """The longest strip that is accepted and the smallest image come out whole under every setting."""
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    for preprocessing in ALL:
        square = preprocess(image, 33, preprocessing)
        assert (square.shape, square.dtype) == ((33, 33), np.uint8)


def test_all_settings_differ() -> None:
    """Twelve settings give twelve pictures: none of them is without effect."""
    assert len({preprocess(NOISE, 64, preprocessing).tobytes() for preprocessing in ALL}) == len(ALL) == 12


def test_threads_do_not_change_a_bit() -> None:
    """OpenCV may use as many threads as it likes: the pixels are the same."""
    import cv2

    image = np.random.default_rng(2).integers(0, 256, (1024, 1024), dtype=np.uint8)
    threads, outcomes = cv2.getNumThreads(), set()
    try:
        for number in (1, 2, 7):
            cv2.setNumThreads(number)
            outcomes |= {preprocess(image, 1024, Preprocessing("clahe", "gaussian")).tobytes() for _ in range(2)}
    finally:
        cv2.setNumThreads(threads)
    assert len(outcomes) == 1


def test_the_input_is_left_as_it_is() -> None:
    """An image that several settings are applied to is not changed by any of them."""
    before = NOISE.copy()
    for preprocessing in ALL:
        preprocess(NOISE, 64, preprocessing)
    np.testing.assert_array_equal(NOISE, before)


def test_settings_are_named_by_what_they_do() -> None:
    """In the order in which it is done; what is not done is not named."""
    assert (str(PLAIN), str(Preprocessing("clahe", "gaussian", "pad"))) == ("squash", "pad, gaussian, clahe")


@pytest.mark.parametrize("wrong", [{"contrast": "CLAHE"}, {"denoise": "median"}, {"resize": ""}])
def test_unknown_settings_are_refused(wrong: dict[str, str]) -> None:
    """A typo in a model's settings must not become a default."""
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}: expected one of"):
        Preprocessing(**wrong)


def test_opencv_is_needed_only_where_it_is_used() -> None:
    """Models that only resize work where OpenCV is not installed."""
    code = (
        "import sys; sys.modules['cv2'] = None\n"
        "import numpy as np\n"
        "from pneumo_core.images import decode_gray, read_images\n"
        "from pneumo_core.preprocessing import Preprocessing, preprocess\n"
        "for resize in ('squash', 'pad', 'crop'):\n"
        "    preprocess(np.zeros((9, 12), np.uint8), 8, Preprocessing(resize=resize))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert {setting.needs_opencv for setting in ALL if setting.resize == "pad"} == {True, False}
    assert not any(Preprocessing(resize=resize).needs_opencv for resize in RESIZINGS)
