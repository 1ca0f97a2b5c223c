"""Instant trials, for tests of everything around them: scores are a pure function of the configuration."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo_core.config import TrialConfig
from pneumo_core.errors import DivergedError
from pneumo_core.evaluation_report import evaluate
from tuning.attempt import AttemptLeftError, Job, Report
from tuning.checkpoints import Checkpoints
from tuning.executors import EpochReport, Finished, Left, Message, Raised
from tuning.trial import TrialResult

EPOCH_S = float(os.environ.get("STUB_EPOCH_S", "0.1"))


def stub_result(job: Job) -> TrialResult:
    """Returns what a trial of this configuration "comes to".

    Raises:
        DivergedError: for about one configuration in nine.
    """
    config = TrialConfig.from_mapping(job.config)
    rng = _rng(job.config)
    if rng.random() < 1 / 9:
        raise DivergedError("loss became nan in epoch 1; drawn at random")
    labels = np.arange(40) % 2
    scores = pd.DataFrame({"path": [f"{row}.png" for row in range(40)], "group": np.arange(40), "label": labels})
    quality = rng.uniform(0.2, 2.0) * (1 + config.epochs_to_run / config.epochs)
    scores["probability"] = 1 / (1 + np.exp(-rng.normal(size=40) - quality * (labels - 0.5)))
    losses = np.sort(rng.uniform(0.2, 0.7, config.epochs))[::-1][: config.epochs_to_run]
    history = tuple(_epoch_metrics(float(loss)) for loss in losses)
    return TrialResult(
        config=config,
        report=evaluate(scores, draws=20),
        scores=scores,
        history=history,
        best_epoch=len(history) - 1,
        weights={"head/kernel": rng.normal(size=4).astype(np.float32)},
        weights_digest="w",
        activations_digest="a",
        variant_digests=(),
        class_names=("NORMAL", "PNEUMONIA"),
    )


def _epoch_metrics(loss: float) -> dict[str, float]:
    names = ("loss", "val_loss", "accuracy", "val_accuracy", "val_roc_auc")
    values = (loss, loss, 1 - loss, 1 - loss, 1 - loss / 2)
    return dict(zip(names, values, strict=True)) | {"learning_rate": 1e-3, "duration_s": EPOCH_S}


def _rng(config: Mapping[str, Any]) -> np.random.Generator:
    """Rungs of one configuration draw the same, whatever their length."""
    settings = sorted((name, value) for name, value in config.items() if name != "stop_after")
    return np.random.default_rng(int.from_bytes(hashlib.sha256(repr(settings).encode()).digest()[:8], "big"))


def stub_attempt(
    job: Job,
    data: object,
    report: Report,
    stopping: Callable[[], bool] = lambda: False,
    saved: Callable[[Path], None] = lambda path: None,
) -> TrialResult:
    """In the place of `tuning.attempt.run_attempt`: no training, but checkpoints, and from where the last one ends."""
    result, checkpoints = stub_result(job), Checkpoints(job.checkpoints)
    newest = checkpoints.newest(job.trial, job.attempt) or checkpoints.newest(job.parent, None)
    begin = 0 if newest is None else int(np.load(newest)["epochs"])
    for epoch in range(begin, len(result.history)):
        time.sleep(EPOCH_S)
        report(epoch, result.history[epoch] | {"made_after": begin})
        checkpoints.folder.mkdir(exist_ok=True)
        np.savez(checkpoints.path(job.trial, job.attempt), epochs=epoch + 1)
        saved(checkpoints.path(job.trial, job.attempt))
        if stopping() and epoch + 1 < len(result.history):
            raise AttemptLeftError
    return result


class StubExecutor:
    """In the place of `tuning.executors.InlineExecutor`: the same interface, no training.

    Args:
        data: not used.
        stopping: asked after every epoch whether to leave.
    """

    def __init__(self, data: object, stopping: Callable[[], bool] = lambda: False) -> None:
        self._stopping, self._job = stopping, list[Job]()

    @property
    def room(self) -> int:
        """One attempt at a time."""
        return 1 - len(self._job)

    @property
    def width(self) -> int:
        """One attempt at a time."""
        return 1

    def submit(self, job: Job) -> None:
        """Takes on an attempt."""
        self._job.append(job)

    def wait(self, hear: Callable[[Message], None], timeout_s: float) -> None:
        """Sleeps through the epochs of the attempt."""
        if not self._job:
            return
        job = self._job.pop()
        try:
            result = stub_result(job)
        except DivergedError as error:
            hear(Raised(job.trial, job.attempt, error))
            return
        for epoch, metrics in enumerate(result.history):
            time.sleep(EPOCH_S)
            hear(EpochReport(job.trial, job.attempt, epoch, metrics))
            if self._stopping():
                hear(Left(job.trial, job.attempt))
                return
        hear(Finished(job.trial, job.attempt, result))

    def leave(self) -> None:
        """Asked through `stopping` already."""

    def close(self) -> None:
        """Nothing goes on between two calls."""
