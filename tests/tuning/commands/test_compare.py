"""`tune compare`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_scores import scored_study
from PIL import Image
from typer.testing import CliRunner, Result

from tuning.cli import app
from tuning.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A study with two scored trials."""
    store = Store.at(tmp_path_factory.mktemp("mlruns"))
    scored_study(store, "one", {"t0001": 1.0, "t0002": 3.0})
    return store


def _compare(store: Store, *words: object) -> Result:
    return CliRunner(env={"TUNE_STORE": str(store.root), "COLUMNS": "100"}).invoke(
        app, ["compare", *map(str, words)], prog_name="tune"
    )


def test_curves_and_page_are_written_and_the_page_needs_no_other_file(store: Store, tmp_path: Path) -> None:
    """One command for the terminal, a picture and a page."""
    plot, page = tmp_path / "roc.png", tmp_path / "page.html"
    result = _compare(store, "one/t0001", "one/t0002", "--plot", plot, "--html", page)
    assert result.exit_code == 0, result.output
    assert "better than one/t0001" in " ".join(result.stdout.split())
    with Image.open(plot) as image:
        assert image.size[0] > 400
    text = page.read_text()
    assert "data:image/png;base64," in text
    assert "one/t0002 against one/t0001" in text
    assert "http" not in text


def test_json_is_the_only_thing_on_stdout(store: Store, tmp_path: Path) -> None:
    """For scripts, whatever else is written."""
    result = _compare(store, "one/t0001", "one/t0002", "--json", "--plot", tmp_path / "roc.svg")
    assert json.loads(result.stdout)["less_reference"]["one/t0002"]["images"] == 240


def test_without_any_scores_no_curves_are_drawn_and_the_rest_is_shown(store: Store, tmp_path: Path) -> None:
    """Whoever asked for a picture is told."""
    result = _compare(store, "one/t0003", "one/t0004", "--plot", tmp_path / "roc.png")
    assert result.exit_code == 0
    assert "no ROC curves are drawn" in result.stderr
    assert "What differs" in result.stdout
    assert not (tmp_path / "roc.png").exists()


def test_a_name_typed_wrong_ends_with_one_line_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    """Exit code 2, as for all bad input."""
    result = _compare(store, "one/t0001", "on/t0002", "--html", tmp_path / "page.html")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"tune: study on: not found in {store.root}; did you mean one."]
    assert not (tmp_path / "page.html").exists()


@pytest.mark.slow  # a process of its own that imports scikit-learn and matplotlib
def test_it_does_not_wait_for_tensorflow() -> None:
    """Eleven seconds of import for numbers that are there already."""
    code = (
        "import sys, tuning.analysis.comparison_sections, tuning.terminal_document, pneumo_core.plots; "
        "assert not {'tensorflow', 'keras', 'mlflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
