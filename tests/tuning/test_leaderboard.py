"""Trials side by side: ranked by any metric, filtered, held against the baseline, on any terminal, quickly."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic import SPACE, hill, synthetic_space, write_study
from typer.testing import CliRunner, Result

from pneumo_core.errors import StudyError
from tuning import output
from tuning.analysis.baseline import baseline
from tuning.api import leaderboard
from tuning.cli import app
from tuning.events import StudyConfirmed, TrialConfirmed
from tuning.leaderboard_table import failures, leaderboard_sentences, leaderboard_table
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.standings import flat_rows, leaderboard_rows, make_leaderboard
from tuning.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a study of 60 trials, some failed and some pruned."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    write_study(store, trials=60, failed=0.1, pruned=0.1)
    return store


@pytest.fixture
def record(store: Store) -> StudyRecord:
    """Of that study, fresh for each test."""
    return load_record(store, "made")


def _tune(*words: object, store: Store, columns: int = 200) -> Result:
    environment = {"TUNE_STORE": str(store.root), "COLUMNS": str(columns)}
    return CliRunner(env=environment).invoke(app, [*map(str, words)], prog_name="tune")


def _lines(record: StudyRecord, width: int, top: int | None = None, where: Sequence[str] = ()) -> list[str]:
    file = io.StringIO()
    table = leaderboard_table(make_leaderboard(record, where=where), top, width)
    Console(file=file, width=width).print(table)
    return file.getvalue().splitlines()


def _confirm(record: StudyRecord, scores: dict[str, float]) -> None:
    """Gives trials a place, best first; differences have ends 0.01 to both sides."""
    first = max(scores.values()) if record.started.direction == "max" else min(scores.values())
    for rank, trial in enumerate(sorted(scores, key=lambda trial: abs(scores[trial] - first)), start=1):
        score, away = scores[trial], scores[trial] - first
        difference = [away, away - 0.01, away + 0.01] if rank > 1 else [0.0, 0.0, 0.0]
        metrics: dict[str, list[float | None]] = {"val_specificity": [1 - score, 0.0, 1.0]}
        record.apply(
            TrialConfirmed(
                trial, rank, score, score - 0.01, score + 0.01, False, difference, None, metrics, [], 0.5, 1.0
            )
        )
    record.apply(StudyConfirmed(next(iter(scores)), {"seeds": 2, "folds": 5}, {}, 2, None, None))


def test_the_gain_is_over_the_notebooks_recipe(record: StudyRecord) -> None:
    """Search scores with search scores; the baseline's own is nothing, a failed trial has none."""
    rows = leaderboard_rows(record)
    recipe = baseline(record)
    assert recipe is not None
    assert recipe.score is not None
    assert [row["trial"] for row in rows if row["baseline"]] == [recipe.trial]
    for row in rows:
        if row["status"] == "failed":
            assert (row["gain"], row["gain_of"]) == (None, None)
        else:
            assert row["gain"] == pytest.approx(row["score"] - recipe.score)
            assert row["gain_of"] == "search"
    assert [row["rank"] for row in rows] == list(range(1, 61))


def test_a_flat_row_has_the_interval_of_what_was_confirmed(record: StudyRecord) -> None:
    """In a spreadsheet too a confirmed score does not stand alone."""
    first, *_, last = leaderboard_rows(record)
    _confirm(record, {first["trial"]: 0.9})
    rows = {row["trial"]: row for row in flat_rows(leaderboard_rows(record))}
    confirmed = rows[first["trial"]]
    assert [confirmed[f"confirmed_{name}"] for name in ("rank", "score", "low", "high")] == [1, 0.9, 0.89, 0.91]
    assert "confirmed_low" not in rows[last["trial"]]


def test_a_gain_is_positive_where_less_is_better(tmp_path: Path) -> None:
    """In a study that minimizes, and for a metric of which less is better."""
    text = SPACE.replace("trials: 100", "trials: 100\nobjective: val_brier\ndirection: min")
    space = synthetic_space(text)
    write_study(Store.at(tmp_path), trials=20, space=space, surface=lambda values: 1 - hill(values))
    record = load_record(Store.at(tmp_path), "made")
    best = record.best()
    recipe = baseline(record)
    assert best is not None
    assert recipe is not None
    row = leaderboard_rows(record)[0]
    assert row["trial"] == best.trial
    assert row["gain"] == pytest.approx((recipe.score or math.nan) - (best.score or math.nan))


