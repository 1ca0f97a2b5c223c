"""MLflow holds what the journal says: once, in order, at the journal's times, whatever was away or died meanwhile."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_server import Server

from pneumo_core.config import FIELD_NAMES
from pneumo_core.errors import StoreError, StudyError, TrackingError
from tuning.events import (
    AttemptFailed,
    AttemptStarted,
    EpochEnded,
    Event,
    RunLinked,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
    TrialStarted,
)
from tuning.figures import draw_plots
from tuning.journal import Journal, read_journal
from tuning.projection import Projection
from tuning.store import Store, StudyFolder
from tuning.sync import close_abandoned, sync_study
from tuning.tracking import Tracker, embedded_uri, prepare_embedded, redacted

STARTED_AT = 1_700_000_000.0
QUICK = (0.05, 0.2)


class Drama:
    """A study without trainings: its events at the times of a clock that goes a second a line."""

    def __init__(self, store: Store, uri: str | None = None, name: str = "s") -> None:
        self.store, self.uri = store, uri or embedded_uri(store)
        self.folder = store.create_study(name, space="tiny")
        self.now = STARTED_AT
        self.journal = Journal(self.folder.journal, self._tick)
        self.listeners: list[Callable[..., None]] = []
        self.lock = threading.RLock()

    def _tick(self) -> float:
        self.now += 1
        return self.now

    def announce(self, event: Event) -> None:
        """As `Study.announce`."""
        with self.lock:
            self.journal.append(event)
            for listener in self.listeners:
                listener(event, None)

    def start(self, **changes: Any) -> None:
        """The study's first event."""
        fields: dict[str, Any] = {
            "study": self.folder.name,
            "space": "tiny",
            "space_digest": "d",
            "definition": {"name": "tiny"},
            "objective": "val_roc_auc",
            "direction": "max",
            "algorithm": "tpe",
            "trials": 3,
            "seed": 0,
            "parameters": ["dropout"],
            "data": "demo",
            "data_root": "/data/chest",
            "data_digest": "a" * 64,
            "split_digest": "b",
            "class_names": ["N", "P"],
            "images": {"training": 3, "validation": 2},
            "commit": "c",
            "versions": {"keras": "3"},
            "threads": 1,
            "tracking_uri": redacted(self.uri),
            "study_id": f"id of {self.folder.name}",
        }
        self.announce(StudyStarted(**fields | changes))

    def begin(self, number: int, parent: str = "") -> None:
        """A trial's first events."""
        config = dict.fromkeys(FIELD_NAMES, number)
        trial = f"t{number:04d}"
        self.announce(TrialStarted(trial, number, {"dropout": number / 10}, config, parent))
        self.announce(AttemptStarted(trial, 1))

    def epoch(self, number: int, epoch: int) -> None:
        """An epoch of a trial."""
        metrics = {"loss": number + 0.1 / (epoch + 1), "val_loss": 0.3 / (epoch + 1), "val_ppv": float("nan")}
        self.announce(EpochEnded(f"t{number:04d}", epoch, metrics))

    def complete(self, number: int, **changes: Any) -> None:
        """A trial's files and its last event."""
        trial = f"t{number:04d}"
        staging = self.folder.staging(trial)
        staging.mkdir(parents=True)
        (staging / "report.txt").write_text(f"report of {trial}")
        fields: dict[str, Any] = {"metrics": {"val_roc_auc": number / 10}, "best_epoch": 1, "weights_digest": "w"}
        self.announce(TrialCompleted(trial=trial, score=number / 10, duration_s=2.0, **fields | changes))

    def play(self, *numbers: int) -> None:
        """Whole trials."""
        for number in numbers:
            self.begin(number)
            for epoch in range(2):
                self.epoch(number, epoch)
            self.complete(number)

    def end(self, status: Any = "finished") -> None:
        """The study's last event."""
        self.announce(StudyEnded(status, "", 9.0))

    def projection(self, warn: Callable[[str], None] = lambda text: None, **how: Any) -> Projection:
        """A projection at work on this study, as in a process that runs it."""
        tracker = Tracker(self.store, self.folder, self.uri, "tiny", must_answer=how.pop("must_answer", False))
        projection = Projection(self.folder, tracker, self.announce, warn, **{"pauses_s": QUICK} | how)
        self.listeners = [projection.notice]
        projection.start()
        return projection

    def project(self) -> None:
        """All of the journal, to the end."""
        assert self.projection().finish(30)

    def forget_cursor(self) -> None:
        """As if MLflow had nothing of the study."""
        (self.folder.root / "projection.json").unlink()

    def runs(self) -> dict[str, list[Run]]:
        """The study's runs in MLflow, by trial."""
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("tiny").experiment_id
        runs: dict[str, list[Run]] = {}
        for run in client.search_runs([experiment], f"tags.`pneumo.study` = '{self.folder.name}'"):
            runs.setdefault(run.data.tags.get("pneumo.trial", ""), []).append(run)
        return runs

    def run(self, trial: str = "") -> Run:
        """The one run of a trial, or of the study, with its inputs."""
        (run,) = self.runs()[trial]
        return MlflowClient(self.uri).get_run(run.info.run_id)

    def history(self, trial: str, metric: str) -> list[tuple[int, float, int]]:
        """All points of a metric."""
        points = MlflowClient(self.uri).get_metric_history(self.run(trial).info.run_id, metric)
        return [(point.step, point.value, point.timestamp) for point in points]

    def files(self, trial: str) -> set[str]:
        """Artifacts of a run."""
        return {file.path for file in MlflowClient(self.uri).list_artifacts(self.run(trial).info.run_id)}

    def picture(self) -> dict[str, Any]:
        """Everything MLflow says of the study."""
        return {
            trial: [(run.info.run_id, run.info.status, run.info.start_time, run.info.end_time, run.data.tags)]
            + [self.history(trial, metric) for metric in sorted(run.data.metrics)]
            for trial in self.runs()
            for run in [self.run(trial)]
        }


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, to be copied: making one takes seconds."""
    store = Store.at(tmp_path_factory.mktemp("template"))
    prepare_embedded(store)
    return store.database


def _copy(database: Path, place: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(place)) as copy:
        source.backup(copy)


@pytest.fixture
def store(tmp_path: Path, database: Path) -> Store:
    """A store with an empty database."""
    store = Store.at(tmp_path / "store")
    store.root.mkdir()
    _copy(database, store.database)
    return store


@pytest.fixture
def drama(store: Store) -> Drama:
    """A study that is logged to the store's own database."""
    return Drama(store)


