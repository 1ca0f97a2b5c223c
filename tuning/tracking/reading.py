"""What commands read from the MLflow that a study was logged to, and the tags they leave there."""

from __future__ import annotations

from pathlib import Path

from tuning.record import StudyRecord, TrialRecord
from tuning.tracking.outcomes import translated


def experiment_of(record: StudyRecord, uri: str | None = None) -> str:
    """Returns the id of the MLflow experiment that holds a study's runs.

    Args:
        record: of the study.
        uri: of the MLflow that it was logged to, with its password; what the record says if None.

    Raises:
        TrackingError: if the study has no run, or its tracking store cannot be reached.
    """
    from mlflow import MlflowClient

    uri = uri or record.started.tracking_uri
    with translated(f"MLflow at {uri}"):
        return str(MlflowClient(uri).get_run(record.run_id or "").info.experiment_id)


def experiment_tag(uri: str, experiment: str, name: str) -> str | None:
    """Returns the value of an experiment's tag; None if it has no such tag.

    Raises:
        TrackingError: if MLflow cannot be reached.
    """
    from mlflow import MlflowClient

    with translated(f"MLflow at {uri}"):
        value = MlflowClient(uri).get_experiment(experiment).tags.get(name)
    return None if value is None else str(value)


def set_experiment_tag(uri: str, experiment: str, name: str, value: str) -> None:
    """Gives an experiment a tag.

    Raises:
        TrackingError: if MLflow does not take it.

    Side effects:
        Writes to MLflow.
    """
    from mlflow import MlflowClient

    with translated(f"MLflow at {uri}"):
        MlflowClient(uri).set_experiment_tag(experiment, name, value)


def fetch_run_file(record: StudyRecord, trial: TrialRecord, name: str, folder: Path) -> Path:
    """Downloads one artifact of a trial's run.

    Args:
        record: of the study.
        trial: whose file it is.
        name: path of the file among the run's artifacts.
        folder: where it shall be put.

    Raises:
        TrackingError: if MLflow does not have it or cannot be reached.

    Side effects:
        Writes the file.
    """
    from mlflow import MlflowClient

    uri = record.started.tracking_uri
    with translated(f"{name} of trial {trial.trial} in MLflow at {uri}"):
        return Path(MlflowClient(uri).download_artifacts(trial.run_id or "", name, str(folder)))