def test_confirmed_scores_are_compared_if_both_have_one(record: StudyRecord) -> None:
    """A mean over new seeds is never held against a score that was chosen for being high."""
    leader = record.ranked()[0].trial
    _confirm(record, {leader: 0.95, "t0001": 0.9})
    rows = {row["trial"]: row for row in leaderboard_rows(record)}
    assert (rows[leader]["gain_of"], rows[leader]["gain"]) == ("confirmed", pytest.approx(0.05))
    third = next(trial for trial in record.ranked() if trial.status == "completed" and not trial.confirmed)
    assert rows[third.trial]["gain_of"] == "search"
    told = "\n".join(leaderboard_sentences(make_leaderboard(record)))
    assert f"gain of {leader} over the baseline, t0001: +0.0500 val_roc_auc (+0.0400 to +0.0600, 95 %)" in told
    assert "gains in brackets are of scores in the search" in told
    assert f"({rows[third.trial]['gain']:+.4f})" in "\n".join(_lines(record, 200))


def test_a_baseline_that_is_not_confirmed_is_compared_in_the_search(record: StudyRecord) -> None:
    """Which is said to flatter the leaders."""
    leader = record.ranked()[0]
    _confirm(record, {leader.trial: 0.5})
    row = leaderboard_rows(record)[0]
    assert row["gain"] == pytest.approx((leader.score or math.nan) - (record.trials["t0001"].score or math.nan))
    assert "in the search, which flatters its leaders" in "\n".join(leaderboard_sentences(make_leaderboard(record)))


def test_another_metric_ranks_in_its_own_direction(record: StudyRecord) -> None:
    """Brier score upwards, specificity downwards, `val_` or not; failed trials last; gains in that metric."""
    for name, sign in (("brier", 1), ("val_brier", 1), ("specificity", -1)):
        rows = leaderboard_rows(record, name)
        full = f"val_{name.removeprefix('val_')}"
        values = [sign * row["metrics"][full] for row in rows if row["status"] == "completed"]
        assert values == sorted(values)
        assert rows[-1]["status"] == "failed"
        assert rows[0]["gain"] == pytest.approx(
            sign * (record.trials["t0001"].metrics[full] - rows[0]["metrics"][full])
        )


def test_another_metric_of_confirmed_trials_is_that_of_their_confirmation(record: StudyRecord) -> None:
    """Confirmed ones stay in front, ranked among themselves by what was confirmed."""
    one, other = record.ranked()[:2]
    _confirm(record, {one.trial: 0.95, other.trial: 0.9})  # the second has the higher specificity
    assert [row["trial"] for row in leaderboard_rows(record, "specificity")][:2] == [other.trial, one.trial]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("dropout<0.3", lambda row: row["params"]["dropout"] < 0.29),
        ("dropout <= 0.3", lambda row: row["params"]["dropout"] < 0.31),
        ("head_units>=128", lambda row: row["params"]["head_units"] >= 128),
        ("head_units = 128", lambda row: row["params"]["head_units"] == 128),
        ("class_weighting=balanced", lambda row: row["params"]["class_weighting"] == "balanced"),
        ("class_weighting!='none'", lambda row: row["params"]["class_weighting"] != "none"),
        ("status=failed", lambda row: row["status"] == "failed"),
        ("status==interrupted", lambda row: False),
        ("score>0.95", lambda row: row["score"] is not None and row["score"] > 0.95),
        ("val_specificity>0.85", lambda row: row["metrics"].get("val_specificity", 0) > 0.85),
        ("specificity>0.85", lambda row: row["metrics"].get("val_specificity", 0) > 0.85),
        ("gain>0", lambda row: (row["gain"] or 0) > 0),
        ("trial=t0007", lambda row: row["trial"] == "t0007"),
        ("backbone_lr_fraction!=1", lambda row: row["params"]["backbone_lr_fraction"] is not None),
        ("backbone_lr_fraction<1", lambda row: row["params"]["backbone_lr_fraction"] is not None),
    ],
)
def test_conditions_choose_trials(record: StudyRecord, condition: str, holds: Any) -> None:
    """What has no value fulfils none; the rank stays that in the whole study."""
    rows = leaderboard_rows(record)
    assert leaderboard_rows(record, where=[condition]) == [row for row in rows if holds(row)]


