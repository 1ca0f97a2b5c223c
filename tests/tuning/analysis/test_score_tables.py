"""Score tables of trials."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from pneumo_core.errors import StudyError, TrackingError
from tests.tuning.synthetic import write_study
from tuning.analysis import score_tables
from tuning.analysis.score_tables import ScoreTables
from tuning.events import TrialConfirmed
from tuning.ranking import load_record
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store, StudyFolder

TABLE = "path,group,subtype,label,fold,logit,probability\na.jpeg,17,,0,0,-1.0,0.27\nb.jpeg,18,virus,1,0,1.0,0.73\n"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Store, StudyFolder, StudyRecord]:
    """A synthetic study of a few trials, the last of which failed."""
    store = Store.at(tmp_path / "mlruns")
    folder = write_study(store, trials=3, failed=0.0, pruned=0.0)
    record = load_record(store, "made")
    record.trials["t0003"].status, record.trials["t0003"].reason = "failed", "out of memory"
    return store, folder, record


def _stage(folder: StudyFolder, trial: str, text: str = TABLE) -> None:
    folder.staging(trial).mkdir(parents=True)
    (folder.staging(trial) / "scores.csv").write_text(text)


def test_a_table_on_its_way_to_mlflow_is_read_where_it_lies(made: tuple[Store, StudyFolder, StudyRecord]) -> None:
    """Scores are there before MLflow has them, words that are empty stay words."""
    store, folder, record = made
    _stage(folder, "t0001")
    with ScoreTables(store, record) as tables:
        (table,) = tables.of(record.trials["t0001"])
    assert table["subtype"].tolist() == ["", "virus"]


def test_a_table_is_read_once(made: tuple[Store, StudyFolder, StudyRecord]) -> None:
    """The report asks for a winner's scores several times."""
    store, folder, record = made
    _stage(folder, "t0001")
    with ScoreTables(store, record) as tables:
        first = tables.of(record.trials["t0001"])[0]
        (folder.staging("t0001") / "scores.csv").unlink()
        assert tables.of(record.trials["t0001"])[0] is first


def test_a_confirmed_trial_has_a_table_for_each_seed(made: tuple[Store, StudyFolder, StudyRecord]) -> None:
    """They lie in the study's folder for good, and are those that its place was computed from."""
    store, folder, record = made
    runs = [TrialRecord(f"t0001-s{seed}", 9 + seed, {}, {}, status="completed") for seed in (1, 2)]
    record.trials |= {run.trial: run for run in runs}
    folder.confirmation.mkdir()
    for number, run in enumerate(runs):
        (folder.confirmation / f"{run.trial}.csv").write_text(TABLE.replace("1.0", f"{number + 2}.0"))
    place = TrialConfirmed("t0001", 1, 0.9, 0.8, 1.0, False, [0, 0, 0], None, {}, [r.trial for r in runs], 0.5, 1.0)
    leader = dataclasses.replace(record.trials["t0001"], confirmed=place)
    with ScoreTables(store, record) as tables:
        assert [table["logit"].tolist()[1] for table in tables.confirmed(leader)] == [2.0, 3.0]
        with pytest.raises(StudyError, match="made/t0002: expected a confirmed one"):
            tables.confirmed(record.trials["t0002"])


def test_what_cannot_be_had_is_said_in_one_line(made: tuple[Store, StudyFolder, StudyRecord]) -> None:
    """A failed trial, a table that is none, a run that was never made, a database that is gone: no traceback."""
    store, folder, record = made
    _stage(folder, "t0001", "path,label\na.jpeg,0\n")
    unlogged = dataclasses.replace(record.trials["t0002"], run_id=None)
    with ScoreTables(store, record) as tables:
        for trial, error, words in (
            (record.trials["t0003"], StudyError, "made/t0003: has no scores, as it is failed (out of memory)"),
            (record.trials["t0001"], StudyError, "got one without probability"),
            (unlogged, StudyError, "neither in "),
            (record.trials["t0002"], TrackingError, "mlflow.db: is not there"),
        ):
            with pytest.raises(error, match=re.escape(words)) as raised:
                tables.of(trial)
            assert "\n" not in str(raised.value)
    assert not store.database.exists(), "looking for scores made a database"


def test_what_mlflow_sends_is_gone_afterwards(
    made: tuple[Store, StudyFolder, StudyRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that the user gave is asked; no copy of the scores stays behind."""
    store, _, record = made
    asked = []

    def fetch(logged: StudyRecord, trial: TrialRecord, name: str, folder: Path) -> Path:
        asked.append((logged.started.tracking_uri, trial.trial, name, folder))
        (folder / name).write_text(TABLE)
        return folder / name

    monkeypatch.setattr(score_tables, "fetch_run_file", fetch)
    with ScoreTables(store, record, "http://user:secret@server") as tables:
        tables.of(record.trials["t0002"])
        assert asked[0][3].is_dir()
    assert asked[0][:3] == ("http://user:secret@server", "t0002", "scores.csv")
    assert not asked[0][3].exists()


def test_a_finished_study_has_its_tables_in_mlflow(finished: tuple[Store, StudyRecord, dict[str, object]]) -> None:
    """The real thing: what MLflow holds has a row for each validation image."""
    store, record, _ = finished
    best = record.best()
    assert best is not None
    with ScoreTables(store, record) as tables:
        (table,) = tables.of(best)
    assert isinstance(table, pd.DataFrame)
    assert len(table) == record.started.images["validation"]