def test_runs_bear_the_journals_times(drama: Drama) -> None:
    """Starts, ends and metrics are when the journal says, not when MLflow was written to."""
    drama.start()
    drama.play(1)
    drama.end()
    drama.project()
    begun = round(STARTED_AT * 1000)
    study, trial = drama.run(), drama.run("t0001")
    assert study.info.start_time == begun + 1000
    assert trial.info.start_time == begun + 2000
    assert trial.info.end_time == begun + 6000
    assert study.info.end_time == begun + 7000
    assert drama.history("t0001", "epoch/loss") == [(1, 1.1, begun + 4000), (2, 1.05, begun + 5000)]
    assert drama.history("t0001", "val_roc_auc") == [(0, 0.1, begun + 6000)]
    assert "epoch/val_ppv" not in trial.data.metrics
    assert drama.files("t0001") == {"report.txt"}
    assert not drama.folder.staging("t0001").exists()


def test_trials_are_written_while_the_study_runs(drama: Drama) -> None:
    """An epoch is to be seen before its trial ends."""
    projection = drama.projection(must_answer=True)
    drama.start()
    drama.begin(1)
    drama.epoch(1, 0)
    deadline = time.monotonic() + 30
    while projection.behind:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert drama.run("t0001").info.status == "RUNNING"
    assert len(drama.history("t0001", "epoch/loss")) == 1
    drama.epoch(1, 1)
    drama.complete(1)
    drama.end()
    assert projection.finish(30)
    assert projection.behind == 0
    assert drama.run("t0001").info.status == "FINISHED"
    assert len(drama.history("t0001", "epoch/loss")) == 2


