"""What the documents show exists: command lines parse; pictures are small, used, and need no network."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tuning.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "Makefile"]
IMAGES = ROOT / "docs" / "images"
_SHELL = {"|", "||", "&&", ";", ">", "2>", "&", "[", "]", ")"}


def _command_lines(text: str) -> Iterator[str]:
    """The lines of code blocks that call the program, those that go on with a backslash joined."""
    for block in re.findall(r"```\w*\n(.*?)```", text.replace("\\\n", " "), flags=re.DOTALL):
        for line in block.splitlines():
            if called := re.match(r"\s*(?:\$ )?(?:nohup |time |%env .*|[A-Z_]+=\S+ )?(tune .*)", line):
                yield called[1]


def _spans(text: str) -> Iterator[str]:
    """What is named in running text: `tune …` with its options, arguments left out or abbreviated."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from re.findall(r"`(tune [^`]*)`", prose.replace("\\|", "|"))


def _words(line: str) -> list[str]:
    """The arguments of a shell line, up to where another command begins."""
    line = re.sub(r"\[(--[^\]]*)\]", r"\1", line)  # what a synopsis calls optional
    words = shlex.split(line, comments=True)[1:]
    ends = [number for number, word in enumerate(words) if word in _SHELL]
    return words[: ends[0]] if ends else words


@functools.cache
def _program() -> Any:
    return typer.main.get_command(app)


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and the words that are left."""
    command = _program()
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            raise LookupError(f"there is no command {words[0]}")
        command, words = command.commands[words[0]], words[1:]
    return command, words


def _parse(line: str) -> None:
    """Parses a whole line as the program would, without doing what it says; raises what the parser has against it."""
    command, words = _command(_words(line))
    words = [word for word in words if not word.endswith("…")]  # and so on
    if not words and hasattr(command, "commands"):
        return
    command.make_context("tune", words)


def _check_options(span: str) -> None:
    """Command and options that a span of text names exist; what they are given is not looked at."""
    first = re.split(r"[|…]", span)[0] if re.match(r"tune \w+\|", span) else span
    names = [word for word in first.split()[1:] if re.fullmatch(r"[a-z-]+", word)]
    command, _ = _command(_leading_names(names))
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for option in re.findall(r"(?<!\S)\[?(--[a-z-]+)", span):
        if option not in known | {"--help"}:
            raise LookupError(f"there is no option {option}")


def _leading_names(words: list[str]) -> list[str]:
    """The words that can be names of commands: those in front of the first option."""
    return words[: next((number for number, word in enumerate(words) if word.startswith("-")), len(words))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_of_the_documents_parse(page: Path) -> None:
    """Whoever copies a line meets no unknown command, option, or missing argument."""
    text, faults = page.read_text(), []
    for check, lines in ((_parse, _command_lines(text)), (_check_options, _spans(text))):
        for line in lines:
            try:
                check(line)
            except Exception as error:  # the parser's own kinds of error are none of its public names
                words = error.format_message() if hasattr(error, "format_message") else error
                faults.append(f"{line}: {words}")
    assert not faults, "\n".join(faults)


def test_pictures_are_small_and_shown() -> None:
    """A clone stays small: at most 300 kB a picture and 3 MB in all, and none that no document shows."""
    pictures = [path for path in IMAGES.iterdir() if path.suffix in {".png", ".svg"}]
    assert max(path.stat().st_size for path in pictures) <= 300_000
    assert sum(path.stat().st_size for path in pictures) <= 3_000_000
    shown = "\n".join(page.read_text() for page in PAGES)
    assert not [path.name for path in pictures if f"images/{path.name}" not in shown]


def test_drawings_fetch_nothing() -> None:
    """A drawing shows the same to a reader without a network."""
    for path in IMAGES.glob("*.svg"):
        addresses = set(re.findall(r"(?:url\(|href=)[\"']?(?!#)([^\"')]*)", path.read_text()))
        assert not addresses, f"{path.name}: {addresses}"
