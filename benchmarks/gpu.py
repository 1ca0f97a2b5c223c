"""What a GPU, half the precision and XLA bring: the frozen pass, a head, unfrozen layers, and whether digits stay.

Measures whatever computes on this machine: the GPU if TensorFlow sees one, else the processor, with fewer and smaller
cases. With a GPU the figures go into docs/gpu.md. Weights are random, images are noise, phantoms where files are read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from report import REPORT, table, write_section

from pneumo_core.activation_store import ActivationStore
from pneumo_core.backbone import Cut, build_prefixes, load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.dataset import index_dataset
from pneumo_core.images import read_images
from pneumo_core.phantom_set import write_phantoms
from pneumo_core.runtime import device_in_use, gpu_memory_bytes, start_tensorflow
from pneumo_core.splits import pool_of

PRECISIONS = ("float32", "mixed_bfloat16")
ROWS, BATCH = 3_654, 32


def median_s(work: Callable[[], object], rounds: int = 5) -> float:
    """Median time of some rounds after two that are not counted."""
    times = []
    for _ in range(rounds + 2):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[2:])


def noise(count: int, size: int) -> np.ndarray:
    """Images (count, size, size, 1) uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1), np.uint8)


def forward_of(size: int, precision: str, xla: bool, cut: Cut) -> Callable[[Any], Any]:
    """The frozen layers up to a cut as one compiled function."""
    import tensorflow as tf

    config = TrialConfig(weights="random", image_size=size, pixel_scaling="unit", precision=precision)
    prefix = build_prefixes(config, load_backbone_weights("random", 0), [cut])
    return tf.function(lambda pixels: tf.cast(prefix(pixels, training=False), tf.float32), jit_compile=xla)


def pass_rate(forward: Callable[[Any], Any], size: int, batch: int) -> float:
    """Images per second through frozen layers, from pixels in memory to activations in memory."""
    pixels = noise(batch, size)
    return batch / median_s(lambda: forward(pixels.astype(np.float32)).numpy())


def pass_table(sizes: Sequence[int], batches: Sequence[int], gpu: bool) -> str:
    """Rates of the pass by size, precision, XLA and batch."""
    import tensorflow as tf

    rows = []
    for size in sizes:
        for precision in ("float32 without TF32", *PRECISIONS) if gpu else PRECISIONS:
            tf.config.experimental.enable_tensor_float_32_execution("without" not in precision)
            for xla in (False, True):
                forward = forward_of(size, precision.split()[0], xla, Cut(5, True))
                rates = [f"{pass_rate(forward, size, batch):,.0f}" for batch in batches]
                rows.append([size, precision, "yes" if xla else "no", *rates])
                print(rows[-1], flush=True)
        tf.config.experimental.enable_tensor_float_32_execution(True)
    return table(["px", "precision", "XLA", *(f"{batch} at once" for batch in batches)], rows)


