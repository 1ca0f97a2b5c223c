"""MLflow holds one run for the study and one for each trial, all comparable."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pneumo_core.config import FIELD_NAMES
from pneumo_core.errors import TrackingError
from tuning.record import StudyRecord
from tuning.store import Store
from tuning.tracking import (
    OutageError,
    RefusalError,
    Tracker,
    absolute_uri,
    embedded_uri,
    experiment_of,
    prepare_embedded,
    reachable_uri,
    recorded_uri,
    redacted,
    translated,
)

Finished = tuple[Store, StudyRecord, dict[str, object]]


@pytest.fixture(scope="module")
def runs(finished: Finished) -> dict[str, Run]:
    """The MLflow runs of the finished study: its own as "", trials by id."""
    _, record, _ = finished
    client = MlflowClient(record.started.tracking_uri)
    ids = {"": record.run_id, **{trial.trial: trial.run_id for trial in record.trials.values()}}
    return {name: client.get_run(run_id or "") for name, run_id in ids.items()}


def test_trials_are_children_of_the_study(runs: dict[str, Run]) -> None:
    """One parent, a child for each trial, all finished."""
    parent = runs[""].info.run_id
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags.get("mlflow.parentRunId") == (parent if name else None)
        assert run.info.run_name == (name or "first")


def test_every_trial_has_the_same_parameters(runs: dict[str, Run], finished: Finished) -> None:
    """All configuration fields, on every trial, as parallel coordinates need them."""
    _, record, _ = finished
    for trial in record.trials.values():
        params = runs[trial.trial].data.params
        assert set(params) == set(FIELD_NAMES)
        assert params == {name: str(value) for name, value in trial.config.items()}


def test_final_and_epoch_metrics_are_told_apart(runs: dict[str, Run], finished: Finished) -> None:
    """Final ones under their own names, each epoch's under epoch/ with the epoch as step, from 1."""
    _, record, _ = finished
    client = MlflowClient(record.started.tracking_uri)
    trial = record.trials["t0001"]
    metrics = runs["t0001"].data.metrics
    assert metrics["val_roc_auc"] == trial.score
    assert {"epoch/loss", "epoch/val_loss", "epoch/val_roc_auc", "epoch/learning_rate"} <= set(metrics)
    steps = [point.step for point in client.get_metric_history(trial.run_id or "", "epoch/val_loss")]
    assert steps == [1, 2]


def test_tags_say_where_a_trial_comes_from(runs: dict[str, Run], finished: Finished) -> None:
    """Study, trial, digests, commit, threads and versions."""
    _, record, _ = finished
    tags = runs["t0002"].data.tags
    assert tags["pneumo.study"] == "first"
    assert tags["pneumo.trial"] == "t0002"
    assert tags["pneumo.data_digest"] == record.started.data_digest
    assert tags["pneumo.space_digest"] == record.started.space_digest
    assert tags["pneumo.threads"].isdigit()
    assert {"pneumo.git_commit", "pneumo.version.tensorflow", "pneumo.weights_digest"} <= set(tags)


def test_the_data_set_is_an_input(runs: dict[str, Run], finished: Finished) -> None:
    """MLflow's data set column shows name and digest, on study and trials."""
    _, record, _ = finished
    for run in runs.values():
        (dataset,) = run.inputs.dataset_inputs
        assert dataset.dataset.name == "chest_xray"
        assert dataset.dataset.digest == record.started.data_digest[:36]


def test_the_study_run_names_the_best(runs: dict[str, Run], finished: Finished) -> None:
    """The parent carries the best trial, its metrics, the journal and a look at the images."""
    _, record, _ = finished
    parent, best = runs[""], record.best()
    assert best is not None
    assert parent.data.tags["pneumo.best_trial"] == best.trial
    assert parent.data.metrics["best_val_roc_auc"] == best.score
    client = MlflowClient(record.started.tracking_uri)
    names = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"journal.jsonl", "samples.png", "space.json", "split.csv", "data.json"} <= names


def test_artifacts_lie_in_the_store(runs: dict[str, Run], finished: Finished) -> None:
    """Whatever the working directory was, also with spaces in the path."""
    store, record, _ = finished
    assert all(run.info.artifact_uri.startswith(store.artifacts.as_uri()) for run in runs.values())
    assert experiment_of(record) == runs[""].info.experiment_id


