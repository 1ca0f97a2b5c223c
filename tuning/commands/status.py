"""The command that says how studies stand, from any terminal."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, open_store
from tuning.output import console, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from tuning.status import StudyStatus, StudyTail
    from tuning.store import Store


def status(
    study: Annotated[
        str | None, typer.Argument(help="Name of the study; if left out, those that run, else the latest.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again until no process has the study.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Say how a study stands: progress, leaders, what runs, what failed, when it ends. Reads its journal only.

    With --watch the exit code is 0 if the study finished, 1 if it ended in any other way.

    Example: tune status vgg16-1 --watch
    """
    from tuning.status import StudyTail, look, studies_to_show

    opened = open_store(store).existing()
    names = [study] if study else studies_to_show(opened)
    if watch:
        _watch(opened, names, every, as_json=as_json)
        return
    seen = [look(opened, StudyTail(opened.study(name))) for name in names]
    if as_json:
        print_json(seen[0].document() if study else [each.document() for each in seen])
    elif not seen:
        print(f"no study in {opened.root} yet; start one with `tune run`.", file=sys.stderr)
    for at, each in enumerate([] if as_json else seen):
        if at:
            print()
        _print(each, console())


def _watch(store: Store, names: list[str], every_s: float, *, as_json: bool) -> None:
    """Shows one study until its end, then what became of it; silent until then if that is asked for as JSON."""
    from pneumo_core.errors import StudyError
    from tuning.status import StudyTail, look

    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise StudyError(f"--watch: expected the name of one study to look at, found {found}; name it.")
    tail = StudyTail(store.study(names[0]))
    if not as_json:
        _show_until_ended(store, tail, every_s)
    while tail.is_worked_on:
        time.sleep(every_s)
        tail.read_on()
    last = look(store, tail)
    if as_json:
        print_json(last.document())
    else:
        _print(last, console())
    if last.status != "finished":
        raise typer.Exit(1)


def _show_until_ended(store: Store, tail: StudyTail, every_s: float) -> None:
    """On a terminal the same lines over and over; elsewhere a line whenever something new can be said."""
    from rich.live import Live
    from rich.text import Text

    from tuning.status import look, summary_line

    opened, told = console(), ""
    if opened.is_interactive:
        with Live(console=opened, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
            while tail.is_worked_on:
                height = max(opened.height - 1, 1)
                live.update(Text("\n").join(_lines(look(store, tail), opened, height)[:height]), refresh=True)
                time.sleep(every_s)
                tail.read_on()
        return
    while tail.is_worked_on:
        line = summary_line(look(store, tail))
        if line != told:
            print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)
        told = line
        time.sleep(every_s)
        tail.read_on()


def _print(seen: StudyStatus, opened: Console) -> None:
    for line in _lines(seen, opened, 40):
        opened.print(line, soft_wrap=True)


def _ascii(line: str) -> str:
    return line.replace("×", "x").encode("ascii", "replace").decode()


def _lines(seen: StudyStatus, opened: Console, height: int) -> list[Text]:
    """Progress, leaders and curves, and below them what else there is to say."""
    from rich.text import Text

    from tuning.live.frame import frame
    from tuning.status import status_lines

    plain = opened.options.ascii_only or bool(os.environ.get("NO_UNICODE"))
    below = [Text(_ascii(line) if plain else line) for line in status_lines(seen)]
    above = frame(seen.standing, opened.width - 1, max(height - len(below) - 1, 2), plain=plain)
    return [*above, Text(), *below]
