"""No look at the test folder goes unrecorded, and no model looks twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pneumo_core.config import TrialConfig
from pneumo_core.dataset import digest_of_test, index_dataset
from pneumo_core.errors import DatasetError, PromotionError, StoreError
from tuning.cli import app
from tuning.models.kept_scores import model_digest
from tuning.models.ledger import SPENT_AFTER, Candidate, Ledger, spent_sentence
from tuning.store import Store

MANIFEST = pd.DataFrame(
    {
        "path": ["test/A/b.png", "test/A/a.png", "test/B/c.png", "test/B/d.png", "train/A/e.png"],
        "label": [0, 0, 1, 1, 0],
        "subtype": ["na", "na", "b", "b", "na"],
        "group": ["007", "NA", "1e5", "4", "5"],
        "split": ["test"] * 4 + ["train"],
        "content_hash": list("vwxyz"),
    }
)
ONE = Candidate("study-1", "t0001", "vgg16", "1" * 64)
TWO = Candidate("study-1", "t0002", "vgg16", "2" * 64)


def _compute(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[["path", "group", "subtype", "label"]].assign(probability=[0.1, 1 / 3, 2 / 3, 0.1 + 0.2])


def _never(rows: pd.DataFrame) -> pd.DataFrame:
    raise AssertionError("the test folder was opened")


def _outcomes(store: Store) -> list[tuple[str, str]]:
    return [(entry.outcome, entry.trial) for entry in Ledger(store).entries()]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that need not be there yet."""
    return Store.at(tmp_path / "store with spaces")


def test_a_model_is_scored_once_and_its_scores_are_kept_to_the_last_digit(store: Store) -> None:
    """The second time no image is read, and table and metrics are those of the first."""
    first = Ledger(store, clock=lambda: 5.0).score(MANIFEST, ONE, _compute)
    again = Ledger(store).score(MANIFEST, ONE, _never)
    assert (first.reused, again.reused) == (False, True)
    assert first.table["path"].tolist() == ["test/A/a.png", "test/A/b.png", "test/B/c.png", "test/B/d.png"]
    assert first.table["probability"].tolist() == [0.1, 1 / 3, 2 / 3, 0.1 + 0.2]
    assert first.table["group"].tolist() == ["NA", "007", "1e5", "4"]
    pd.testing.assert_frame_equal(again.table, first.table)
    assert again.metrics == first.metrics
    opened, scored, reused = Ledger(store).entries()
    assert [entry.outcome for entry in (opened, scored, reused)] == ["opened", "scored", "reused"]
    assert (opened.at, opened.images, opened.test_digest) == (5.0, 4, digest_of_test(MANIFEST))
    assert (scored.study, scored.trial, scored.model, scored.model_digest) == ("study-1", "t0001", "vgg16", "1" * 64)
    assert scored.metrics == first.metrics
    assert (store.root / scored.scores).is_file()
    assert (reused.scores, reused.scores_digest) == (scored.scores, scored.scores_digest)
    assert (first.openings, again.openings) == (1, 1)


def test_another_model_and_other_test_images_are_other_openings(store: Store) -> None:
    """Scores belong to one model on one set of images; openings are counted for each set."""
    other = MANIFEST.assign(content_hash=list("uwxyz"))
    Ledger(store).score(MANIFEST, ONE, _compute)
    assert Ledger(store).score(MANIFEST, TWO, _compute).openings == 2
    assert Ledger(store).score(other, ONE, _compute).openings == 1
    assert [outcome for outcome, _ in _outcomes(store)] == ["opened", "scored"] * 3


def test_the_opening_is_on_disk_before_the_first_image_is_scored(store: Store) -> None:
    """What computes already finds the line."""
    seen: list[tuple[str, str]] = []

    def look(rows: pd.DataFrame) -> pd.DataFrame:
        seen.extend(_outcomes(store))
        return _compute(rows)

    Ledger(store).score(MANIFEST, ONE, look)
    assert seen == [("opened", "t0001")]