def test_writing_everything_twice_changes_nothing(drama: Drama) -> None:
    """A process that dies before it moves the cursor leaves no doubles: runs, metrics, tags and times stay."""
    drama.start()
    drama.play(1, 2)
    drama.begin(3)
    drama.announce(TrialFailed("t0003", "loss became nan", 1.0))
    drama.end()
    drama.project()
    before, journal = drama.picture(), drama.folder.journal.read_bytes()
    drama.forget_cursor()
    drama.project()
    assert drama.picture() == before
    assert drama.folder.journal.read_bytes() == journal


@pytest.mark.parametrize("lost", ["", "t0001"])
def test_a_run_whose_link_was_not_recorded_is_found_again(drama: Drama, lost: str) -> None:
    """A process that dies between the making of a run and its entry in the journal leaves no second run."""
    drama.start()
    drama.play(1)
    announce = drama.announce

    def die(event: Event) -> None:
        if event == RunLinked(lost, getattr(event, "run_id", "")):
            raise StoreError("no space left")
        announce(event)

    drama.announce = die  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="no space left"):
        drama.projection().finish(30)
    drama.announce = announce  # type: ignore[method-assign]
    run = drama.run(lost).info.run_id
    drama.announce(StudyResumed(3, []))
    drama.play(2)
    drama.end()
    drama.project()
    assert {trial: len(runs) for trial, runs in drama.runs().items()} == {"": 1, "t0001": 1, "t0002": 1}
    assert drama.run(lost).info.run_id == run
    assert RunLinked(lost, run) in read_journal(drama.folder.journal)


def test_a_run_made_twice_because_an_answer_was_lost_is_removed(drama: Drama) -> None:
    """The call that "failed" had made a run after all: the one without a link, and so without content, goes."""
    drama.start()
    drama.play(1)
    drama.project()
    run = drama.run("t0001")
    client = MlflowClient(drama.uri)
    client.create_run(run.info.experiment_id, tags=run.data.tags)
    assert len(drama.runs()["t0001"]) == 2
    drama.announce(StudyResumed(3, []))
    drama.end()
    drama.project()
    assert drama.run("t0001").info.run_id == run.info.run_id


def test_a_long_trial_is_written_whole(drama: Drama) -> None:
    """More points than MLflow takes in one call, more lines than the projection takes in one go."""
    drama.start()
    drama.begin(1)
    epochs = 700
    for epoch in range(epochs):
        drama.epoch(1, epoch)
    drama.complete(1)
    drama.end()
    drama.project()
    for metric in ("epoch/loss", "epoch/val_loss"):
        assert [step for step, *_ in drama.history("t0001", metric)] == list(range(1, epochs + 1))
    assert drama.run("t0001").info.status == "FINISHED"