def test_a_number_is_found_as_the_table_shows_it(record: StudyRecord) -> None:
    """Four digits of a learning rate are enough."""
    shown = f"{record.trials['t0007'].params['learning_rate']:.4g}"
    for sign in ("=", "<=", ">="):
        assert "t0007" in [row["trial"] for row in leaderboard_rows(record, where=[f"learning_rate{sign}{shown}"])]


def test_all_conditions_must_hold(record: StudyRecord) -> None:
    """There is no `or`."""
    both = leaderboard_rows(record, where=["dropout<0.3", "head_units=512"])
    assert 0 < len(both) < len(leaderboard_rows(record, where=["dropout<0.3"]))
    assert all(row["params"]["dropout"] < 0.3 and row["params"]["head_units"] == 512 for row in both)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("dropuot<0.3", "did you mean dropout?"),
        ("dropout", "quote it ('dropout<0.3'), as shells take < and > for themselves"),
        ("dropout<0.3<0.4", "expected a name, one of = != < <= > >=, and a value"),
        ("=3", "expected a name, one of"),
        ("dropout<", "expected a name, one of"),
        ("dropout<nan", "expected a number to compare with, got nan"),
        ("dropout<low", "expected a number to compare with, got low"),
        ("class_weighting<none", "its values (balanced, none, sqrt) have no order"),
        ("class_weighting=balnced", "expected one of balanced, none, sqrt, got balnced"),
        ("status=done", "expected one of completed, failed, interrupted, pruned, running, got done"),
        ("__class__=x", "there is no __class__"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_refused_in_one_line(store: Store, condition: str, told: str) -> None:
    """With what was expected, and exit code 2."""
    result = _tune("leaderboard", "made", "--where", condition, store=store)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unknown_metric_is_answered_with_those_there_are(record: StudyRecord) -> None:
    """All of them, in one line."""
    names = "val_roc_auc, val_sensitivity, val_specificity, val_brier"
    with pytest.raises(StudyError, match=f"has no metric recall; there are: {names}"):
        make_leaderboard(record, "recall")


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_fits_its_terminal(record: StudyRecord, width: int) -> None:
    """Trial, score, gain, status and parameters at every width, nothing cut, no value torn apart."""
    lines = _lines(record, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    for trial in record.searched:
        assert trial.trial in text
        assert trial.score is None or f"{trial.score:.4f}" in text
        assert f"{trial.params['learning_rate']:.4g}" in text
    assert all(word in text for word in ("baseline", "pruned", "failed", "95 %"))
    assert "…" not in text


def test_the_baseline_is_always_shown(record: StudyRecord) -> None:
    """Behind a line, with its own rank, if it is not among the first or does not fulfil the conditions."""
    rank = next(row["rank"] for row in leaderboard_rows(record) if row["baseline"])
    assert rank > 3
    for where in ([], ["dropout<0.3"]):
        lines = _lines(record, 200, top=3, where=where)
        assert lines[-2].split()[1:4:2] == [str(rank), "t0001"]
        assert lines[-3].startswith("├")
    assert not any(line.startswith("├") for line in _lines(record, 200))


def test_parameters_that_do_not_differ_are_said_once(record: StudyRecord) -> None:
    """They take no column; what is left out is counted."""
    where = ["class_weighting=balanced", "unfrozen_layers=0"]
    text = "\n".join(_lines(record, 200, top=3, where=where))
    assert "class weighting" not in text
    assert "dropout" in text
    board = make_leaderboard(record, where=where)
    sentences = list(leaderboard_sentences(board, 3))
    assert f"{len(board.rows)} of 60 trials fulfil class_weighting=balanced, unfrozen_layers=0" in sentences
    assert f"the first 3 of {len(board.rows)}; --top {len(board.rows)} shows all" in sentences
    assert any(
        told.startswith("the same in all rows:") and told.endswith("unfrozen_layers=0 class_weighting=balanced")
        for told in sentences
    )


def test_a_terminal_gets_fifty_rows_and_a_pipe_all(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows stay in reach; `--top` asks for more."""
    shown = []
    for is_terminal, top in ((True, None), (True, 60), (False, None)):
        file = io.StringIO()
        opened = Console(file=file, width=200, force_terminal=is_terminal, color_system=None)
        monkeypatch.setattr(output, "console", lambda opened=opened: opened)
        output.print_leaderboard(load_record(store, "made"), top)
        shown.append("\n".join(line for line in file.getvalue().splitlines() if line.startswith("│")).count("│ t00"))
    assert shown == [50, 60, 60]


def test_failures_of_one_cause_are_one_sentence(record: StudyRecord) -> None:
    """A long study fails the same way many times."""
    failed = [trial.trial for trial in record.searched if trial.status == "failed"]
    assert len(failed) > 5
    (sentence,) = failures(record)
    assert sentence == f"{', '.join(failed[:5])} and {len(failed) - 5} more failed: loss became nan in epoch 2"


def test_a_study_without_a_baseline_has_no_gain(tmp_path: Path) -> None:
    """Nothing is invented where the space knows no configuration."""
    write_study(Store.at(tmp_path), trials=5, space=synthetic_space(SPACE.partition("start_with")[0]))
    record = load_record(Store.at(tmp_path), "made")
    assert {(row["baseline"], row["gain"]) for row in leaderboard_rows(record)} == {(False, None)}
    assert "gain" not in "\n".join(_lines(record, 200))


def test_a_study_without_trials_is_no_error(tmp_path: Path) -> None:
    """It has just begun; conditions and metrics that trials will have are taken."""
    store = Store.at(tmp_path)
    write_study(store, trials=0, ended=False)
    told = _tune("leaderboard", "made", store=store)
    assert (told.exit_code, told.stdout, told.stderr) == (0, "", "study made: has no trial yet.\n")
    asked = _tune("leaderboard", "made", "--where", "npv>0.9", "--metric", "brier", "--json", store=store)
    assert (asked.exit_code, json.loads(asked.stdout)) == (0, [])


@pytest.mark.parametrize("columns", [80, 200])
def test_the_list_of_studies_fits_its_terminal(store: Store, columns: int) -> None:
    """Nothing is cut: what has no room stands below."""
    text = _tune("list", store=store, columns=columns).stdout
    assert max(map(len, text.splitlines())) <= columns
    assert all(word in text for word in ("made", "synthetic", "finished", "val_roc_auc", "confirmed"))
    assert "…" not in text


def test_csv_has_the_same_columns_whatever_is_asked(store: Store, tmp_path: Path) -> None:
    """A row for each trial that fulfils the conditions, in their order; nothing else on stdout."""
    result = _tune("leaderboard", "made", "--where", "gain>0", "--csv", "-", "--top", 3, store=store)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    expected = leaderboard("made", store.root, where=["gain>0"])[:3]
    assert [row["trial"] for row in rows] == expected["trial"].tolist()
    assert [float(row["dropout"]) for row in rows] == expected["dropout"].tolist()
    file = tmp_path / "none.csv"
    assert _tune("leaderboard", "made", "--where", "gain>9", "--csv", file, store=store).stdout == ""
    assert file.read_text() == result.stdout.splitlines()[0] + "\n"
    both = _tune("leaderboard", "made", "--json", "--csv", "-", store=store)
    assert (both.exit_code, both.stdout) == (2, "")


def test_json_is_the_rows_alone(store: Store) -> None:
    """As many as asked for: the baseline is not added to them."""
    rows = json.loads(_tune("leaderboard", "made", "--json", "--top", 2, "--metric", "brier", store=store).stdout)
    assert [row["rank"] for row in rows] == [1, 2]
    assert not any(row["baseline"] for row in rows)
