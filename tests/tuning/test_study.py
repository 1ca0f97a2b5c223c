"""A study runs its trials, records them, and ends the same for the same seed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from pneumo_core.activation_store import ActivationStore
from pneumo_core.config import TrialConfig
from pneumo_core.dataset import index_dataset
from pneumo_core.errors import DatasetError, DivergedError, StudyError, TrackingError, WeightsError
from pneumo_core.evaluation import compute_metrics
from pneumo_core.splits import pool_of
from tuning import launch as launch_module
from tuning import leaderboard, run_study
from tuning import trial as trial_module
from tuning.events import EpochEnded, Event
from tuning.launch import launch_study, plan_study
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space
from tuning.standings import leaderboard_rows
from tuning.store import Store
from tuning.trial import execute_trial
from tuning.trial_data import TrialData

INLINE = WorkSettings(workers=0, plots=False)
ONE_SHAPE = {"head_units": 8, "unfrozen_layers": 0}
"""With it all trials of a study share one compiled program, where it does not matter what is trained."""

Finished = tuple[Store, StudyRecord, dict[str, object]]


def _without_runs(store: Store, study: str) -> list[dict[str, object]]:
    rows = leaderboard_rows(load_record(store, study))
    return [{key: value for key, value in row.items() if key not in ("run_id", "duration_s")} for row in rows]


def test_summary_keeps_its_contract(finished: Finished) -> None:
    """Scripts rely on exactly these keys."""
    _, record, summary = finished
    keys = ["study", "space", "objective", "direction", "folds", "best", "confirmed", "trials", "wall_s"]
    assert list(summary) == keys
    assert (summary["folds"], summary["confirmed"]) == (1, None)
    assert summary["trials"] == {"completed": 4, "failed": 0}
    best = summary["best"]
    assert isinstance(best, dict)
    assert list(best) == ["trial", "score", "params", "run_id", "confirmed", "confirmation"]
    assert best["confirmed"] is False
    assert best["score"] == max(trial.score or 0 for trial in record.trials.values())


def test_known_configuration_comes_first_and_conditions_show(finished: Finished) -> None:
    """The first trial is the space's; a parameter whose condition does not hold is None, never absent."""
    _, record, _ = finished
    first = record.trials["t0001"]
    assert first.params == {
        "head_units": 8,
        "dropout": 0.0,
        "unfrozen_layers": 0,
        "backbone_lr_fraction": None,
        "learning_rate": 2e-3,
    }
    assert all(trial.params.keys() == first.params.keys() for trial in record.trials.values())


def test_same_seed_gives_the_same_leaderboard(finished: Finished, tiny_space: Path, phantoms: Path) -> None:
    """A second study with the same seed agrees to the last digit, run ids and durations aside."""
    store, _, _ = finished
    run_study(str(tiny_space), phantoms, study="second", store=store.root, workers=0, plots=False, progress=False)
    assert _without_runs(store, "second") == _without_runs(store, "first")


def test_another_seed_gives_another_leaderboard(finished: Finished, tiny_space: Path, phantoms: Path) -> None:
    """The seed reaches search and training."""
    store, _, _ = finished
    run_study(
        str(tiny_space),
        phantoms,
        study="seeded",
        trials=2,
        seed=7,
        store=store.root,
        workers=0,
        plots=False,
        progress=False,
    )
    first, seeded = (load_record(store, name).trials for name in ("first", "seeded"))
    assert first["t0001"].params == seeded["t0001"].params
    assert first["t0001"].score != seeded["t0001"].score
    assert first["t0002"].params != seeded["t0002"].params


def test_the_leaderboard_is_a_table_in_notebooks(finished: Finished) -> None:
    """`tuning.leaderboard` gives a frame, best first, metrics and parameters as columns."""
    store, record, _ = finished
    frame = leaderboard("first", store.root)
    assert frame["trial"].tolist() == [trial.trial for trial in record.ranked()]
    assert frame["val_roc_auc"].is_monotonic_decreasing
    metrics, params = record.trials["t0001"].metrics, record.trials["t0001"].params
    ends = [f"{name}_{end}" for name in metrics for end in ("low", "high")]
    head = ["trial", "status", "score", "run_id", "duration_s", "reason", "rank", "baseline", "gain", "gain_of"]
    assert list(frame.columns) == [*head, *metrics, *ends, *params]
    assert (frame["val_roc_auc_low"] < frame["val_roc_auc"]).all()