def test_statuses_and_tags_say_how_trials_ended(drama: Drama) -> None:
    """Failed with its reason, pruned as finished with a mark, lost attempts with theirs, a rung with its parent."""
    drama.start()
    drama.begin(1)
    drama.announce(AttemptFailed("t0001", 1, "was killed (SIGKILL)"))
    drama.announce(AttemptStarted("t0001", 2))
    drama.announce(AttemptFailed("t0001", 2, "took too long"))
    drama.announce(TrialFailed("t0001", "lost 2 times", 1.0))
    drama.begin(2, parent="t0001")
    drama.complete(2, pruned=True, variant_digests=["v1", "v2"], worker="tcp://10.0.0.3:41234 (node3)")
    drama.play(3)
    drama.end()
    drama.project()
    failed, pruned, plain = (drama.run(f"t000{number}") for number in (1, 2, 3))
    assert failed.info.status == "FAILED"
    assert failed.data.tags["pneumo.failure"] == "lost 2 times"
    assert failed.data.tags["pneumo.attempts"] == "2"
    assert failed.data.tags["pneumo.lost_attempts"] == "1: was killed (SIGKILL)\n2: took too long"
    assert pruned.info.status == "FINISHED"
    assert pruned.data.tags["pneumo.pruned"] == "true"
    assert pruned.data.tags["pneumo.parent_trial"] == "t0001"
    assert pruned.data.tags["pneumo.variant_digests"] == "v1 v2"
    assert pruned.data.tags["pneumo.worker"] == "tcp://10.0.0.3:41234 (node3)"
    assert not {"pneumo.pruned", "pneumo.attempts", "pneumo.parent_trial", "pneumo.worker"} & set(plain.data.tags)
    assert drama.run().data.tags["pneumo.best_trial"] == "t0003"
    assert drama.run().data.tags["pneumo.best_run"] == plain.info.run_id
    assert all(set(run.data.params) == set(FIELD_NAMES) for run in (failed, pruned, plain))


def test_an_interrupted_study_goes_on_in_the_same_runs(drama: Drama) -> None:
    """Killed on the way, running again after a resume, finished at last; what was forced leaves a mark."""
    drama.start()
    drama.play(1)
    drama.begin(2)
    drama.epoch(2, 0)
    drama.end("interrupted")
    drama.project()
    ids = {trial: drama.run(trial).info.run_id for trial in ("", "t0001", "t0002")}
    assert [drama.run(trial).info.status for trial in ids] == ["KILLED", "FINISHED", "KILLED"]
    projection = drama.projection()
    drama.announce(StudyResumed(5, ["code: pneumo_core/model.py changed"]))
    deadline = time.monotonic() + 30
    while projection.behind:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [drama.run(trial).info.status for trial in ids] == ["RUNNING", "FINISHED", "RUNNING"]
    drama.epoch(2, 1)
    drama.complete(2)
    drama.end()
    assert projection.finish(30)
    assert {trial: drama.run(trial).info.run_id for trial in ids} == ids
    assert [drama.run(trial).info.status for trial in ids] == ["FINISHED"] * 3
    assert [step for step, *_ in drama.history("t0002", "epoch/loss")] == [1, 2]
    assert drama.run().data.tags["pneumo.forced"] == "code: pneumo_core/model.py changed"
    assert drama.run().data.tags["pneumo.trials_wanted"] == "5"


def test_a_failure_that_a_resume_made_good_is_forgotten(drama: Drama) -> None:
    """The study's run does not bear the reason of an end that was not the last."""
    drama.start()
    drama.announce(StudyEnded("failed", "disk full", 1.0))
    drama.project()
    assert drama.run().data.tags["pneumo.failure"] == "disk full"
    drama.announce(StudyResumed(3, []))
    drama.play(1)
    drama.end()
    drama.project()
    assert "pneumo.failure" not in drama.run().data.tags
    assert drama.run().info.status == "FINISHED"


def test_a_run_that_a_user_deleted_is_told_once_and_left_out(drama: Drama) -> None:
    """What MLflow will never take holds up nothing else; the trial's files stay."""
    warnings: list[str] = []
    drama.start()
    drama.begin(1)
    drama.project()
    MlflowClient(drama.uri).delete_run(drama.run("t0001").info.run_id)
    drama.epoch(1, 0)
    drama.complete(1)
    drama.play(2)
    drama.end()
    assert drama.projection(warnings.append).finish(30)
    assert len(warnings) == 1
    assert "refuses a part of trial t0001" in warnings[0]
    assert drama.folder.staging("t0001").is_dir()
    assert drama.run("t0002").info.status == "FINISHED"
    assert drama.run().info.status == "FINISHED"


