"""The report of a study: one page that holds together whatever became of the study."""

from __future__ import annotations

import dataclasses
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from synthetic import write_study
from typer.testing import CliRunner

from pneumo_core.errors import StoreError
from tuning.analysis.report import sections, write_report, write_report_files, write_whole
from tuning.analysis.report_account import failures, run_command
from tuning.analysis.report_charts import CHART_BYTES, Charts
from tuning.analysis.report_facts import ReportFacts, gather
from tuning.analysis.report_summary import summary
from tuning.cli import app
from tuning.document import Items, Section, as_page
from tuning.events import TrialConfirmed
from tuning.ranking import load_record
from tuning.store import Store

TITLES = [
    "Summary",
    "What was searched",
    "Best, confirmed, baseline",
    "History",
    "What mattered",
    "Configurations",
    "Learning curves",
    "ROC and calibration",
    "What its scores depend on",
    "Time and disk",
    "Failures",
    "What next",
    "Origin",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Studies that nobody trained: over, left half-done, of one trial, of none that completed."""
    made = Store.at(tmp_path_factory.mktemp("store"))
    write_study(made, "over", trials=25, failed=0.2)
    write_study(made, "half", trials=6, ended=False)
    write_study(made, "one", trials=1)
    write_study(made, "lost", trials=4, failed=1.0, pruned=0.0)
    lost = made.study("lost").journal
    lines = [line for line in lost.read_text().splitlines() if not _completes(line)]
    lost.write_text("\n".join(lines) + "\n")
    return made


@pytest.fixture(scope="module")
def facts(store: Store) -> ReportFacts:
    """Of the study that is over."""
    return gather(store, "over")


def _completes(line: str) -> bool:
    return json.loads(line)["event"] == "trial_completed"


def test_a_page_needs_nothing_else_and_says_what_was_found(store: Store, facts: ReportFacts) -> None:
    """No scripts, no addresses to load from; the numbers are those of the record."""
    page = write_report(store, "over").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == TITLES
    assert not re.findall(r"<script|<link|@import|url\((?!#)|(?:src|href)=\"(?!#|data:)", page)
    best = load_record(store, "over").best()
    assert best is not None
    assert facts.gain is not None
    for said in (best.trial, f"{best.score:.4f}", f"{facts.gain.value:+.4f}", "not confirmed"):
        assert said in page
    assert page.count("<svg") >= 5
    assert (store.study("over").root / "report.html").is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [("half", "The process of the study died: 6 of 6 trials are over"), ("one", "1 completed; finished"),
     ("lost", "No trial has completed")],
)  # fmt: skip
def test_a_study_is_reported_whatever_became_of_it(store: Store, tmp_path: Path, name: str, said: str) -> None:
    """With every section, and a word where there is nothing to show."""
    page = write_report(store, name, tmp_path / "r.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == TITLES
    assert said in page


def test_a_confirmed_winner_beside_an_unconfirmed_baseline_is_told(facts: ReportFacts) -> None:
    """What is missing then is the baseline, which is confirmed beside the leaders."""
    assert facts.best
    confirmed = TrialConfirmed(facts.best.trial, 1, 0.9, 0.8, 1.0, False, [0, 0, 0], None, {}, [], 0.5, 1.0)
    known = dataclasses.replace(facts, best=dataclasses.replace(facts.best, confirmed=confirmed))
    said = [" ".join(block.items) for block in summary(known) if isinstance(block, Items)]
    assert "the winner was confirmed and the baseline was not" in said[0].lower()


def test_reasons_of_failures_are_counted_and_never_taken_for_markup(store: Store, tmp_path: Path) -> None:
    """They hold whatever a library raised."""
    folder = write_study(Store.at(tmp_path), "s", trials=12, failed=0.5, seed=3)
    folder.journal.write_text(folder.journal.read_text().replace("became nan", "<img src=x>"))
    failed = load_record(Store.at(tmp_path), "s").count("failed")
    told = Section("Failures", [*failures(gather(Store.at(tmp_path), "s"))])
    assert f"<td>{failed}</td><td>loss &lt;img src=x&gt; in epoch 2</td>" in as_page("s", [told])
    assert failed > 2


def test_charts_are_left_out_before_the_page_grows_too_large(store: Store) -> None:
    """With a word in their place."""
    facts = gather(store, "one")
    whole, small = (
        as_page("one", sections(facts, Charts(facts, limit_bytes=limit))) for limit in (CHART_BYTES, 10_000)
    )
    assert "chart of learning curves is left out: with it the page would grow beyond its limit" in small
    assert small.count("<svg") < whole.count("<svg")
    assert len(small) < len(whole) - 10_000


def test_the_files_for_mlflow_are_page_charts_and_a_short_text(store: Store, tmp_path: Path) -> None:
    """MLflow shows pictures and Markdown beside the page; written again they are replaced."""
    for _ in range(2):
        write_report_files(store, "one", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md", "plots"}
    assert (tmp_path / "plots" / "optimization_history.png").stat().st_size > 1000
    text = (tmp_path / "report.md").read_text()
    assert "## Summary" in text
    assert "<svg" not in text


def test_a_damaged_journal_is_one_clear_line(tmp_path: Path) -> None:
    """Nothing half-read is reported."""
    folder = write_study(Store.at(tmp_path), "s", trials=2)
    folder.journal.write_text(folder.journal.read_text().replace("trial_started", "trial_st", 1))
    with pytest.raises(StoreError, match="line 3"):
        write_report(Store.at(tmp_path), "s")


def test_the_command_writes_the_page_and_prints_its_facts(store: Store, tmp_path: Path) -> None:
    """One JSON document on stdout, without NaN; the same best trial as the leaderboard."""
    out = tmp_path / "page.html"
    words = ["report", "one", "--store", str(store.root), "--out", str(out), "--no-explain", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout, parse_constant=pytest.fail)
    assert facts["report"] == str(out)
    best = load_record(store, "one").best()
    assert best is not None
    assert facts["best"]["trial"] == best.trial
    assert out.is_file()


def test_the_command_refuses_what_it_cannot_write(store: Store, tmp_path: Path) -> None:
    """Before any work is done."""
    wrong = CliRunner().invoke(app, ["report", "over", "--store", str(store.root), "--out", str(tmp_path / "a.png")])
    assert wrong.exit_code == 2
    assert "expected a name that ends in .html" in wrong.output


def test_the_command_that_makes_a_study_again_names_no_place(store: Store) -> None:
    """The report may be passed on; where files lay on this machine is nobody's business."""
    command = run_command(load_record(store, "over").started)
    assert command.startswith("tune run --space synthetic.yaml --data chest_xray --trials 25 --algorithm tpe --seed 0")
    assert "/" not in command


def test_the_command_names_the_study_whose_leaders_came_first(store: Store) -> None:
    """Without them it would be another study."""
    source = {"study": "first", "trials": ["t0003", "t0001"]}
    started = dataclasses.replace(load_record(store, "over").started, start_from=source)
    assert "--start-from first:2" in run_command(started)


def test_reports_written_at_once_are_whole(tmp_path: Path) -> None:
    """As by the end of a study and by `tune report`; and a link that somebody put there is not followed."""
    (tmp_path / "kept").write_text("kept")
    (tmp_path / ".page.html.unfinished").symlink_to(tmp_path / "kept")
    texts = [letter * 100_000 for letter in "abcd"]
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda text: write_whole(tmp_path / "page.html", text), texts * 10))
    assert (tmp_path / "page.html").read_text() in texts
    assert (tmp_path / "kept").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_stays_one(tmp_path: Path) -> None:
    """Whoever keeps the page elsewhere and a link where it is looked for gets the page there, also the first time."""
    (tmp_path / "there").mkdir()
    link, page = tmp_path / "r.html", tmp_path / "there" / "r.html"
    link.symlink_to(page)
    for text in ("first", "second"):
        write_whole(link, text)
        assert link.is_symlink()
        assert page.read_text() == text
    assert list(page.parent.iterdir()) == [page]
