"""One compiled program serves every trial of its shapes, and computes what Keras computes."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pneumo_core.backbone import load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.model import build_trainee, trained_weights
from pneumo_core.optimizers import FusedOptimizer
from pneumo_core.program import ProgramShelf, TrainingProgram

RANDOM = load_backbone_weights("random", 0)
BASE = TrialConfig(
    weights="random", image_size=32, feature_scaling="none", head_units=8, batch_size=8, dropout=0.0, learning_rate=3e-3
)
INPUTS = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
LABELS = np.arange(40) % 2


def _run(program: TrainingProgram, config: TrialConfig, inputs: np.ndarray = INPUTS, **options: Any) -> float:
    steps = -(-len(inputs) // config.batch_size)
    keys = np.arange(steps * program.dropout_layers * 2, dtype=np.int32).reshape(steps, program.dropout_layers, 2)
    loss, _ = program.run(inputs, LABELS[: len(inputs)], np.ones(len(inputs)), keys, config.batch_size, **options)
    return loss


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_fused_updates_are_those_of_keras(name: str, weight_decay: float) -> None:
    """Ten steps with a changing learning rate end where the optimizers of Keras end; biases never decay."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(6, 5)).astype(np.float32), rng.normal(size=(10, 6, 5)).astype(np.float32)
    options: dict[str, Any] = {"weight_decay": weight_decay or None}
    theirs = {
        "adam": lambda: keras.optimizers.Adam(1e-2, **options),
        "rmsprop": lambda: keras.optimizers.RMSprop(1e-2, **options),
        "sgd": lambda: keras.optimizers.SGD(1e-2, momentum=0.9, **options),
    }[name]()
    theirs.exclude_from_weight_decay(var_names=["bias"])
    expected, actual = ([keras.Variable(start, name=kind) for kind in ("kernel", "bias")] for _ in range(2))
    theirs.build(expected)
    ours = FusedOptimizer(name, actual, decays=weight_decay > 0)
    for step, gradient in enumerate(gradients):
        rate = 1e-2 / (1 + step)
        theirs.learning_rate.assign(rate)
        theirs.apply([tf.constant(gradient)] * 2, expected)
        ours.apply([tf.constant(gradient)] * 2, tf.constant(rate, tf.float32), tf.constant(weight_decay, tf.float32))
    for wanted, got in zip(expected, actual, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=2e-5, atol=1e-6)


def test_a_block_of_steps_is_what_keras_trains_step_by_step() -> None:
    """Batches in order, a smaller last one, loss and weights: as `train_on_batch` of the same model."""
    config = dataclasses.replace(BASE, batch_size=16)
    program = ProgramShelf().program(config, RANDOM, (64,), "float32")
    reference = build_trainee(config, RANDOM, (64,))
    reference.compile(keras.optimizers.Adam(config.learning_rate), keras.losses.BinaryCrossentropy(from_logits=True))
    losses = []
    for start in range(0, 40, 16):
        rows = slice(start, start + 16)
        before = len(LABELS[rows]) * float(
            keras.losses.BinaryCrossentropy(from_logits=True)(LABELS[rows, None], reference(INPUTS[rows]))
        )
        losses.append(before)
        reference.train_on_batch(INPUTS[rows], LABELS[rows, None].astype(np.float32))
    assert _run(program, config) == pytest.approx(sum(losses), rel=1e-5)
    for path, array in trained_weights(reference).items():
        np.testing.assert_allclose(trained_weights(program.trainee)[path], array, atol=1e-5)


OTHERS: dict[str, Any] = {
    "learning_rate": 1e-2, "dropout": 0.4, "second_dropout": 0.2, "label_smoothing": 0.1, "class_weighting": "sqrt",
    "batch_size": 5, "seed": 7, "epochs": 3, "patience": 1, "learning_rate_schedule": "cosine", "warmup_epochs": 1,
    "backbone_lr_fraction": 0.5, "augmentation": "mild", "augmentation_variants": 2,
}  # fmt: skip
SHAPING: dict[str, Any] = {
    "pooling": "average", "feature_scaling": "standardize", "head_units": 9, "second_head_units": 3,
    "batch_normalization": True, "optimizer": "sgd", "weight_decay": 1e-3,
}  # fmt: skip