def test_an_experiment_made_by_another_study_meanwhile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two first studies of a space in one store: the second finds that the first was faster."""
    store = Store.at(tmp_path)
    prepare_embedded(store)
    folder = store.create_study("s", space="tiny")
    real, asked = MlflowClient.get_experiment_by_name, []

    def not_yet(client: MlflowClient, name: str) -> object:
        asked.append(name)
        if len(asked) == 1:
            client.create_experiment(name)
            return None
        return real(client, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", not_yet)
    assert (
        Tracker(store, folder, None, "tiny")._connection.experiment
        == MlflowClient(embedded_uri(store)).get_experiment_by_name("tiny").experiment_id
    )


def test_a_deleted_experiment_is_refused_before_the_study(tmp_path: Path) -> None:
    """MLflow would take no run into it, and so no trial would be logged."""
    store = Store.at(tmp_path)
    prepare_embedded(store)
    client = MlflowClient(embedded_uri(store))
    client.delete_experiment(client.create_experiment("tiny"))
    with pytest.raises(TrackingError, match="experiment tiny was deleted in MLflow"):
        Tracker(store, store.create_study("s", space="tiny"), None, "tiny")


def test_a_new_study_needs_an_mlflow_that_answers_and_an_old_one_does_not(tmp_path: Path) -> None:
    """A mistyped address is refused before the first trial; a server that is away later keeps no study waiting."""
    store, uri = Store.at(tmp_path), "http://127.0.0.1:9"
    folder = store.create_study("s", space="tiny")
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:9: cannot be used \(Connection refused\)"):
        Tracker(store, folder, uri, "tiny")
    tracker = Tracker(store, folder, uri, "tiny", must_answer=False)
    with pytest.raises(OutageError, match="Connection refused"):
        tracker.connect()


def test_a_database_that_was_moved_is_not_made_anew(tmp_path: Path) -> None:
    """An old study's runs are not in an empty database at its former place."""
    store = Store.at(tmp_path / "now")
    former = tmp_path / "before" / "mlflow.db"
    folder = store.create_study("s", space="tiny")
    tracker = Tracker(store, folder, f"sqlite:///{former}", "tiny", must_answer=False)
    with pytest.raises(OutageError, match="is not there"):
        tracker.connect()
    assert not former.parent.exists()


def test_what_passes_is_told_from_what_does_not(tmp_path: Path) -> None:
    """A run that is not there will not come back; a database without its tables may."""
    store = Store.at(tmp_path)
    tracker = Tracker(store, store.create_study("s", space="tiny"), None, "tiny")
    with pytest.raises(RefusalError, match="not found"):
        tracker.delete_run("0" * 32)
    assert not tracker.has_run("0" * 32)
    with sqlite3.connect(store.database) as database:
        database.execute("DROP TABLE runs")
    with pytest.raises(OutageError, match="no such table: runs"):
        tracker.has_run("0" * 32)


def test_a_study_goes_on_where_it_was_logged(finished: Finished) -> None:
    """Unless another address is given; one whose password was not recorded has to be."""
    _, record, _ = finished
    logged_to = record.started.tracking_uri
    assert recorded_uri(record) == reachable_uri(record, "http://other:5000") == logged_to
    assert recorded_uri(record, "http://other:5000") == "http://other:5000"
    hidden = StudyRecord(dataclasses.replace(record.started, tracking_uri="http://me:***@host:5000"))
    with pytest.raises(TrackingError, match=r"whose password is not kept; .* --tracking-uri"):
        recorded_uri(hidden)
    assert reachable_uri(hidden, "http://me:secret@host:5000") == "http://me:secret@host:5000"
    assert reachable_uri(hidden, "http://me:secret@elsewhere:5000") is None