def test_no_test_image_is_ever_read(finished: Finished, phantoms: Path) -> None:
    """The split in MLflow holds train/ and val/ only, each image once, no patient on both sides."""
    from mlflow import MlflowClient

    _, record, _ = finished
    client = MlflowClient(record.started.tracking_uri)
    split = pd.read_csv(client.download_artifacts(record.run_id or "", "split.csv"))
    expected = {p.relative_to(phantoms).as_posix() for s in ("train", "val") for p in (phantoms / s).rglob("*.jpeg")}
    assert sorted(split["path"]) == sorted(expected)
    scored = split["fold"] == 0
    assert not set(split["group"][scored]) & set(split["group"][~scored])
    about = json.loads(Path(client.download_artifacts(record.run_id or "", "data.json")).read_text())
    assert about["digest"] == record.started.data_digest


def test_a_diverging_trial_fails_and_the_study_goes_on(
    tmp_path: Path, tiny_space: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure has a reason, counts as failed, and the others complete."""
    real, calls = trial_module.execute_trial, []

    def second_diverges(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise DivergedError("loss became nan in epoch 1")
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(trial_module, "execute_trial", second_diverges)
    result = run_study(str(tiny_space), phantoms, trials=3, store=tmp_path, workers=0, plots=False, progress=False)
    assert result.summary()["trials"] == {"completed": 2, "failed": 1}
    last = result.record.ranked()[-1]
    assert (last.trial, last.status, last.reason) == ("t0002", "failed", "loss became nan in epoch 1")


def test_a_really_diverging_training_fails_its_trial(tmp_path: Path, wild_space: Path, phantoms: Path) -> None:
    """A weight decay that multiplies weights by -99 in each step: every trial fails, none completes."""
    result = run_study(str(wild_space), phantoms, store=tmp_path / "store", workers=0, plots=False, progress=False)
    assert result.summary()["best"] is None
    assert result.record.ended is not None
    assert result.record.ended.status == "failed"
    reason = result.record.trials["t0001"].reason or ""
    assert "in epoch" in reason
    assert "learning rate too high for sgd" in reason


def test_a_bug_ends_the_study_at_once_and_is_recorded(
    tmp_path: Path, tiny_space: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is not the trial's own is not swallowed as a failed trial."""

    def broken(*args: object, **kwargs: object) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(trial_module, "execute_trial", broken)
    with pytest.raises(ZeroDivisionError):
        run_study(str(tiny_space), phantoms, study="buggy", store=tmp_path, workers=0, plots=False, progress=False)
    record = load_record(Store.at(tmp_path), "buggy")
    assert record.ended is not None
    assert (record.ended.status, record.ended.reason) == ("failed", "ZeroDivisionError: a bug")


@pytest.mark.parametrize("stop", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_interruption_closes_the_study(tmp_path: Path, tiny_space: Path, phantoms: Path, stop: int) -> None:
    """Ctrl-C and SIGTERM end the study as interrupted: finished trials kept, runs closed in MLflow."""
    from mlflow import MlflowClient

    def interrupt_second_trial(event: Event, record: StudyRecord) -> None:
        if isinstance(event, EpochEnded) and event.trial == "t0002":
            os.kill(os.getpid(), stop)

    assert threading.current_thread() is threading.main_thread()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it otherwise
    space = open_space(str(tiny_space), ONE_SHAPE)
    settings = StudySettings(space, str(phantoms), Store.at(tmp_path), "cut", work=INLINE)
    with pytest.raises(KeyboardInterrupt):
        launch_study(settings, interrupt_second_trial)
    record = load_record(Store.at(tmp_path), "cut")
    assert record.ended is not None
    assert record.ended.status == "interrupted"
    assert [trial.status for trial in record.trials.values()] == ["completed", "interrupted"]
    client = MlflowClient(record.started.tracking_uri)
    runs = [record.run_id, *(trial.run_id for trial in record.trials.values())]
    assert [client.get_run(run or "").info.status for run in runs] == ["KILLED", "FINISHED", "KILLED"]


def test_the_time_limit_starts_no_further_trial(tmp_path: Path, tiny_space: Path, phantoms: Path) -> None:
    """A study over its time ends with what it has."""
    result = run_study(
        str(tiny_space), phantoms, time_limit_s=1e-3, trials=50, store=tmp_path, workers=0, plots=False, progress=False
    )
    assert len(result.record.trials) <= 1
    assert result.record.ended is not None
    assert result.record.ended.reason == "time limit reached"


def test_hyperband_trains_rungs(tmp_path: Path, tiny_space: Path, phantoms: Path) -> None:
    """Short rungs run fewer epochs of the same schedule, and say so."""
    result = run_study(
        str(tiny_space), phantoms, algorithm="hyperband", trials=6,
        overrides={"epochs": 3, "patience": 0, **ONE_SHAPE}, store=tmp_path, workers=0, plots=False, progress=False,
    )  # fmt: skip
    trials = result.record.trials.values()
    assert {trial.params["stop_after"] for trial in trials} == {1, 3}
    assert all(trial.epochs == trial.params["stop_after"] for trial in trials)


def test_nothing_is_left_behind_by_what_is_refused(tmp_path: Path, tiny_space: Path, phantoms: Path) -> None:
    """Bad data, weights or tracking are found before the study has a name."""
    store = tmp_path / "store"
    refused = [
        (DatasetError, {"data": tmp_path / "nowhere"}),
        (WeightsError, {"data": phantoms, "overrides": {"weights": str(tmp_path / "missing.h5")}}),
        (TrackingError, {"data": phantoms, "tracking_uri": "http://127.0.0.1:9"}),
    ]
    for error, arguments in refused:
        with pytest.raises(error):
            run_study(str(tiny_space), study="mine", store=store, workers=0, plots=False, progress=False, **arguments)  # type: ignore[arg-type]
    assert Store.at(store).study_names() == []
    run_study(str(tiny_space), phantoms, study="mine", trials=1, store=store, workers=0, plots=False, progress=False)
    with pytest.raises(StudyError, match="already exists"):
        run_study(str(tiny_space), phantoms, study="mine", store=store, workers=0, plots=False, progress=False)


def test_a_tracking_store_that_breaks_does_not_break_the_study(
    tmp_path: Path,
    tiny_space: Path,
    phantoms: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Trials complete without MLflow; their files wait in the study's folder, and the user is told."""
    monkeypatch.setattr(launch_module, "_PATIENCE_S", 3.0)

    def break_database(event: Event, record: StudyRecord) -> None:
        if isinstance(event, EpochEnded):
            with (
                sqlite3.connect(Store.at(tmp_path).database) as database,
                contextlib.suppress(sqlite3.OperationalError),
            ):
                database.execute("ALTER TABLE latest_metrics RENAME TO gone")

    space = open_space(str(tiny_space), ONE_SHAPE).replace(trials=2)
    settings = StudySettings(space, str(phantoms), Store.at(tmp_path), "s", work=INLINE)
    result = launch_study(settings, break_database)
    assert result.summary()["trials"] == {"completed": 2, "failed": 0}
    assert (tmp_path / "studies/s/staging/t0002/scores.csv").is_file()
    assert "no trial waits for it" in capsys.readouterr().err


def test_a_short_mlflow_failure_is_made_up_for_at_the_end(
    tmp_path: Path, tiny_space: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Artifacts that could not be logged when a trial ended are logged when the study ends; no run stays open."""
    from mlflow import MlflowClient

    real, calls = MlflowClient.log_artifacts, []

    def fails_once(client: MlflowClient, *args: object) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise OSError("disk hiccup")
        real(client, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "log_artifacts", fails_once)
    record = run_study(
        str(tiny_space), phantoms, trials=2, overrides=ONE_SHAPE, store=tmp_path, workers=0, plots=False, progress=False
    ).record
    client = MlflowClient(record.started.tracking_uri)
    run_id = record.trials["t0001"].run_id or ""
    assert client.get_run(run_id).info.status == "FINISHED"
    assert "scores.csv" in {item.path for item in client.list_artifacts(run_id)}
    assert not any((tmp_path / "studies" / "tiny-1" / "staging").iterdir())


def test_a_study_whose_run_cannot_be_made_says_so_once(
    tmp_path: Path,
    tiny_space: Path,
    phantoms: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without the parent run there are no trials' runs either; one sentence is enough."""
    from mlflow import MlflowClient

    def refused(*args: object, **kwargs: object) -> None:
        raise OSError("no more runs today")

    monkeypatch.setattr(MlflowClient, "create_run", refused)
    monkeypatch.setattr(launch_module, "_PATIENCE_S", 3.0)
    result = run_study(
        str(tiny_space), phantoms, trials=2, overrides=ONE_SHAPE, store=tmp_path, workers=0, plots=False, progress=False
    )
    assert result.summary()["trials"] == {"completed": 2, "failed": 0}
    told = [line for line in capsys.readouterr().err.splitlines() if "no trial waits for it" in line]
    assert len(told) == 1
    assert "no more runs today" in told[0]


def test_out_of_memory_costs_one_trial(
    tmp_path: Path, tiny_space: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow's own error for it is no traceback, but a failed trial with its configuration named."""
    import tensorflow as tf

    from tuning import trial as trial_module

    def exhausted(*args: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(trial_module, "train", exhausted)
    result = run_study(str(tiny_space), phantoms, trials=2, store=tmp_path, workers=0, plots=False, progress=False)
    assert result.summary()["trials"] == {"completed": 0, "failed": 2}
    assert "out of memory with image_size 32" in (result.record.trials["t0001"].reason or "")


@pytest.mark.slow
def test_trials_leave_nothing_in_memory(tmp_path: Path, phantoms: Path) -> None:
    """After a trial neither its graph nor its weights are held by TensorFlow's global tables."""
    import gc

    import tensorflow as tf

    dataset = index_dataset(phantoms)
    cache = ActivationStore(tmp_path)
    data = TrialData(dataset.root, pool_of(dataset.manifest), dataset.class_names, cache)
    config = TrialConfig(weights="random", image_size=32, epochs=1, pooling="average", unfrozen_layers=1)
    held = []
    for _ in range(3):
        execute_trial(config, data)
        gc.collect()
        variables = [thing for thing in gc.get_objects() if isinstance(thing, tf.Variable)]
        held.append(sum(variable.shape.num_elements() or 0 for variable in variables))
    assert held[2] <= held[0] + 1000


def test_the_frozen_layers_are_computed_once_for_all_studies(
    finished: Finished, tiny_space: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second study on the same images runs no image through a prefix again; its trials name the same entry."""
    from tuning import trial_data as trial_module

    store, record, _ = finished

    def refused(*args: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(trial_module, "apply_in_batches", refused)
    run_study(
        str(tiny_space), phantoms, study="cached", trials=3, store=store.root, workers=0, plots=False, progress=False
    )
    assert [trial.score for trial in load_record(store, "cached").trials.values()] == [
        trial.score for trial in list(record.trials.values())[:3]
    ]


@pytest.mark.parametrize(
    ("unfrozen", "pooling"),
    [
        *[(0, "flatten"), (1, "average")],
        *(
            pytest.param(*other, marks=pytest.mark.slow)
            for other in [(0, "average"), (1, "flatten"), *itertools.product((3, 6), ("flatten", "average"))]
        ),
    ],
)
def test_scores_through_the_cache_are_those_of_the_whole_model(
    phantoms: Path, tmp_path: Path, unfrozen: int, pooling: str
) -> None:
    """float32 within 1e-5, float16 within 1e-2 and the AUC within 1e-3, for every cut and both poolings."""
    from pneumo_core.images import read_images
    from pneumo_core.model import build_classifier

    dataset = index_dataset(phantoms)
    data = TrialData(dataset.root, pool_of(dataset.manifest), dataset.class_names, ActivationStore(tmp_path))
    for precision, tolerance in (("float32", 1e-5), ("float16", 1e-2)):
        config = TrialConfig(
            weights="random", image_size=32, pixel_scaling="unit", epochs=1, unfrozen_layers=unfrozen, pooling=pooling,
            head_units=16, backbone_lr_fraction=0.01, activation_precision=precision,
        )  # fmt: skip
        result = execute_trial(config, data)
        model = build_classifier(config, data.backbone_weights(config), result.weights)
        pixels = read_images(dataset.root, result.scores["path"].tolist(), 32).astype(np.float32)
        whole = result.scores.assign(probability=np.asarray(model(pixels))[:, 0].astype(float))
        np.testing.assert_allclose(result.scores["probability"], whole["probability"], atol=tolerance)
        assert compute_metrics(whole)["roc_auc"] == pytest.approx(result.metrics["val_roc_auc"], abs=1e-3)


def test_a_relative_weights_file_is_recorded_by_its_whole_path(
    tmp_path: Path, tiny_space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promotion may run from another folder."""
    monkeypatch.chdir(tmp_path)
    assert open_space(str(tiny_space), {"weights": "w.h5"}).fixed["weights"] == str(tmp_path / "w.h5")
    assert open_space(str(tiny_space), {"weights": "random"}).fixed["weights"] == "random"


def test_a_relative_data_folder_is_recorded_by_its_whole_path(
    tmp_path: Path, tiny_space: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of a study are found again from every working directory."""
    monkeypatch.chdir(phantoms.parent)
    plan = plan_study(StudySettings(open_space(str(tiny_space), ONE_SHAPE), phantoms.name, Store.at(tmp_path)))
    assert plan["data"]["root"] == str(phantoms)


def test_a_plan_trains_nothing(tiny_space: Path, phantoms: Path, tmp_path: Path) -> None:
    """`--dry-run` knows data, space and configuration, and leaves no trace."""
    plan = plan_study(StudySettings(open_space(str(tiny_space), ONE_SHAPE), str(phantoms), Store.at(tmp_path / "s")))
    assert plan["trials"] == 4
    assert plan["config"]["image_size"] == 32
    assert sum(plan["data"]["images"].values()) > 20
    assert json.loads(json.dumps(plan)) == plan
    assert not (tmp_path / "s").exists()


def test_artifacts_are_complete_and_consistent(finished: Finished) -> None:
    """Every trial's run holds configuration, scores, history, plots and weights, and they agree with one another."""
    from mlflow import MlflowClient

    store, record, _ = finished
    client = MlflowClient(record.started.tracking_uri)
    for trial in record.trials.values():
        folder = Path(client.download_artifacts(trial.run_id or "", ""))
        assert json.loads((folder / "config.json").read_text()) == trial.config
        scores = pd.read_csv(folder / "scores.csv")
        calibrated = scores.assign(logit=scores["logit"] / trial.temperature).drop(columns="probability")
        calibrated = calibrated.assign(probability=expit(calibrated["logit"]))
        for name, value in compute_metrics(calibrated, trial.threshold or 0.5).items():
            assert trial.metrics[f"val_{name}"] == pytest.approx(value, nan_ok=True)
        report = json.loads((folder / "evaluation.json").read_text())
        assert report["operating_point"]["threshold"] == trial.threshold
        assert report["metrics"]["roc_auc"]["low"] == trial.intervals["val_roc_auc"][0]
        assert len(pd.read_csv(folder / "history.csv")) == trial.epochs
        names = {"history", "roc", "precision_recall", "confusion_matrix", "calibration"}
        assert {path.stem for path in (folder / "plots").iterdir()} == names
        with np.load(folder / "trained_weights.npz", allow_pickle=False) as weights:
            assert ("block5_conv3.kernel" in weights) == (trial.config["unfrozen_layers"] > 0)
            assert "block5_conv1.kernel" not in weights
    assert not any((store.studies / "first" / "staging").iterdir())
