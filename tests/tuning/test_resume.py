"""A study that goes on does so exactly, refuses what would change it, and takes more trials."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_core.errors import ConfigError, DivergedError, StoreError, StudyError
from tuning import identity, resume_study, run_study
from tuning import trial as trial_module
from tuning.events import EpochEnded, Event, StudyStarted, TrialCompleted
from tuning.journal import Journal, read_journal
from tuning.launch import launch_study
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space, space_source
from tuning.standings import leaderboard_rows
from tuning.store import Store

INLINE = WorkSettings(workers=0, plots=False)
ONE_SHAPE = {"head_units": 8, "unfrozen_layers": 0}
"""With it all trials of a study share one compiled program, where it does not matter what is trained."""
Finished = tuple[Store, StudyRecord, dict[str, object]]


class _StoppedError(Exception):
    """The process is gone: nothing after it is recorded, as far as the study can tell."""


def _plain(record: StudyRecord) -> list[dict[str, Any]]:
    rows = leaderboard_rows(record)
    return [{name: value for name, value in row.items() if name not in ("run_id", "duration_s")} for row in rows]


def _metrics(record: StudyRecord) -> list[dict[str, float]]:
    """Of each trial, in their order."""
    return [trial.metrics for trial in record.trials.values()]


def _started(space: Path, phantoms: Path, store: Path, stop: Callable[[Event], bool], trials: int = 4) -> None:
    """Runs a study called s until an event at which it breaks off."""

    def listener(event: Event, record: StudyRecord) -> None:
        if stop(event):
            raise _StoppedError

    source, wanted = space_source(str(space)), open_space(str(space)).replace(trials=trials)
    settings = StudySettings(wanted, str(phantoms), Store.at(store), "s", space_source=source, work=INLINE)
    with pytest.raises(_StoppedError):
        launch_study(settings, listener)


def _after(trial: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, TrialCompleted) and event.trial == trial


def test_more_trials_go_on_as_if_they_had_been_asked_for_at_first(
    finished: Finished, tiny_space: Path, phantoms: Path, tmp_path: Path
) -> None:
    """Two trials and then two more are the four of one study, in the same MLflow run."""
    from mlflow import MlflowClient

    run_study(str(tiny_space), phantoms, study="s", trials=2, store=tmp_path, workers=0, plots=False, progress=False)
    run_id = load_record(Store.at(tmp_path), "s").run_id
    result = resume_study("s", trials=4, store=tmp_path, workers=0, progress=False)
    assert _plain(result.record) == _plain(finished[1])
    assert result.record.run_id == run_id
    client = MlflowClient(result.record.started.tracking_uri)
    assert client.get_run(run_id or "").info.status == "FINISHED"
    assert client.get_run(run_id or "").data.metrics["best_val_roc_auc"] == result.summary()["best"]["score"]


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(_after("t0002"), marks=pytest.mark.slow),
        lambda event: isinstance(event, EpochEnded) and event.trial == "t0003",
    ],
)
def test_a_study_that_broke_off_ends_as_one_that_did_not(
    finished: Finished, tiny_space: Path, phantoms: Path, tmp_path: Path, stop: Callable[[Event], bool]
) -> None:
    """Between two trials, or in the middle of one; finished trials are not trained again."""
    _started(tiny_space, phantoms, tmp_path, stop)
    completed = [trial.trial for trial in load_record(Store.at(tmp_path), "s").trials.values() if trial.over]
    result = resume_study("s", store=tmp_path, workers=0, progress=False)
    assert _plain(result.record) == _plain(finished[1])
    events = list(read_journal(tmp_path / "studies/s/journal.jsonl"))
    ended = [event.trial for event in events if isinstance(event, TrialCompleted)]
    assert ended == ["t0001", "t0002", "t0003", "t0004"]
    assert completed == ended[:2]
    epochs = [(event.trial, event.epoch) for event in events if isinstance(event, EpochEnded)]
    assert sorted(epochs) == sorted(set(epochs))


@pytest.mark.parametrize("algorithm", ["hyperband", pytest.param("grid", marks=pytest.mark.slow)])
def test_other_algorithms_go_on_exactly(
    tiny_space: Path, phantoms: Path, tmp_path: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed trial before the break counts after it too."""
    _fail_second(monkeypatch)
    options: dict[str, Any] = {
        "overrides": {"epochs": 3, **ONE_SHAPE},
        "workers": 0,
        "plots": False,
        "progress": False,
        "algorithm": algorithm,
    }
    if algorithm == "grid":
        options["overrides"] |= {"learning_rate": 1e-3}
        del options["overrides"]["head_units"]
    whole = run_study(str(tiny_space), phantoms, study="whole", trials=6, store=tmp_path, **options)
    _fail_second(monkeypatch)
    first = 5 if algorithm == "hyperband" else 3
    run_study(str(tiny_space), phantoms, study="s", trials=first, store=tmp_path, **options)
    result = resume_study("s", trials=6, store=tmp_path, progress=False)
    assert [trial.status for trial in result.record.trials.values()].count("failed") == 1
    assert _plain(result.record) == _plain(whole.record)


