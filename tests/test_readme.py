"""The README's road from clone to prediction is walked line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tuning.cli import app

README = Path(__file__).parents[1] / "README.md"


def _shape(line: str) -> str:
    """A line without what differs from machine to machine: numbers, widths, and the score's star."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.e+-]*", "#", line.replace("*", ""))).strip()


def test_every_line_of_the_road_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command runs in an empty folder and prints the lines shown, numbers aside, in their order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNE_STORE", raising=False)
    road = re.search(r"## From clone to prediction.*?```console\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert road
    transcripts = [block.splitlines() for block in re.split(r"^\$ ", road[1], flags=re.MULTILINE)[1:]]
    commands = [lines[0].split() for lines in transcripts if lines[0].startswith("tune ")]
    assert [words[1] for words in commands] == ["run", "leaderboard", "promote", "predict"]
    for line, *shown in transcripts:
        if line.startswith("tune "):
            result = CliRunner().invoke(app, line.split()[1:], prog_name="tune")
            assert result.exit_code == 0, result.stderr
            happened = iter([_shape(text) for text in (result.stderr + result.stdout).splitlines()])
            for expected in map(_shape, shown):
                assert expected in happened, f"{line}: {expected}"  # `in` an iterator: found, and in order