def epoch_s(config: TrialConfig, shape: tuple[int, ...], rows: int) -> float:
    """Seconds for an epoch of training on activations in memory."""
    from pneumo_core.program import ProgramShelf

    program = ProgramShelf().program(config, load_backbone_weights("random", 0), shape, np.float16)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(min(rows, 512), *shape)).astype(np.float16)
    labels, weights = np.arange(rows) % 2, np.ones(rows)
    at_once = BATCH * (4 if config.unfrozen_layers else -(-rows // BATCH))  # as `pneumo_core.training` does

    def epoch() -> None:
        for start in range(0, rows, at_once):
            stop = min(start + at_once, rows)
            keys = np.zeros((-(-(stop - start) // BATCH), program.dropout_layers, 2), np.int32)
            taken = inputs[np.arange(start, stop) % len(inputs)]
            program.run(taken, labels[start:stop], weights[start:stop], keys, BATCH)

    return median_s(epoch, 3)


def training_table(gpu: bool) -> str:
    """Images per second of heads and of unfrozen layers by precision."""
    cases = [(64, 0, "flatten"), (64, 3, "average"), (224, 0, "flatten"), (224, 3, "average"), (224, 6, "average")]
    rows, images = [], ROWS if gpu else 256
    for size, unfrozen, pooling in cases if gpu else cases[:2]:
        made = {"weights": "random", "image_size": size, "unfrozen_layers": unfrozen, "pooling": pooling}
        rates = []
        for precision in PRECISIONS[: 2 if unfrozen else 1]:
            config = TrialConfig(**made, feature_scaling="none", batch_size=BATCH, precision=precision)
            rates.append(f"{images / epoch_s(config, Cut.of(config).shape(size), images):,.0f}")
        rows.append([size, unfrozen, pooling, *rates, *["as float32"] * (2 - len(rates))])
        print(rows[-1], flush=True)
    return table(["px", "unfrozen", "pooling", *PRECISIONS], rows)


def difference_table(size: int) -> str:
    """How far activations lie from those that the processor computes in float32."""
    import tensorflow as tf

    pixels = noise(32, size).astype(np.float32)
    with tf.device("cpu:0"):
        reference = forward_of(size, "float32", False, Cut(5, True))(pixels).numpy().astype(np.float64)
    rows = []
    for precision, tf32 in (("float32", False), ("float32", True), ("mixed_bfloat16", True)):
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        outputs = [forward_of(size, precision, xla, Cut(5, True))(pixels).numpy() for xla in (False, True)]
        differences = [np.linalg.norm(one - reference) / np.linalg.norm(reference) for one in outputs]
        rows.append([precision, "yes" if tf32 else "no", *(f"{difference:.1e}" for difference in differences)])
    tf.config.experimental.enable_tensor_float_32_execution(True)
    return table(["precision", "TF32", "relative difference", "by XLA"], rows)


def trial_data(phantoms: Path, cache: Path, times: int = 1) -> Any:
    """Phantoms as trials see them, some times over, with an empty cache."""
    from tuning.trial_data import TrialData

    dataset = index_dataset(phantoms)
    pool = pool_of(dataset.manifest)
    return TrialData(dataset.root, pd.concat([pool] * times), dataset.class_names, ActivationStore(cache))


def digits(phantoms: Path, precision: str, size: int) -> list[Any]:
    """Scores of trials, everything anew: a head, unfrozen layers from the cache, and augmentation drawn live."""
    from tuning.trial import execute_trial

    base = TrialConfig(weights="random", image_size=64, pixel_scaling="unit", precision=precision, epochs=3)
    found: list[Any] = []
    with tempfile.TemporaryDirectory() as cache:
        data = trial_data(phantoms, Path(cache))
        for changed in ({"image_size": size}, {"unfrozen_layers": 3, "pooling": "average"}, {"augmentation": "mild"}):
            result = execute_trial(TrialConfig(**{**base.to_mapping(), **changed}), data)
            scores = result.scores["logit"].to_numpy().tobytes() + result.activations_digest.encode()
            found += [hashlib.sha256(scores).hexdigest()[:16], float(result.metrics["val_roc_auc"])]
    return found


def digits_table(phantoms: Path) -> str:
    """Three processes each, one after another."""
    rows = []
    for precision in PRECISIONS:
        command = [sys.executable, __file__, "--digits", precision, "--phantoms", str(phantoms)]
        outputs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)]
        found = [json.loads(output.splitlines()[-1]) for output in outputs]
        print(found, flush=True)
        same = [len(set(digests)) == 1 for digests in list(zip(*found, strict=True))[::2]]
        rows.append([precision, *("yes" if one else "NO" for one in same)])
        print(rows[-1], flush=True)
    return table(["precision", "head", "3 unfrozen", "augmented live"], rows)


def files_table(phantoms: Path, sizes: Sequence[int], images: int) -> str:
    """Reading files against the whole of a pass: read, through the frozen layers, onto the disk."""
    times = -(-images // len(trial_data(phantoms, Path()).pool))
    data = trial_data(phantoms, Path(), times)
    paths, rows = data.pool["path"].tolist(), []
    for size in sizes:
        begun = time.perf_counter()
        read_images(data.root, paths, size)
        read_s = time.perf_counter() - begun
        for precision in PRECISIONS:
            config = TrialConfig(weights="random", image_size=size, pooling="average", precision=precision)
            with tempfile.TemporaryDirectory() as cache:
                fresh, begun = trial_data(phantoms, Path(cache), times), time.perf_counter()
                fresh.activations(config)
                whole_s = time.perf_counter() - begun
            rows.append([size, precision, f"{len(paths) / read_s:,.0f}", f"{len(paths) / whole_s:,.0f}"])
            print(rows[-1], flush=True)
    return table(["px", "precision", "read, images/s", "whole pass, images/s"], rows)


def main(report: Path, phantoms: Path) -> None:
    """Measures everything and writes or prints it."""
    tf = start_tensorflow()
    memory = gpu_memory_bytes()
    gpu = memory is not None
    sizes, batches = ((64, 224), (16, 64, 512)) if gpu else ((64,), (64,))
    ended = time.perf_counter()
    parts = []
    for title, made in (
        ("The pass, images per second from memory to memory:", lambda: pass_table(sizes, batches, gpu)),
        (f"Training, images per second, batches of {BATCH}:", lambda: training_table(gpu)),
        ("Activations at 64 px against the processor's float32:", lambda: difference_table(64)),
        (
            f"From JPEG files (phantoms), {os.cpu_count()} processors:",
            lambda: files_table(phantoms, sizes, ROWS if gpu else 64),
        ),
        ("The same digits in three processes:", lambda: digits_table(phantoms)),
    ):
        try:
            parts.append(f"{title}\n\n{made()}")
        except Exception as error:  # what was measured before is not lost
            parts.append(f"{title}\n\n{type(error).__name__}: {str(error)[:300]}")
        print(f"{parts[-1]}\n({time.perf_counter() - ended:.0f} s)\n", flush=True)
    text = f"{device_in_use()}, {memory / 1e9:.0f} GB; " if gpu else f"{device_in_use()}; "
    text += f"TensorFlow {tf.__version__}; medians; written by `benchmarks/gpu.py`.\n\n" + "\n\n".join(parts)
    if gpu:
        write_section("Figures", text, report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=REPORT.parent / "gpu.md", help="where the figures go")
    parser.add_argument("--phantoms", type=Path, help="a set that is there already")
    parser.add_argument("--digits", choices=PRECISIONS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = chosen.phantoms or write_phantoms(Path(folder) / "phantoms", patients=100)
        if chosen.digits:
            start_tensorflow()
            print(json.dumps(digits(images, chosen.digits, 224 if gpu_memory_bytes() else 32)))
        else:
            main(chosen.report, images)
