"""MLflow runs: a parent run for the study, a child run for each trial, written by the study's process alone.

The only package, next to the model registry's modules, that knows MLflow. It writes what the study's journal says, with
the journal's times, so that writing something again changes nothing; `tuning.projection` decides when.
"""

from __future__ import annotations

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it when it is first imported
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # where documents for scripts go
# A repeated call may do twice what the first did before its answer was lost; the projection looks before it repeats.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from tuning.tracking.addresses import (
    absolute_uri,
    embedded_uri,
    reachable_uri,
    recorded_uri,
    redacted,
    tracking_address,
)
from tuning.tracking.embedded import prepare_embedded, prepared_uri
from tuning.tracking.outcomes import OutageError, RefusalError, translated
from tuning.tracking.reading import experiment_of, experiment_tag, fetch_run_file, set_experiment_tag
from tuning.tracking.tracker import Tracker

__all__ = [
    "OutageError",
    "RefusalError",
    "Tracker",
    "absolute_uri",
    "embedded_uri",
    "experiment_of",
    "experiment_tag",
    "fetch_run_file",
    "prepare_embedded",
    "prepared_uri",
    "reachable_uri",
    "recorded_uri",
    "redacted",
    "set_experiment_tag",
    "tracking_address",
    "translated",
]