def test_test_rows_alone_are_handed_out(store: Store) -> None:
    """Whoever scores the test folder gets its images and no others."""
    Ledger(store).score(MANIFEST, ONE, lambda rows: _compute(rows) if set(rows["split"]) == {"test"} else _never(rows))


def test_a_failed_opening_counts_and_says_why(store: Store) -> None:
    """Images were seen; the next attempt opens the folder again."""

    def fail(rows: pd.DataFrame) -> pd.DataFrame:
        raise OSError(5, "disk gone")

    with pytest.raises(OSError, match="disk gone"):
        Ledger(store).score(MANIFEST, ONE, fail)
    assert Ledger(store).score(MANIFEST, ONE, _compute).openings == 2
    assert [outcome for outcome, _ in _outcomes(store)] == ["opened", "failed", "opened", "scored"]
    assert "disk gone" in Ledger(store).entries()[1].reason


def test_scores_of_other_images_are_not_kept(store: Store) -> None:
    """The classic bug, probabilities in another order than labels, cannot enter the record."""
    with pytest.raises(PromotionError, match="t0001: was scored on other images than those of test/"):
        Ledger(store).score(MANIFEST, ONE, lambda rows: _compute(rows)[::-1])
    assert not list(store.test_scores.rglob("*.csv"))


@pytest.mark.parametrize("moment", ["while scoring", "scores half written", "scores written, not recorded"])
def test_a_killed_process_leaves_a_true_story(store: Store, moment: str) -> None:
    """SIGKILL at each stage: the opening is counted, half a table is never read, a whole one is not computed again."""
    dies = {
        "while scoring": "module.KeptScores.write = die",
        "scores half written": "Path.replace = die",
        "scores written, not recorded": (
            "real = module.Ledger._append\n"
            "module.Ledger._append = lambda self, outcome, *a, **k: "
            "die() if outcome == 'scored' else real(self, outcome, *a, **k)"
        ),
    }
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "import test_ledger as t\n"
        "from tuning.models import ledger as module\n"
        "def die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{dies[moment]}\n"
        "module.Ledger(t.Store.at(sys.argv[2])).score(t.MANIFEST, t.ONE, t._compute)\n"
    )
    here = str(Path(__file__).parent)
    ended = subprocess.run([sys.executable, "-c", code, here, str(store.root)], check=False, env=os.environ)
    assert ended.returncode == -signal.SIGKILL
    assert _outcomes(store) == [("opened", "t0001")]
    kept = moment == "scores written, not recorded"
    result = Ledger(store).score(MANIFEST, ONE, _never if kept else _compute)
    assert result.reused == kept
    assert result.openings == (1 if kept else 2)
    assert result.table["probability"].tolist() == [0.1, 1 / 3, 2 / 3, 0.1 + 0.2]
    assert Ledger(store).score(MANIFEST, ONE, _never).reused


