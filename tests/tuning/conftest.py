"""Small real studies, shared by the tests of this folder."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import made_once
import pytest

from pneumo_core.phantom_set import write_phantoms
from tuning.api import run_study
from tuning.record import StudyRecord
from tuning.store import Store

TINY_SPACE = """\
name: tiny
trials: 4
epochs: 2
confirm: {top: 0}
fixed: {weights: random, image_size: 32, pixel_scaling: unit, pooling: average, batch_size: 16}
parameters:
  head_units: {type: choice, values: [4, 8, 16], ordered: true}
  dropout: {type: float, min: 0.0, max: 0.5, step: 0.25}
  unfrozen_layers: {type: choice, values: [0, 1], ordered: true}
  backbone_lr_fraction: {type: float, min: 0.01, max: 0.1, log: true, when: {unfrozen_layers: [1]}}
  learning_rate: {type: float, min: 1.0e-3, max: 1.0e-2, log: true}
start_with:
  - {head_units: 8, dropout: 0.0, unfrozen_layers: 0, learning_rate: 2.0e-3}
"""


@pytest.fixture(scope="session")
def tiny_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space whose trials take about a second."""
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


@pytest.fixture(scope="session")
def wild_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space of one trial whose weight decay multiplies weights by -99 in each step: it diverges."""
    path = tmp_path_factory.mktemp("space") / "wild.yaml"
    path.write_text(
        "name: wild\ntrials: 1\nepochs: 9\nconfirm: {top: 0}\n"
        "fixed: {weights: random, image_size: 32, pooling: average, batch_size: 4, "
        "optimizer: sgd, feature_scaling: none, learning_rate: 1.0, weight_decay: 100.0, patience: 0}\n"
    )
    return path


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """About forty small synthetic radiographs in the Kaggle layout."""
    with made_once.audits():
        yield write_phantoms(tmp_path_factory.mktemp("data"), patients=24, size_px=(48, 96))


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_space: Path, phantoms: Path
) -> tuple[Store, StudyRecord, dict[str, object]]:
    """A finished study of four trials: its store, its record and its summary. Not to be changed."""
    root = tmp_path_factory.mktemp("store with spaces")
    result = run_study(str(tiny_space), phantoms, study="first", store=root, workers=0, progress=False)
    return Store.at(root), result.record, result.summary()


@pytest.fixture(scope="session")
def with_model(tmp_path_factory: pytest.TempPathFactory, tiny_space: Path) -> Store:
    """A store that holds its own images, a study of one trial, and a model of it with the champion's alias.

    Not to be changed; copy it with `copied`.
    """
    import keras

    from pneumo_core.classifier import ClassifierSettings
    from tuning.models.model_folder import write_model_folder
    from tuning.models.registry import Change, Registry

    root = tmp_path_factory.mktemp("models") / "a store"
    images = write_phantoms(root / "data" / "demo-0", patients=16, size_px=(40, 64))
    plain = {"workers": 0, "progress": False, "plots": False}
    result = run_study(str(tiny_space), images, study="own", store=root, trials=1, **plain)  # type: ignore[arg-type]
    pixels = keras.Input((32, 32, 1), name="pixels")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    network = keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(flat))
    folder = tmp_path_factory.mktemp("network") / "model"
    write_model_folder(folder, network, ClassifierSettings(32, ("NORMAL", "PNEUMONIA"), 0.5))
    run_id = result.record.trials["t0001"].run_id or ""
    Registry(Store.at(root)).register(
        folder, "tiny", "champion", run_id=run_id, metrics={}, tags={"pneumo.study": "own"}, change=Change("a test")
    )
    return Store.at(root)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A `tune ui` that runs, over the finished study.

    Attributes:
        store: that it shows.
        record: of the study.
        base, comparison, page: the addresses that it printed.
    """

    store: Store
    record: StudyRecord
    base: str
    comparison: str
    page: str


@pytest.fixture(scope="session")
def shown(finished: tuple[Store, StudyRecord, dict[str, object]]) -> Iterator[Shown]:
    """The finished study in MLflow, started for real; in the end Ctrl-C ends it, and nothing stays behind."""
    store, record, _ = finished
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    tune = subprocess.Popen(
        [sys.executable, "-c", "from tuning.cli import main; main()", "ui", "first", "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TUNE_STORE": str(store.root)},
        # A test run in the background ignores Ctrl-C, and would hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert tune.stdout is not None
        links = [re.findall(r"http://\S+", tune.stdout.readline())[0] for _ in range(3)]
        yield Shown(store, record, *links)
    finally:
        tune.send_signal(signal.SIGINT)
        code = tune.wait(timeout=30)
    assert code == 0
    assert not (store.root / "ui.json").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
