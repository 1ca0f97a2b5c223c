"""Feeds give the inputs of each epoch, as a pure function of rows and epoch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pneumo_core import training as training_module
from pneumo_core.augmentation import DISTORTIONS
from pneumo_core.backbone import load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.feeds import BankFeed, LiveFeed, StoredFeed
from pneumo_core.program import ProgramShelf
from pneumo_core.training import Examples, Fold, Training, train


def test_a_bank_mixes_its_variants_anew_in_every_epoch() -> None:
    """Each image shows one of its own variants, all variants are used, and the draw follows epoch and seed."""
    variants = [np.arange(300, dtype=np.float32)[:, None] + 1000 * number for number in range(3)]
    feed, rows = BankFeed(variants, seed=0), np.random.default_rng(0).permutation(300)
    epochs = [feed.read(rows, epoch)[:, 0] for epoch in (0, 1, 0)]
    for values in epochs:
        np.testing.assert_array_equal(values % 1000, rows)
        assert set(values // 1000) == {0, 1, 2}
    np.testing.assert_array_equal(epochs[0], epochs[2])
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], BankFeed(variants, seed=1).read(rows, 0)[:, 0])
    np.testing.assert_array_equal(feed.read(rows[:10], 1)[:, 0], epochs[1][:10])


def test_a_bank_of_mixed_precision_loses_none() -> None:
    """If one variant had to be kept as float32, the feed is float32."""
    variants = [np.ones((4, 2), np.float16), np.full((4, 2), 70_000, np.float32)]
    feed = BankFeed(variants, seed=0)
    assert feed.dtype == np.float32
    assert set(np.unique([feed.read(np.arange(4), epoch) for epoch in range(9)])) == {1.0, 70_000.0}


def test_live_distortion_does_not_depend_on_what_else_is_read() -> None:
    """An image is distorted in the same way whether it is read alone or with others."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 1)).astype(np.uint8)
    feed = LiveFeed(pixels, np.arange(len(pixels)), DISTORTIONS["notebook"], lambda images: images, (32, 32, 1), 3, 4)
    whole = feed.read(np.arange(10), 2)
    np.testing.assert_array_equal(feed.read(np.array([7]), 2)[0], whole[7])
    assert not np.array_equal(feed.read(np.array([7]), 3)[0], whole[7])
    assert not np.array_equal(whole[7], pixels[7])


class _CountedRows:
    """Rows that remember how many were asked for at once."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.largest = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, selection: Any) -> np.ndarray:
        self.largest = max(self.largest, len(selection))
        return self.rows[selection]


def test_memory_is_bounded_by_a_block_and_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations larger than memory are read block by block, which changes nothing in what is learned."""
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(600, 64)).astype(np.float32), np.arange(600) % 2
    config = TrialConfig(feature_scaling="none", head_units=8, batch_size=16, epochs=2, dropout=0.4)
    weights, outcomes, largest = load_backbone_weights("random", 0), [], []
    for block_bytes in (10**9, 64 * 4 * 50):
        monkeypatch.setattr(training_module, "_BLOCK_BYTES", block_bytes)
        counted = _CountedRows(rows)
        examples = Examples(StoredFeed(counted), labels)
        outcome = train(
            Training(config, ProgramShelf().program(config, weights, (64,), "float32"), [Fold(examples, examples)])
        )
        outcomes.append([{**row, "duration_s": 0.0} for row in outcome.history])
        largest.append(counted.largest)
    assert largest == [600, 256]
    assert outcomes[0] == outcomes[1]


def test_warm_up_epochs_are_those_asked_for() -> None:
    """The backbone learns in the epochs after the warm-up, and in none of its own."""
    rng = np.random.default_rng(0)
    rows, labels = rng.gamma(1, 1, (16, 2, 2, 512)).astype(np.float32), np.arange(16) % 2
    weights = load_backbone_weights("random", 0)
    config = TrialConfig(
        weights="random", image_size=32, unfrozen_layers=1, pooling="average", head_units=4, epochs=2, batch_size=8,
        warmup_epochs=2, backbone_lr_fraction=1.0, patience=0,
    )  # fmt: skip
    moved = []
    for warmup in (2, 1):
        changed = dataclasses.replace(config, warmup_epochs=warmup)
        program = ProgramShelf().program(changed, weights, (2, 2, 512), "float32")
        examples = Examples(StoredFeed(rows), labels)
        kernels = []

        def watch(training: Training, kernels: list[Any] = kernels, program: Any = program) -> bool:
            kernel = program.trainee.get_layer("block5_conv3").kernel.numpy()
            kernels.append(not np.array_equal(kernel, weights.arrays["block5_conv3"][0]))
            return False

        train(Training(changed, program, [Fold(examples, examples)]), watch)
        moved.append(kernels)
    assert moved == [[False, False], [False, True]]