def test_processes_at_once_open_the_folder_once_for_a_model_and_lose_no_line(store: Store) -> None:
    """Three promotions of two models: two openings, one reuse; refusals in between stay whole lines."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "import test_ledger as t\n"
        "ledger = t.Ledger(t.Store.at(sys.argv[2]))\n"
        "candidate = getattr(t, sys.argv[3])\n"
        "def slow(rows): time.sleep(0.3); return t._compute(rows)\n"
        "for number in range(5): ledger.refuse(candidate, f'{number}' * 2000)\n"
        "ledger.score(t.MANIFEST, candidate, slow)\n"
    )
    here = str(Path(__file__).parent)
    processes = [
        subprocess.Popen([sys.executable, "-c", code, here, str(store.root), name]) for name in ("ONE", "TWO", "ONE")
    ]
    assert [process.wait(60) for process in processes] == [0] * 3
    outcomes = _outcomes(store)
    for trial, refused, others in (("t0001", 10, ["opened", "scored", "reused"]), ("t0002", 5, ["opened", "scored"])):
        mine = [outcome for outcome, of in outcomes if of == trial]
        assert mine.count("refused") == refused
        assert [outcome for outcome in mine if outcome != "refused"] == others


def test_a_torn_last_line_is_left_out_and_written_over(store: Store) -> None:
    """A crash in mid-write happened before the folder was opened; damage elsewhere is an error that names the line."""
    Ledger(store).score(MANIFEST, ONE, _compute)
    whole = store.test_ledger.read_bytes()
    store.test_ledger.write_bytes(whole + b'{"v":1,"at":7.0,"outcome":"ope')
    assert len(Ledger(store).entries()) == 2
    Ledger(store).refuse(ONE, "worse")
    assert [outcome for outcome, _ in _outcomes(store)] == ["opened", "scored", "refused"]
    store.test_ledger.write_bytes(b"{}\n" + whole)
    with pytest.raises(StoreError, match="line 1: damaged"):
        Ledger(store).entries()
    store.test_ledger.write_bytes(whole + b'{"v":2}\n')
    with pytest.raises(StoreError, match="line 3: written by another version"):
        Ledger(store).entries()


def test_scores_that_were_changed_are_not_believed(store: Store) -> None:
    """A better number cannot be written into the file; removing it costs an opening."""
    Ledger(store).score(MANIFEST, ONE, _compute)
    (file,) = store.test_scores.rglob("*.csv")
    file.write_text(file.read_text().replace("0.1", "0.0"))
    with pytest.raises(StoreError, match="were changed after they had been recorded"):
        Ledger(store).score(MANIFEST, ONE, _never)
    file.unlink()
    assert Ledger(store).score(MANIFEST, ONE, _compute).openings == 2


def test_refusals_are_recorded_with_their_reason(store: Store) -> None:
    """Before the test images are known, and after; they are no openings."""
    Ledger(store).refuse(ONE, "its weights are gone")
    Ledger(store).refuse(TWO, "no better than the champion", MANIFEST)
    first, second = Ledger(store).entries()
    assert (first.outcome, first.test_digest, first.reason) == ("refused", "", "its weights are gone")
    assert (second.test_digest, second.images) == (digest_of_test(MANIFEST), 4)
    assert Ledger(store).openings(digest_of_test(MANIFEST)) == 0


def test_the_test_set_is_said_to_be_spent_from_the_sixth_opening_on(store: Store) -> None:
    """A warning, not a refusal; reading kept scores does not spend it."""
    warnings = []
    for number in range(SPENT_AFTER + 2):
        candidate = Candidate("s", f"t{number}", "m", f"{number:064d}")
        warnings.append(Ledger(store).score(MANIFEST, candidate, _compute).warning)
        Ledger(store).score(MANIFEST, candidate, _never)
    assert [bool(warning) for warning in warnings] == [False] * SPENT_AFTER + [True, True]
    assert warnings[SPENT_AFTER].startswith("this test set was opened 6 times and is spent")
    assert not spent_sentence(0)


def test_a_test_folder_without_both_classes_is_refused_before_it_is_opened(store: Store) -> None:
    """Nothing could be said about it."""
    for manifest in (MANIFEST[MANIFEST["split"] == "train"], MANIFEST[MANIFEST["label"] == 1]):
        with pytest.raises(DatasetError, match=r"test/: expected images of both classes, found 0 negative"):
            Ledger(store).score(manifest, ONE, _never)
    assert not Ledger(store).entries()


def test_a_store_that_cannot_be_written_opens_nothing(store: Store) -> None:
    """What cannot be recorded is not done."""
    store.test_ledger.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"test ledger .* cannot be"):
        Ledger(store).score(MANIFEST, ONE, _never)


def test_a_moved_store_keeps_its_scores(store: Store, tmp_path: Path) -> None:
    """Nothing in the record is an absolute path."""
    Ledger(store).score(MANIFEST, ONE, _compute)
    shutil.move(store.root, tmp_path / "elsewhere")
    moved = Store.at(tmp_path / "elsewhere")
    assert Ledger(moved).score(MANIFEST, ONE, _never).reused
    assert str(store.root) not in moved.test_ledger.read_text()


def test_the_digest_of_a_test_set_is_that_of_its_images(phantoms: Path, tmp_path: Path) -> None:
    """Moved folders, other orders and other training images do not enter; content, name and label do."""
    digest = digest_of_test(index_dataset(phantoms).manifest)
    shutil.copytree(phantoms, tmp_path / "moved")
    next((tmp_path / "moved" / "train").rglob("*.jpeg")).unlink()
    assert digest_of_test(index_dataset(tmp_path / "moved").manifest) == digest
    mine = digest_of_test(MANIFEST)
    assert digest_of_test(MANIFEST[::-1]) == digest_of_test(MANIFEST[:4]) == mine
    assert digest_of_test(MANIFEST.assign(label=1)) != mine
    assert digest_of_test(MANIFEST.assign(content_hash=list("avwxz"))) != mine
    assert digest_of_test(MANIFEST.assign(path=MANIFEST["path"] + "g")) != mine
    assert digest_of_test(MANIFEST.assign(content_hash=list("vwxy!"))) == mine


def test_the_digest_of_a_model_is_that_of_all_that_decides_its_scores() -> None:
    """Configuration, backbone, trained arrays, temperature; not the order in which arrays were read."""
    arrays = {"b/bias": np.zeros(2, np.float32), "a/kernel": np.ones((2, 2), np.float32)}
    mine = model_digest(TrialConfig(), "w", arrays)
    assert model_digest(TrialConfig(), "w", dict(reversed(arrays.items()))) == mine
    others = {
        model_digest(TrialConfig(seed=1), "w", arrays),
        model_digest(TrialConfig(), "v", arrays),
        model_digest(TrialConfig(), "w", {**arrays, "b/bias": np.ones(2, np.float32)}),
        model_digest(TrialConfig(), "w", {**arrays, "a/kernel": np.ones((4, 1), np.float32)}),
        model_digest(TrialConfig(), "w", arrays, temperature=1.5),
    }
    assert len(others | {mine}) == 6


def test_the_ledger_can_be_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table for people with 80 columns, with openings numbered, and everything as JSON."""
    monkeypatch.setenv("COLUMNS", "80")
    store.check_writable()
    empty = CliRunner().invoke(app, ["data", "ledger", "--store", str(store.root)])
    assert "never opened" in empty.stderr
    for candidate in (ONE, TWO):
        Ledger(store, clock=lambda: 0.0).score(MANIFEST, candidate, _compute)
    Ledger(store).refuse(TWO, "[no] better", MANIFEST)
    shown = CliRunner().invoke(app, ["data", "ledger", "--store", str(store.root)])
    assert shown.exit_code == 0
    assert "spent" not in shown.stderr
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.stdout.splitlines() if "│" in line]
    rows, below = cells[::2], cells[1::2]
    assert [row[2] for row in rows] == ["opened (1)", "scored", "opened (2)", "scored", "refused"]
    assert (rows[0][0], below[0][0]) == ("1970-01-01", "00:00:00")
    assert (rows[1][3:], below[1][1:4]) == (["vgg16", "ROC AUC 0.7500"], ["4 images", "", "t0001 of study-1"])
    assert rows[4][4] == "[no] better"
    listed = json.loads(CliRunner().invoke(app, ["data", "ledger", "--json", "--store", str(store.root)]).stdout)
    assert [row["outcome"] for row in listed] == ["opened", "scored", "opened", "scored", "refused"]
    assert listed[0]["at"] == "1970-01-01T00:00:00+00:00"
    for number in range(SPENT_AFTER):
        Ledger(store).score(MANIFEST, Candidate("s", "t", "m", f"{number:064x}"), _compute)
    again = CliRunner().invoke(app, ["data", "ledger", "--store", str(store.root)])
    assert "was opened 7 times and is spent" in again.stderr