def test_addresses_mean_the_same_everywhere_and_keep_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite paths become absolute; a password stands neither in messages nor in the record."""
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///rel.db") == f"sqlite:///{tmp_path}/rel.db"
    assert absolute_uri("sqlite:////abs.db") == "sqlite:////abs.db"
    assert absolute_uri("http://host:5000") == "http://host:5000"
    with pytest.raises(TrackingError, match="expected an address like http://host:5000"):
        absolute_uri("host:5000")
    address = "http://me:secret@host:5000"
    with pytest.raises(TrackingError) as refused, translated(f"MLflow at {address}"):
        raise OSError(f"{address} is down")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg2://me:se/cr@et@host:5432/db", "postgresql+psycopg2://me:***@host:5432/db"),
        ("postgresql://me:12/34@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@corp:secret@host/db", "postgresql://me@corp:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?user=me&password=se@c/ret&ssl=1", "postgresql://host/db?user=me&password=***&ssl=1"),
        ("http://me:se/cr@et@host:5000", "http://me:***@host:5000"),
        ("https://token@host:5000", "https://***@host:5000"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("sqlite:////home/a:1@b/mlflow.db", "sqlite:////home/a:1@b/mlflow.db"),
        ("at http://host:5000 a@b said no", "at http://host:5000 a@b said no"),
        ("http://me:secret@a http://you:secret@b", "http://me:***@a http://you:***@b"),
    ],
)
def test_no_password_is_shown_whatever_characters_it_has(address: str, shown: str) -> None:
    """A password is typed as it is, also where `%2F` and `%40` should stand for it; nothing else is hidden."""
    assert redacted(address) == shown


def test_of_a_password_and_a_path_that_cannot_be_told_apart_both_are_hidden() -> None:
    """Better a message without the host than one with half a password."""
    assert redacted("http://me:se@cret@host:5000/a@b") == "http://me:***@b"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Another file in the database's place ends in one line that names it."""
    store = Store.at(tmp_path)
    store.database.write_bytes(b"this is not a database, but it is long enough to be looked at" * 20)
    with pytest.raises(TrackingError, match=r"mlflow\.db: cannot be used") as error:
        prepare_embedded(store)
    assert "\n" not in str(error.value)


def test_a_database_left_half_made_is_made_anew(tmp_path: Path) -> None:
    """A process killed, or a disk filled, in the middle of the first migration does not spoil the store."""
    store = Store.at(tmp_path)
    with sqlite3.connect(tmp_path / ".mlflow.db.new") as database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER)")
    prepare_embedded(store)
    assert MlflowClient(embedded_uri(store)).search_experiments()
    assert not (tmp_path / ".mlflow.db.new").exists()


def test_several_processes_may_begin_on_a_fresh_store(tmp_path: Path) -> None:
    """The database is created by one of them while the others wait."""
    code = (
        "import sys; from tuning.store import Store; from tuning.tracking import *; s = Store.at(sys.argv[1]); "
        "prepare_embedded(s); from mlflow import MlflowClient; "
        "MlflowClient(embedded_uri(s)).search_experiments(); print('ok')"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in starts]
    assert [out.strip() for out, _ in answers] == [b"ok"] * 2, answers
    assert embedded_uri(Store.at(tmp_path)).startswith("sqlite:////")


def test_every_filter_of_the_documentation_is_taken_and_finds_what_it_says(
    runs: dict[str, Run], finished: Finished
) -> None:
    """`docs/mlflow.md` lists them; the finished study has trials, a baseline and no confirmation."""
    _, record, _ = finished
    text = (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text()
    filters = re.findall(r"^\| ``(.+?)`` \|", text, flags=re.MULTILINE)
    client, experiment = MlflowClient(record.started.tracking_uri), runs[""].info.experiment_id
    trials = set(record.trials)
    ours = trials | {"first"}  # other tests keep studies there too
    found = [{run.info.run_name for run in client.search_runs([experiment], query)} & ours for query in filters]
    assert len(filters) == 9
    assert found[:7] == [trials, {"first"}, {"t0001"}, trials, set(), set(), set()]


def test_runs_say_what_they_were(runs: dict[str, Run], finished: Finished) -> None:
    """Descriptions that MLflow shows, the best configuration, and system metrics by the epoch's step and time."""
    _, record, _ = finished
    best = record.best()
    assert best is not None
    assert runs["t0001"].data.tags["mlflow.note.content"].startswith("Trial 1 of study first: head_units 8, dropout 0,")
    assert runs[""].data.tags["mlflow.note.content"].startswith(f"Best of 4 trials: {best.trial} (")
    for name, value in best.params.items():
        assert runs[""].data.tags.get(f"pneumo.best.{name}") == (None if value is None else str(value))
    client = MlflowClient(record.started.tracking_uri)
    used = client.get_metric_history(record.trials["t0001"].run_id or "", "system/process_memory_usage_megabytes")
    assert [point.step for point in used] == [1, 2]
    assert all(point.value > 10 for point in used)
