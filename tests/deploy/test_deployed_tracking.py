"""Studies on `mlflow server` with PostgreSQL, started as docs/deploy says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from deployment import Deployment
from mlflow import MlflowClient
from running_study import RunningStudy, tune
from studies import ends, metrics_differ, plain, run_statuses

from pneumo_core.config import FIELD_NAMES
from tuning.api import run_study
from tuning.ranking import load_record
from tuning.store import Store
from tuning.trial_files import SCORES_FILE


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_outlives_its_database_and_its_server(
    deployment: Deployment, space: Path, images: Path, tmp_path: Path
) -> None:
    """Both are killed in mid-study: nothing is lost, nothing twice; other commands find the study there."""
    postgres = deployment.postgres()
    mlflow = deployment.mlflow(postgres.uri)
    store = Store.at(tmp_path / "store")
    study = RunningStudy(
        store, "run", "--space", str(space), "--data", str(images), "--tracking-uri", mlflow.uri, "--no-plots"
    )
    study.launch()
    try:
        study.wait_for(epochs=4)
        postgres.kill()
        study.wait_for(completed=2)
        time.sleep(5)
        postgres.start()
        study.wait_for(completed=5)
        mlflow.kill()
        study.wait_for(completed=9)
        mlflow.start()
        study.finish()
    finally:
        study.kill()
    said = study.log.read_text()
    assert "takes nothing now" in said
    assert "Traceback" not in said

    record = load_record(store, "s")
    calm = run_study(str(space), images, study="s", store=tmp_path / "calm", plots=False, progress=False).record
    assert plain(record) == plain(calm)
    assert set(ends(store, "s").values()) == {1}
    assert run_statuses(store, "s") == {trial: ["FINISHED"] for trial in ["", *record.trials]}
    assert metrics_differ(store, "s") == 0
    client = MlflowClient(mlflow.uri)
    for trial in record.trials.values():
        run = client.get_run(trial.run_id)
        assert set(FIELD_NAMES) <= set(run.data.params)
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        assert SCORES_FILE in {file.path for file in client.list_artifacts(trial.run_id)}

    place = ("--store", str(store.root))
    assert "t0001" in tune("leaderboard", "s", *place)
    assert f"MLflow UI: {mlflow.uri}" in tune("ui", "s", "--no-open", *place)
    assert "is champion" in tune("promote", "s", "--policy", "demo", "--model", "far", *place)
    assert client.get_model_version_by_alias("far", "champion").version == "1"
    image = next((images / "test" / "PNEUMONIA").iterdir())
    assert "PNEUMONIA" in tune("predict", str(image), "--tracking-uri", mlflow.uri, *place)
