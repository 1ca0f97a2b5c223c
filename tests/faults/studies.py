"""What the tests and the soak ask of a study that was disturbed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import psutil
from mlflow import MlflowClient

from tuning.events import EpochEnded, TrialCompleted, TrialFailed
from tuning.journal import read_entries, read_journal
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.standings import leaderboard_rows
from tuning.store import Store
from tuning.tracking import recorded_uri

SPACE = """\
name: fragile
trials: 5
epochs: 8
confirm: {top: 1, seeds: 1, folds: 2}
fixed: {weights: random, image_size: 32, pixel_scaling: unit, pooling: average, batch_size: 4, patience: 0}
parameters:
  head_units: {type: choice, values: [16, 32, 64], ordered: true}
  dropout: {type: float, min: 0.0, max: 0.5, step: 0.25}
  unfrozen_layers: {type: choice, values: [0, 1], ordered: true}
  learning_rate: {type: float, min: 1.0e-3, max: 1.0e-2, log: true}
start_with:
  - {head_units: 64, dropout: 0.25, unfrozen_layers: 1, learning_rate: 2.0e-3}
"""
"""Of trials that take some seconds."""


def plain(record: StudyRecord) -> list[dict[str, Any]]:
    """The leaderboard without what no two studies share: run ids and durations."""
    return [
        {name: value for name, value in row.items() if name not in ("run_id", "duration_s")}
        for row in leaderboard_rows(record)
    ]


def worker_pids(pid: int | None = None) -> list[int]:
    """The worker processes of a process; of this one if None."""
    children = psutil.Process(pid).children(recursive=True)
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


def ends(store: Store, study: str) -> Counter[str]:
    """How often each trial came to an end in the journal."""
    events = read_journal(store.study(study).journal)
    return Counter(event.trial for event in events if isinstance(event, TrialCompleted | TrialFailed))


def run_statuses(store: Store, study: str) -> dict[str, list[str]]:
    """The statuses of all MLflow runs of a study, by trial; those of the study itself under the empty name."""
    record, statuses = load_record(store, study), dict[str, list[str]]()
    started, client = record.started, MlflowClient(recorded_uri(record))
    experiment = client.get_experiment_by_name(started.space)
    query = f"tags.`pneumo.study_id` = '{started.study_id}'"
    for run in client.search_runs([experiment.experiment_id], query, max_results=5000):
        statuses.setdefault(run.data.tags.get("pneumo.trial", ""), []).append(run.info.status)
    return statuses


def metrics_differ(store: Store, study: str) -> int:
    """How many trials have, in MLflow, other losses than in the journal: in order, with the journal's times, once."""
    record = load_record(store, study)
    client = MlflowClient(recorded_uri(record))
    expected: dict[str, list[tuple[int, float, int]]] = {trial: [] for trial in record.trials}
    for entry in read_entries(store.study(study).journal):
        if isinstance(entry.event, EpochEnded):
            point = (entry.event.epoch + 1, entry.event.metrics["val_loss"], round(entry.at * 1000))
            expected[entry.event.trial].append(point)
    return sum(_losses(client, record.trials[trial].run_id or "") != points for trial, points in expected.items())


def _losses(client: MlflowClient, run_id: str) -> list[tuple[int, float, int]]:
    history = client.get_metric_history(run_id, "epoch/val_loss")
    return [(metric.step, metric.value, metric.timestamp) for metric in history]