def test_plots_are_drawn_before_a_trials_files_go(drama: Drama) -> None:
    """With the trial's best epoch and class names, once, and only for trials that are written."""
    drawn: list[tuple[str, int, tuple[str, str]]] = []

    def draw(folder: Path, best_epoch: int, class_names: tuple[str, str]) -> None:
        (folder / "plots").mkdir()
        (folder / "plots" / "roc.png").write_text("")
        drawn.append((folder.name, best_epoch, class_names))

    drama.start()
    drama.play(1, 2)
    (drama.folder.staging("t0002") / "plots").mkdir()
    drama.end()
    assert drama.projection(draw=draw).finish(30)
    assert drawn == [("t0001", 1, ("N", "P"))]
    assert drama.files("t0001") == {"report.txt", "plots"}


def test_a_studys_report_is_drawn_before_its_files_go(drama: Drama) -> None:
    """Once for each good end, so that it says what the study came to, and replaces that of before."""
    drawn: list[str] = []

    def draw() -> None:
        place = drama.folder.staging("study")
        place.mkdir(parents=True)
        completed = [event for event in read_journal(drama.folder.journal) if isinstance(event, TrialCompleted)]
        drawn.append(f"after {len(completed)} trials")
        (place / "report.html").write_text(drawn[-1])

    drama.start()
    drama.play(1)
    drama.end("interrupted")
    assert drama.projection(draw_study=draw).finish(30)
    assert drawn == []
    drama.announce(StudyResumed(3, []))
    drama.play(2)
    drama.end()
    assert drama.projection(draw_study=draw).finish(30)
    drama.announce(StudyResumed(4, []))
    drama.play(3)
    drama.end()
    assert drama.projection(draw_study=draw).finish(30)
    assert drawn == ["after 2 trials", "after 3 trials"]
    assert "report.html" in drama.files("")


def test_a_report_that_cannot_be_drawn_stops_nothing(drama: Drama) -> None:
    """The study has its result, and the user one line."""
    told: list[str] = []

    def draw() -> None:
        raise ZeroDivisionError("a bug")

    drama.start()
    drama.play(1)
    drama.end()
    assert drama.projection(told.append, draw_study=draw).finish(30)
    assert told == ["no report could be written of study s (ZeroDivisionError: a bug); try again with: tune report s"]
    assert drama.run().info.status == "FINISHED"


def test_bugs_and_damaged_files_come_out_at_the_end(drama: Drama) -> None:
    """A thread that dies silently would lose the rest of the study."""
    drama.start()
    drama.play(1)

    def broken(folder: Path, best_epoch: int, class_names: tuple[str, str]) -> None:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        drama.projection(draw=broken).finish(30)
    with drama.folder.journal.open("a") as journal:
        journal.write("{\n")
    with pytest.raises(StoreError, match="damaged"):
        drama.projection().finish(30)


def test_a_study_that_never_began_has_nothing_to_write(drama: Drama) -> None:
    """Its own error is not hidden by one about its journal."""
    assert drama.projection().finish(5)


@pytest.fixture
def server(store: Store, tmp_path: Path) -> Iterator[Server]:
    """A server that is not started yet."""
    server = Server(store, tmp_path / "server.log")
    yield server
    server.kill()


