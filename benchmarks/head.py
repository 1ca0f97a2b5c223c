"""How close an epoch of head training comes to what its multiplications alone must take, and to Keras' own `fit`.

Random features of the size of 2 × 2 × 512 activations, batches of 32, Adam. `fit` runs in a process of its own, without
the deterministic operations that studies ask for.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from report import table, write_section

from pneumo_core.backbone import load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.feeds import StoredFeed
from pneumo_core.program import ProgramShelf
from pneumo_core.runtime import start_tensorflow, threads_in_use

ROWS, FEATURES, BATCH, ROUNDS = 3_654, 2_048, 32, 7


def median_s(work: Callable[[], object]) -> float:
    """Median time of some rounds after two that are not counted."""
    times = []
    for _ in range(ROUNDS + 2):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[2:])


def gflop_per_s(rows: int, inner: int, columns: int, times: int = 100) -> float:
    """Rate of matrix products of a shape, many in one call."""
    import tensorflow as tf

    left, right = (
        tf.random.stateless_uniform((rows, inner), [1, 2]),
        tf.random.stateless_uniform((inner, columns), [3, 4]),
    )

    @tf.function
    def products() -> tf.Tensor:
        total = tf.zeros((rows, columns))
        for _ in tf.range(times):
            total = tf.matmul(left + total[0, 0] * 0, right)
        return total

    return times * 2 * rows * inner * columns / median_s(lambda: products().numpy()) / 1e9


def keras_fit_s(units: int) -> float:
    """An epoch of Keras' `fit` of the same head, as Keras comes."""
    import keras

    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(ROWS, FEATURES)).astype(np.float32), (np.arange(ROWS) % 2).astype(np.float32)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    return median_s(lambda: model.fit(features, labels, batch_size=BATCH, verbose=0))


def measure(units: int, rates: tuple[float, float, float]) -> list[str]:
    """Returns a row of the table for a head of that many units."""
    peak, forward_rate, backward_rate = rates
    rng = np.random.default_rng(0)
    features = rng.normal(size=(ROWS, FEATURES)).astype(np.float16)
    labels, weights = np.arange(ROWS) % 2, np.ones(ROWS)
    config = TrialConfig(feature_scaling="none", head_units=units, dropout=0.5, batch_size=BATCH)
    backbone = load_backbone_weights("random", 0)
    program = ProgramShelf().program(config, backbone, (FEATURES,), features.dtype)
    feed, order = StoredFeed(features), rng.permutation(ROWS)
    keys = np.zeros((-(-ROWS // BATCH), 1, 2), np.int32)
    epoch_s = median_s(lambda: program.run(feed.read(order, 0), labels[order], weights[order], keys, BATCH))

    command = [sys.executable, __file__, "--fit", str(units)]
    fit_s = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    half = 2 * ROWS * FEATURES * units / 1e9  # GFLOP of either product: forward, and gradient of the weights
    least_s, shaped_s = 2 * half / peak, half / forward_rate + half / backward_rate
    return [
        str(units),
        f"{epoch_s:.3f}",
        f"{fit_s:.3f}",
        f"{fit_s / epoch_s:.1f}",
        f"{least_s:.3f}",
        f"{epoch_s / least_s:.1f}",
        f"{shaped_s:.3f}",
        f"{epoch_s / shaped_s:.1f}",
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        print(keras_fit_s(int(sys.argv[2])))
        sys.exit()
    start_tensorflow()
    measured = (gflop_per_s(1024, 1024, 1024), gflop_per_s(BATCH, FEATURES, 512), gflop_per_s(FEATURES, BATCH, 512))
    header = ["units", "here (s)", "Keras `fit` (s)", "ratio"]
    header += ["limit (s)", "of limit", "limit at these shapes (s)", "of it"]
    text = (
        f"One epoch of {ROWS:,} rows of {FEATURES:,} features, batches of {BATCH}, Adam, dropout; medians of {ROUNDS}; "
        f"{threads_in_use()} threads. The limit is the two matrix products of a step at the best rate of this machine, "
        f"{measured[0]:.0f} GFLOP/s (1024³); products of the shapes that occur reach {measured[1]:.0f} forward and "
        f"{measured[2]:.0f} backward. The update of the weights, bound by memory, is in neither limit."
    )
    write_section("Training a head", text + "\n\n" + table(header, [measure(units, measured) for units in (128, 512)]))