def _fail_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    real, calls = trial_module.execute_trial, []

    def second_diverges(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise DivergedError("loss became nan in epoch 1")
        return real(*args, **kwargs)

    monkeypatch.setattr(trial_module, "execute_trial", second_diverges)


def test_a_changed_program_is_refused_in_words_or_forced_with_a_mark(
    tiny_space: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the contents of the files that determine a trial; the mark stands in journal and MLflow."""
    from mlflow import MlflowClient

    _started(tiny_space, phantoms, tmp_path, _after("t0001"))
    real = identity.code_digests()
    monkeypatch.setattr("tuning.launch.code_digests", lambda: real | {"pneumo_core/training.py": "another"})
    with pytest.raises(StudyError, match=r"code: pneumo_core/training.py was changed\n.*--force"):
        resume_study("s", store=tmp_path, workers=0, progress=False)
    old = tmp_path / "studies/s/checkpoints/t0002.1.npz"  # of the program as it was
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"")
    result = resume_study("s", store=tmp_path, force=True, trials=2, workers=0, progress=False)
    result = resume_study("s", store=tmp_path, trials=3, workers=0, progress=False)  # accepted once and for all
    assert result.record.forced == ["code: pneumo_core/training.py was changed"]
    monkeypatch.undo()
    with pytest.raises(StudyError, match=r"code: pneumo_core/training.py was changed"):
        resume_study("s", store=tmp_path, trials=4, workers=0, progress=False)
    run = MlflowClient(result.record.started.tracking_uri).get_run(result.record.run_id or "")
    assert run.data.tags["pneumo.forced"] == "code: pneumo_core/training.py was changed"


def test_a_study_that_ran_out_of_time_takes_more(
    finished: Finished, tiny_space: Path, phantoms: Path, tmp_path: Path
) -> None:
    """As if it had had the time at first."""
    run_study(
        str(tiny_space), phantoms, study="s", trials=2, time_limit_s=1e-3, store=tmp_path, workers=0, plots=False,
        progress=False,
    )  # fmt: skip
    assert len(load_record(Store.at(tmp_path), "s").trials) <= 1
    result = resume_study("s", store=tmp_path, workers=0, progress=False)
    assert result.record.ended is not None
    assert result.record.ended.status == "finished"
    assert _metrics(result.record) == _metrics(finished[1])[:2]


def test_a_study_that_could_not_record_its_start_leaves_no_trace(
    tiny_space: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk too full for the first line, with room for a shorter one: the name is free again."""
    real = Journal.append

    def full(journal: Journal, event: Event) -> None:
        if isinstance(event, StudyStarted):
            raise StoreError("journal: cannot be written (No space left on device).")
        real(journal, event)

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(StoreError, match="No space left"):
        run_study(str(tiny_space), phantoms, study="s", store=tmp_path, workers=0, plots=False, progress=False)
    assert Store.at(tmp_path).study_names() == []
    assert not (tmp_path / "studies" / "s").exists()


def test_a_changed_space_or_data_is_refused_with_the_difference(
    tiny_space: Path, phantoms: Path, tmp_path: Path
) -> None:
    """Every difference has its line; nothing is done."""
    data, space = tmp_path / "data", tmp_path / "tiny.yaml"
    shutil.copytree(phantoms, data)
    shutil.copy(tiny_space, space)
    _started(space, data, tmp_path / "store", _after("t0001"))
    before = (tmp_path / "store/studies/s/journal.jsonl").read_bytes()
    next((data / "train" / "NORMAL").iterdir()).unlink()
    space.write_text(space.read_text().replace("max: 0.5", "max: 0.75"))
    with pytest.raises(StudyError) as refusal:
        resume_study("s", store=tmp_path / "store", workers=0, progress=False)
    assert f"data: {data} had " in str(refusal.value)
    assert "space: dropout max was 0.5, is 0.75" in str(refusal.value)
    assert (tmp_path / "store/studies/s/journal.jsonl").read_bytes() == before


def test_a_torn_line_is_dropped_and_other_damage_refused(
    finished: Finished, tiny_space: Path, phantoms: Path, tmp_path: Path
) -> None:
    """A crash in mid-write costs the event; a damaged line in the middle is not guessed at."""
    _started(tiny_space, phantoms, tmp_path, _after("t0001"), trials=2)
    journal = tmp_path / "studies/s/journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole.replace(b'"t0001"', b'"t0001', 1))
    with pytest.raises(StoreError, match=r"line \d+: damaged"):
        resume_study("s", store=tmp_path, workers=0, progress=False)
    journal.write_bytes(whole[:-7])
    result = resume_study("s", store=tmp_path, workers=0, progress=False)
    assert _metrics(result.record) == _metrics(finished[1])[:2]


def test_what_cannot_go_on_is_refused(finished: Finished, tmp_path: Path) -> None:
    """A finished study without more trials, fewer trials than there are, a study that is not there, a bad timeout."""
    store, _, _ = finished
    with pytest.raises(StudyError, match=r"is finished, with 4 trials; .*--trials"):
        resume_study("first", store=store.root, workers=0)
    with pytest.raises(StudyError, match=r"has 4 trials already, got --trials 2"):
        resume_study("first", store=store.root, trials=2, workers=0)
    with pytest.raises(StudyError, match=r"not found"):
        resume_study("absent", store=store.root, workers=0)
    with pytest.raises(StoreError, match=r"expected a folder"):
        resume_study("first", store=tmp_path / "nowhere", workers=0)
    with pytest.raises(ConfigError, match=r"--trial-timeout: needs a worker process"):
        WorkSettings(workers=0, trial_timeout_s=1.0)
    for elsewhere in ({"workers": 0}, {"cluster": "tcp://node1:8786"}):
        with pytest.raises(ConfigError, match=r"--worker-memory: (needs a worker process|is for this machine)"):
            WorkSettings(worker_memory_bytes=10**9, **elsewhere)


def test_how_a_study_is_run_is_remembered_and_can_be_changed(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever set a timeout for the weekend need not set it again on Sunday; what is said now counts."""
    monkeypatch.chdir(tmp_path)
    limits = {"trial_timeout_s": 60.0, "worker_memory_bytes": 4 * 10**9, "max_attempts": 5}
    before = WorkSettings(workers=3, **limits, cache=Path("fast"), plots=False)
    recorded = json.loads(json.dumps(before.to_mapping()))
    again = WorkSettings.of_resume(recorded, {"workers": 1, "time_limit_s": 9.0})
    cache = tmp_path / "fast"
    assert again == dataclasses.replace(before, workers=1, time_limit_s=9.0, cache=cache)
    inline = WorkSettings.of_resume(recorded, {"workers": 0})
    assert (inline.trial_timeout_s, inline.worker_memory_bytes) == (None, None)
    elsewhere = WorkSettings.of_resume(recorded, {"cluster": "tcp://node1:8786"})
    assert (elsewhere.trial_timeout_s, elsewhere.worker_memory_bytes) == (60.0, None)
    assert WorkSettings.of_resume({}, {}) == WorkSettings()
    assert finished[1].started.work["workers"] == 0


def test_pruned_trials_are_marked_and_rank_behind_the_completed(
    tmp_path: Path, tiny_space: Path, phantoms: Path
) -> None:
    """Asynchronous halving after one of three epochs: two in three of the later trials end there."""
    result = run_study(
        str(tiny_space), phantoms, trials=8, overrides={"epochs": 3, "patience": 0, **ONE_SHAPE}, pruning="halving",
        store=tmp_path, workers=0, plots=False, progress=False,
    )  # fmt: skip
    pruned = [trial for trial in result.record.trials.values() if trial.status == "pruned"]
    assert pruned
    assert all(trial.epochs == 1 and trial.score is not None for trial in pruned)
    assert result.summary()["trials"] == {"completed": 8 - len(pruned), "failed": 0, "pruned": len(pruned)}
    assert [trial.status for trial in result.record.ranked()][-len(pruned) :] == ["pruned"] * len(pruned)
    with pytest.raises(ConfigError, match=r"--pruning"):
        run_study(str(tiny_space), phantoms, pruning="mean", store=tmp_path, workers=0)
    with pytest.raises(ConfigError, match=r"Hyperband ends hopeless trials by itself"):
        run_study(
            str(tiny_space), phantoms, pruning="median", algorithm="hyperband", trials=50, overrides={"epochs": 9},
            store=tmp_path, workers=0,
        )  # fmt: skip


@pytest.mark.slow
def test_a_study_that_began_with_the_leaders_of_another_goes_on(
    finished: Finished, tiny_space: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They come behind the baseline, are recorded with the study, and ask for nothing when it is resumed."""
    store = tmp_path / "store"
    shutil.copytree(finished[0].study("first").root, store / "studies" / "first")
    plain: dict[str, Any] = {"store": store, "workers": 0, "progress": False}
    begun = run_study(
        str(tiny_space),
        phantoms,
        study="next",
        trials=1,
        start_from="first",
        plots=False,
        overrides={"epochs": 1},
        **plain,
    )
    shutil.rmtree(store / "studies" / "first")  # what the study needs of it is its own
    record = resume_study("next", trials=2, **plain).record
    best = finished[1].ranked()
    expected = next(trial for trial in best if trial.trial != "t0001")
    assert begun.record.started.start_from["study"] == "first"
    assert record.trials["t0001"].params == finished[1].trials["t0001"].params
    assert record.trials["t0002"].params == expected.params
    assert "epochs 1 instead of 2" in capsys.readouterr().err