def test_a_server_killed_in_mid_study_gets_everything_once_and_in_order(
    store: Store, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """No trial waits for it; one warning, one word when it is back, and nothing else on the terminal."""
    server.start()
    told: list[str] = []
    drama = Drama(store, server.uri)
    projection = drama.projection(told.append, must_answer=True)
    drama.start()
    drama.play(1)
    drama.begin(2)
    drama.epoch(2, 0)
    _until(lambda: projection.behind == 0)
    server.kill()
    begun = time.monotonic()
    drama.epoch(2, 1)
    drama.complete(2)
    drama.play(3)
    assert time.monotonic() - begun < 1.0
    _until(lambda: bool(told))
    time.sleep(1.0)
    assert len(told) == 1
    assert "takes nothing now (Connection refused)" in told[0]
    assert "tune sync s" in told[0]
    server.start()
    _until(lambda: projection.behind == 0)
    assert len(told) == 2
    assert "again" in told[1]
    drama.end()
    assert projection.finish(30)
    for number in (1, 2, 3):
        history = drama.history(f"t000{number}", "epoch/loss")
        assert [(step, value) for step, value, _ in history] == [(1, number + 0.1), (2, number + 0.05)]
        assert [at for *_, at in history] == sorted({at for *_, at in history})
        assert drama.run(f"t000{number}").info.status == "FINISHED"
        assert drama.files(f"t000{number}") == {"report.txt"}
    assert {trial: len(runs) for trial, runs in drama.runs().items()} == dict.fromkeys(
        ["", "t0001", "t0002", "t0003"], 1
    )
    before = drama.picture()
    drama.forget_cursor()
    drama.project()
    assert drama.picture() == before
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err == ""


def _until(happened: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_stays_away_keeps_nobody_for_ever(store: Store, server: Server) -> None:
    """Its end waits for its patience only, has its report, and says what is missing; `tune sync` brings it later."""
    told, drawn = list[str](), list[str]()
    drama = Drama(store, server.uri)
    projection = drama.projection(told.append, draw_study=lambda: drawn.append("report"))
    drama.start()
    drama.play(1)
    drama.end()
    begun = time.monotonic()
    assert not projection.finish(0.5)
    assert time.monotonic() - begun < 3
    assert drawn == ["report"]
    assert len(told) == 1
    assert "takes nothing now" in told[0]
    assert projection.behind > 0
    assert drama.folder.staging("t0001").is_dir()
    server.start()
    assert sync_study(store, "s", None, told.append)
    assert drama.run("t0001").info.status == "FINISHED"
    assert drama.files("t0001") == {"report.txt"}
    assert len(told) == 1


def test_a_server_that_never_answers_a_call_is_left_behind(store: Store) -> None:
    """It takes the connection and says nothing; the end of the study does not hang with it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        drama = Drama(store, f"http://127.0.0.1:{silent.getsockname()[1]}")
        projection = drama.projection()
        drama.start()
        begun = time.monotonic()
        assert not projection.finish(0.5)
        assert time.monotonic() - begun < 3


def test_a_database_that_cannot_be_written_for_a_while_is_waited_for(drama: Drama) -> None:
    """As when another program migrates it: told once, and everything is there when it is over."""
    told: list[str] = []
    drama.start()
    drama.project()
    with contextlib.closing(sqlite3.connect(drama.store.database)) as other:
        other.execute("ALTER TABLE runs RENAME TO runs_of_old")
        drama.play(1)
        projection = drama.projection(told.append)
        _until(lambda: bool(told))
        other.execute("ALTER TABLE runs_of_old RENAME TO runs")
    drama.end()
    assert projection.finish(30)
    assert len(told) == 2
    assert "(no such table: runs)" in told[0]
    assert len(drama.history("t0001", "epoch/loss")) == 2


def test_studies_of_dead_processes_are_closed(drama: Drama) -> None:
    """Killed in mid-trial: MLflow gets what the journal has, and no run stays as if it were running."""
    drama.start()
    drama.play(1)
    drama.begin(2)
    drama.project()
    drama.epoch(2, 0)
    with drama.folder.journal.open("a") as journal:
        journal.write('{"v":1,"at":17000')
    assert close_abandoned(drama.store, None) == ["s"]
    assert [drama.run(trial).info.status for trial in ("", "t0001", "t0002")] == ["KILLED", "FINISHED", "KILLED"]
    assert len(drama.history("t0002", "epoch/loss")) == 1
    assert drama.run("t0002").info.end_time == round(drama.now) * 1000
    assert close_abandoned(drama.store, None) == []
    drama.announce(StudyResumed(3, []))
    drama.complete(2)
    drama.end()
    drama.project()
    assert [drama.run(trial).info.status for trial in ("", "t0001", "t0002")] == ["FINISHED"] * 3
    assert close_abandoned(drama.store, None) == []


def test_studies_that_are_complete_cost_a_look(drama: Drama, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their journals are not read, whatever their length."""
    drama.start()
    drama.play(1)
    drama.end()
    drama.project()
    monkeypatch.setattr("tuning.sync.read_journal", lambda path: pytest.fail("read"))
    monkeypatch.setattr("tuning.backlog.read_entries", lambda path, start=0: pytest.fail("read"))
    assert close_abandoned(drama.store, None) == []


def test_damaged_files_of_a_trial_stop_nobody(drama: Drama) -> None:
    """A table that a power cut left empty costs the plots, with a word, and neither the study nor another one."""
    drama.start()
    drama.play(1)
    staging = drama.folder.staging("t0001")
    for name in ("scores.csv", "history.csv"):
        (staging / name).write_text("")
    drama.end()
    told: list[str] = []
    projection = drama.projection(told.append, draw=draw_plots)
    assert projection.finish(30)
    assert "plots of trial t0001 cannot be drawn" in told[0]
    assert drama.run("t0001").info.status == "FINISHED"


def test_studies_that_cannot_be_closed_stop_nobody(store: Store) -> None:
    """A server that is away, a password that is not known, a damaged journal, a process that runs its study."""
    Drama(store, "http://127.0.0.1:9", "away").start()
    Drama(store, "http://me:secret@127.0.0.1:9", "secret").start()
    damaged = Drama(store, None, "damaged")
    damaged.folder.journal.write_text("{}\n")
    held = Drama(store, None, "held")
    held.start()
    code = f"""
import time
from pathlib import Path
from tuning.store import StudyFolder
with StudyFolder(Path({str(held.folder.root)!r})).hold():
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        begun = time.monotonic()
        assert close_abandoned(store, None, limit_s=4) == []
        assert time.monotonic() - begun < 8
        with pytest.raises(StudyError, match=f"process {holder.pid}"):
            sync_study(store, "held", None, print)
    finally:
        holder.kill()
        holder.wait()
    with pytest.raises(TrackingError, match=r"me:\*\*\*@.* --tracking-uri"):
        sync_study(store, "secret", None, print)


def test_another_server_does_not_get_half_a_study(drama: Drama, tmp_path: Path, database: Path) -> None:
    """An address where the study's runs are not is told, and nothing is written there."""
    told: list[str] = []
    drama.start()
    drama.play(1)
    drama.project()
    drama.play(2)
    elsewhere = tmp_path / "other.db"
    _copy(database, elsewhere)
    tracker = Tracker(drama.store, drama.folder, f"sqlite:///{elsewhere}", "tiny", must_answer=False)
    projection = Projection(drama.folder, tracker, drama.announce, told.append, pauses_s=QUICK)
    projection.start()
    assert not projection.finish(2.0)
    assert "does not have the runs of this study" in told[0]
    assert sync_study(drama.store, "s", None, told.append)
    assert drama.run("t0002").info.status == "FINISHED"


def test_studies_of_the_version_before_are_left_as_they_are(drama: Drama) -> None:
    """They were logged as they happened, with other times: writing them again would double their metrics."""
    client = MlflowClient(drama.uri)
    run = client.create_run(client.create_experiment("tiny"), tags={"pneumo.study": "s"}).info.run_id
    drama.start(study_id="")
    drama.announce(RunLinked("", run))
    drama.play(1)
    drama.end("interrupted")
    assert close_abandoned(drama.store, None) == []
    drama.project()
    drama.announce(StudyResumed(3, []))
    drama.play(2)
    drama.end()
    drama.project()
    assert set(drama.runs()) == {"", "t0002"}
    assert drama.run().info.run_id == run
    assert drama.run().info.status == "FINISHED"


def test_a_folder_is_no_place_for_two(drama: Drama) -> None:
    """`tune sync` holds the study like a process that runs it."""
    drama.start()
    with StudyFolder(drama.folder.root).hold(), pytest.raises(StudyError, match="is being run by"):
        sync_study(drama.store, "s", None, print)
