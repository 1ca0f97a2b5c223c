"""This program against the stock recipe under keras-tuner and MLflow: the same configurations, epochs, batches, images.

    python benchmarks/frozen_layers.py [--data DIR] [--space NAME ...] [--peer-trials N] [--full]

Both are started as processes of their own, one after the other, and timed from outside: imports, reading, compilation
and the pass through the frozen layers are counted. The peer runs `--peer-trials` of the configurations (all of them
with `--full`) and is scaled to the same number. The result goes to docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from report import table, write_section

from pneumo_core.activation_store import ActivationStore
from pneumo_core.config import TrialConfig
from pneumo_core.dataset import Dataset, index_dataset
from pneumo_core.images import read_gray
from pneumo_core.phantom_set import write_phantoms
from pneumo_core.runtime import start_tensorflow
from pneumo_core.splits import Split, divide
from tuning.rehearsal import foreseen
from tuning.spaces import open_space

HERE = Path(__file__).parent
VGG16_GMAC_224PX = 15.35  # a forward pass of one image, convolutions only; goes with the image's area
BLOCK5_CONVOLUTION_GMAC_224PX = 1.39 / 3


def run_process(command: Sequence[str | Path]) -> tuple[float, float]:
    """Runs a command to its end; returns its wall time in seconds and its peak memory in MB, children included."""
    begun, peak_bytes = time.perf_counter(), 0
    process = psutil.Popen([str(word) for word in command], stdout=sys.stderr)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            peak_bytes = max(peak_bytes, sum(member.memory_info().rss for member in family))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.perf_counter() - begun, peak_bytes / 1024**2


def write_split(split: Split, root: Path, size_px: int, folder: Path) -> None:
    """Lays out training and validation images as `image_dataset_from_directory` wants them, resized as we resize.

    TensorFlow resizes without antialiasing; with the same pixels, differences in AUC are those of the training alone.
    """
    for role, rows in (("training", split.training(0)), ("validation", split.validation(0))):
        for label in (0, 1):
            (folder / role / str(label)).mkdir(parents=True)
        for number, row in enumerate(split.pool.iloc[rows].itertuples()):
            pixels = read_gray(root / row.path, size_px)
            Image.fromarray(pixels).save(folder / role / str(row.label) / f"{number:05d}.png")


def scores_of_seeds(configs: Sequence[dict[str, Any]], dataset: Dataset, split: Split, cache: Path) -> list[str]:
    """Range of ROC AUC that each configuration reaches here with five seeds."""
    start_tensorflow()
    from tuning.trial import execute_trial
    from tuning.trial_data import TrialData

    data = TrialData(dataset.root, split.pool, dataset.class_names, ActivationStore(cache))
    ranges = []
    for config in configs:
        trials = [execute_trial(TrialConfig(**{**config, "seed": seed}), data) for seed in range(5)]
        scores = [trial.metrics["val_roc_auc"] for trial in trials]
        ranges.append(f"{min(scores):.4f} to {max(scores):.4f}")
    return ranges


def ours(space: Path, data: Path, store: Path, study: str) -> dict[str, Any]:
    """Runs a study as a user would and reads from its journal what the trials' time went to."""
    wall_s, peak_mb = run_process(
        [
            Path(sys.executable).parent / "tune",
            "run",
            "--space",
            space,
            "--data",
            data,
            "--store",
            store,
            "--study",
            study,
            "--folds",
            "1",  # as the peer has it
        ]
    )
    lines = [json.loads(line) for line in (store / "studies" / study / "journal.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["event"] != "run_linked"]
    trials: dict[str, dict[str, Any]] = {}
    for line, following in itertools.pairwise(lines):
        trial = trials.setdefault(line.get("trial", ""), {"epochs": 0.0})
        if line["event"] == "trial_started":
            trial |= {"config": line["config"], "started": line["at"]}
        elif line["event"] == "epoch_ended":
            trial["epochs"] += line["metrics"]["duration_s"]
            trial["trained"] = line["at"]
        elif line["event"] == "trial_completed":
            waits = following["event"] == "trial_started"  # after the last trial nobody does
            trial |= {"val_roc_auc": line["metrics"]["val_roc_auc"], "next": (following if waits else line)["at"]}
    del trials[""]
    for trial in trials.values():
        trial["training_s"] = trial["epochs"]
        trial["preparation_s"] = trial["trained"] - trial["started"] - trial["epochs"]
        trial["bookkeeping_s"] = trial["next"] - trial["trained"]
    return {"wall_s": wall_s, "peak_mb": peak_mb, "trials": list(trials.values())}


def peer(configs: list[dict[str, Any]], folder: Path, scratch: Path) -> dict[str, Any]:
    """Runs some configurations under plain keras-tuner and MLflow."""
    scratch.mkdir()
    (scratch / "configs.json").write_text(json.dumps(configs))
    wall_s, peak_mb = run_process(
        [sys.executable, HERE / "peer.py", folder, scratch / "configs.json", scratch / "t.json"]
    )
    trials = json.loads((scratch / "t.json").read_text())
    size = sum(path.stat().st_size for name in ("artifacts", "tuner") for path in (scratch / name).rglob("*"))
    return {"wall_s": wall_s, "peak_mb": peak_mb, "trials": trials, "disk_mb": size / 1e6 / len(trials)}


def disk_per_trial_mb(store: Path, trials: int) -> tuple[float, float]:
    """Returns what a trial takes on disk after the study, and how much of it are trained weights; without the cache."""
    files = [path for name in ("artifacts", "studies") for path in (store / name).rglob("*") if path.is_file()]
    weights = [path for path in files if path.name == "trained_weights.npz"]
    whole = sum(path.stat().st_size for path in [*files, store / "mlflow.db"])
    return whole / 1e6 / trials, sum(path.stat().st_size for path in weights) / 1e6 / trials


def unavoidable_gflop(configs: Sequence[dict[str, Any]], images: tuple[int, int]) -> float:
    """The multiplications and additions of one pass, of training what is trained, and of scoring it."""
    training, validation = images
    area = (configs[0]["image_size"] / 224) ** 2
    below = 0 if any(config["unfrozen_layers"] == 0 for config in configs) else 3 * BLOCK5_CONVOLUTION_GMAC_224PX
    total = sum(images) * (VGG16_GMAC_224PX - below) * area
    for config in configs:
        inputs = 512 * (1 if config["pooling"] == "average" else (config["image_size"] // 32) ** 2)
        head = inputs * config["head_units"] / 1e9
        convolution, k = BLOCK5_CONVOLUTION_GMAC_224PX * area, config["unfrozen_layers"]
        forward = head + (3 * convolution if k else 0)
        backward = head * (2 if k else 1) + convolution * (2 * k - 1 if k else 0)
        total += config["epochs"] * (training * (forward + backward) + validation * forward)
    return 2 * total


def measured_gflop_per_s() -> float:
    """The best this machine multiplies matrices of 1024 × 1024 at, in float32."""
    code = (
        "import tensorflow as tf, time\n"
        "a = tf.ones((1024, 1024))\n"
        "times = []\n"
        "for _ in range(60):\n"
        "    begun = time.perf_counter(); tf.matmul(a, a).numpy(); times.append(time.perf_counter() - begun)\n"
        "print(2 * 1024**3 / min(times) / 1e9)\n"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def spread(configs: Sequence[dict[str, Any]], count: int, by: str) -> list[int]:
    """Chooses configurations for the peer: as many different values of `by` as possible, then in order."""
    first = {config[by]: index for index, config in reversed(list(enumerate(configs)))}
    chosen = sorted(first.values())[:count]
    rest = [index for index in range(len(configs)) if index not in chosen]
    return sorted(chosen + rest[: count - len(chosen)])


def seconds(values: Sequence[float]) -> str:
    """Median and range of some times."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def compare(space_file: Path, data: Path, peer_trials: int, scratch: Path) -> None:
    """Runs both on a space and writes the section of docs/performance.md."""
    space = open_space(str(space_file))
    dataset = index_dataset(data)
    split = divide(dataset.manifest)
    images = (len(split.training(0)), len(split.validation(0)))
    configs = [config.to_mapping() for config in foreseen(space, space.trials)]
    by = "unfrozen_layers" if space.name == "unfrozen" else "pooling"
    chosen = spread(configs, min(peer_trials, len(configs)), by)

    gflop_per_s = measured_gflop_per_s()
    store = scratch / "store"
    first, second = (ours(space_file, data, store, study) for study in ("first", "second"))
    disk_mb, weights_mb = disk_per_trial_mb(store, 2 * len(configs))
    frozen = space.name == "frozen"  # unfrozen trials take too long for more seeds than one
    seeds = scores_of_seeds([configs[index] for index in chosen], dataset, split, store / "cache") if frozen else None
    write_split(split, dataset.root, configs[0]["image_size"], scratch / "images")
    theirs = peer([configs[index] for index in chosen], scratch / "images", scratch / "peer")

    trial_s = [trial["training_s"] + trial["bookkeeping_s"] for trial in theirs["trials"]]
    start_s = theirs["wall_s"] - sum(trial_s) - sum(trial["scoring_s"] for trial in theirs["trials"])
    peer_s = start_s + statistics.mean(trial_s) * len(configs)
    least_s = unavoidable_gflop(configs, images) / gflop_per_s
    scaled = (
        f"scaled from {len(chosen)} trial{'s' * (len(chosen) > 1)}" if len(chosen) < len(configs) else "all trials run"
    )
    rows = [
        [f"stock recipe ({scaled})", f"{peer_s:,.0f}", "1", f"{theirs['peak_mb']:,.0f}", f"{theirs['disk_mb']:.1f}"],
        *(
            [
                f"`tune run`, {name} study",
                f"{run['wall_s']:.1f}",
                f"**{peer_s / run['wall_s']:.0f}**"
                if peer_s / run["wall_s"] > 20
                else f"**{peer_s / run['wall_s']:.1f}**",
                f"{run['peak_mb']:,.0f}",
                f"{disk_mb:.1f} ({weights_mb:.1f} of it weights)",
            ]
            for name, run in (("first", first), ("second", second))
        ),
        [f"arithmetic limit at {gflop_per_s:.0f} GFLOP/s", f"{least_s:.1f}", f"{peer_s / least_s:.0f}", "", ""],
    ]
    parts = [
        [
            "stock recipe",
            "in training",
            seconds([t["training_s"] for t in theirs["trials"]]),
            seconds([t["bookkeeping_s"] for t in theirs["trials"]]),
        ],
        *(
            [
                f"`tune run`, {name} study",
                f"{run['trials'][0]['preparation_s']:.1f} in the first trial, then at most "
                f"{max(t['preparation_s'] for t in run['trials'][1:]):.2f}",
                seconds([t["training_s"] for t in run["trials"]]),
                seconds([t["bookkeeping_s"] for t in run["trials"]]),
            ]
            for name, run in (("first", first), ("second", second))
        ),
    ]
    agreement = [
        [
            f"t{index + 1:04d}",
            ", ".join(f"{p.name} {configs[index][p.name]:.3g}" if isinstance(configs[index][p.name], float)
                      else f"{p.name} {configs[index][p.name]}" for p in space.parameters),
            f"{theirs['trials'][place]['training_s'] + theirs['trials'][place]['bookkeeping_s']:.0f}",
            f"{second['trials'][index]['training_s'] + second['trials'][index]['bookkeeping_s']:.1f}",
            f"{theirs['trials'][place]['val_roc_auc']:.4f}",
            f"{first['trials'][index]['val_roc_auc']:.4f}" + (f" ({seeds[place]})" if seeds else ""),
        ]
        for place, index in enumerate(chosen)
    ]  # fmt: skip
    body = [
        f"`benchmarks/{space_file.name}`: {len(configs)} trials × {configs[0]['epochs']} epochs at "
        f"{configs[0]['image_size']} px, batches of {configs[0]['batch_size']}, on {images[0]:,} training and "
        f"{images[1]:,} validation images of `{dataset.root.name}`; {os.cpu_count()} processors, no GPU. Wall time and "
        "memory of whole processes, workers included. The stock recipe is `benchmarks/peer.py`.",
        table(["", "wall (s)", "times faster", "peak memory (MB)", "disk a trial (MB)"], rows),
        "Where a trial's time goes, in seconds, median (range). Bookkeeping is what the next trial waits for; plots "
        "and MLflow run beside the training.",
        table(["", "pass and preparation", "training", "bookkeeping"], parts),
        "The configurations that the peer ran: seconds a trial, and ROC AUC on the same validation images, of the same "
        "pixels. They differ by their random draws" + (" (in brackets: over five seeds)." if seeds else "."),
        table(["trial", "configuration", "peer (s)", "here (s)", "AUC peer", "AUC here"], agreement),
    ]
    write_section(f"Against the stock recipe: {space.name} layers", "\n\n".join(body))


def main() -> None:
    """Reads the command line and compares on each space."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of images; synthetic ones if left out")
    parser.add_argument("--space", nargs="*", default=["frozen", "unfrozen"], help="frozen, unfrozen")
    parser.add_argument("--peer-trials", type=int, default=3, help="configurations that the peer runs")
    parser.add_argument("--full", action="store_true", help="let the peer run all configurations")
    asked = parser.parse_args()
    for name in asked.space:
        scratch = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            data = asked.data or write_phantoms(scratch / "data")
            compare(HERE / f"{name}.yaml", data, sys.maxsize if asked.full else asked.peer_trials, scratch)
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