def test_trials_of_the_same_shapes_share_a_program_and_leave_no_trace_in_it() -> None:
    """After any other trial the program starts as if it were new: the same loss, the same weights, to the last bit."""
    config = dataclasses.replace(BASE, dropout=0.3, batch_normalization=True, second_head_units=4, weight_decay=1e-3)
    shelf = ProgramShelf()
    fresh = shelf.program(config, RANDOM, (64,), "float32")
    first = _run(fresh, config), trained_weights(fresh.trainee)
    other = dataclasses.replace(config, **OTHERS)
    assert shelf.program(other, RANDOM, (64,), "float32") is fresh
    _run(fresh, other)
    assert shelf.program(config, RANDOM, (64,), "float32") is fresh
    assert _run(fresh, config) == first[0]
    for path, array in trained_weights(fresh.trainee).items():
        np.testing.assert_array_equal(array, first[1][path])


def test_a_used_program_traces_nothing_again() -> None:
    """Other rates, block lengths and batch sizes run the same graph."""
    program = ProgramShelf().program(BASE, RANDOM, (64,), "float32")
    for config, rows in ((BASE, 40), (dataclasses.replace(BASE, batch_size=3), 7), (BASE, 16)):
        _run(program, config, INPUTS[:rows])
        program.predict(INPUTS[:rows])
    assert program._steps.experimental_get_tracing_count() == 1
    assert program._logits.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", SHAPING)
def test_what_shapes_the_graph_gets_a_program_of_its_own(name: str) -> None:
    """Nothing that is a constant of the graph can come from another trial."""
    shelf = ProgramShelf()
    programs = [
        shelf.program(config, RANDOM, (64,), "float32")
        for config in (BASE, dataclasses.replace(BASE, **{name: SHAPING[name]}))
    ]
    assert programs[0] is not programs[1]


def test_the_shelf_gives_up_what_was_not_used_for_longest() -> None:
    """Memory is bounded; the program in use always stays."""
    configs = [dataclasses.replace(BASE, optimizer=name) for name in ("adam", "rmsprop", "sgd")]
    sizes = [ProgramShelf().program(config, RANDOM, (64,), "float32").bytes for config in configs]
    assert sizes[0] == sizes[1] == pytest.approx(4 * 3 * (64 * 8 + 8 + 8 + 1), rel=0.01)
    shelf = ProgramShelf(limit_bytes=sum(sizes[:2]))
    first, _, last = (shelf.program(config, RANDOM, (64,), "float32") for config in configs)
    assert len(shelf) == 2
    assert shelf.program(configs[2], RANDOM, (64,), "float32") is last
    assert shelf.program(configs[0], RANDOM, (64,), "float32") is not first
    huge = ProgramShelf(limit_bytes=0)
    huge.program(BASE, RANDOM, (64,), "float32")
    assert len(huge) == 1


def test_warm_up_trains_the_head_alone() -> None:
    """Unfrozen convolutions stay where they are until the warm-up is over, and move then."""
    config = dataclasses.replace(BASE, unfrozen_layers=1, pooling="average", optimizer="sgd", backbone_lr_fraction=0.5)
    program = ProgramShelf().program(config, RANDOM, (2, 2, 512), "float32")
    inputs = np.random.default_rng(1).gamma(1, 1, (40, 2, 2, 512)).astype(np.float32)
    kernel, head = program.trainee.get_layer("block5_conv3").kernel, program.trainee.get_layer("head").kernel
    before = head.numpy().copy()
    _run(program, config, inputs, frozen_backbone=True)
    np.testing.assert_array_equal(kernel.numpy(), RANDOM.arrays["block5_conv3"][0])
    assert not np.array_equal(head.numpy(), before)
    _run(program, config, inputs)
    assert not np.array_equal(kernel.numpy(), RANDOM.arrays["block5_conv3"][0])


def test_half_precision_inputs_are_computed_in_single_precision() -> None:
    """float16 activations give what their float32 values give."""
    halves = INPUTS.astype(np.float16)
    losses = []
    for inputs in (halves, halves.astype(np.float32)):
        program = ProgramShelf().program(BASE, RANDOM, (64,), inputs.dtype)
        losses.append(_run(program, BASE, inputs))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
