"""What commands print: tables and plans for people, one JSON document for scripts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from tuning.progress import PatientConsole, ProgressView
    from tuning.record import StudyRecord


_MANY = 100
_ROWS_ON_A_TERMINAL = 50
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""With what stands for bytes that are no text; the line feed aside, which errors of many lines have."""


def complain(sentence: object) -> None:
    """Prints a line on stderr that names the program; control characters of file names do not reach the terminal."""
    print("tune:", printable(str(sentence)), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Returns a text without characters that would command a terminal, or could not be written to it."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def teller(opened: Console | None = None) -> Callable[[str], None]:
    """Sentences about what is going on, for people; never on stdout.

    Args:
        opened: console on stderr; where a live view is drawn, that of the view.
    """
    opened = opened or console(stderr=True)

    def tell(text: str) -> None:
        with contextlib.suppress(OSError):  # a display that is gone never stops the work
            opened.print(text, highlight=False, markup=False, soft_wrap=True)

    return tell


def console(*, stderr: bool = False) -> Console:
    """Returns a console as wide as its terminal, or as `$COLUMNS`; one that does not end the program on stderr."""
    if stderr:
        return patient_console()
    from tuning.progress import CleanConsole

    opened = CleanConsole()
    _widen(opened)
    return opened


def patient_console() -> PatientConsole:
    """Returns a console on stderr that does not end the program, and that threads can share."""
    from tuning.progress import PatientConsole

    opened = PatientConsole(stderr=True)
    _widen(opened)
    return opened


def _widen(opened: Console) -> None:
    """A pipe has no width; tables should not be folded to 80 columns."""
    if not opened.is_terminal and "COLUMNS" not in os.environ:
        opened.width = 200


def progress_view() -> ProgressView:
    """Returns the view of a study on stderr, without characters beyond ASCII if `$NO_UNICODE` says so."""
    from tuning.progress import ProgressView

    return ProgressView(patient_console(), plain=True if os.environ.get("NO_UNICODE") else None)


@contextlib.contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a bar on stderr while many things are worked through; nothing for a few, or where that is no terminal.

    Yields:
        A function that takes how many more are done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    opened = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_silent = not opened.is_terminal or total < _MANY
    with Progress(*columns, console=opened, transient=True, disable=is_silent) as bars:
        task = bars.add_task(what, total=total)
        yield lambda count: bars.advance(task, count)


def print_json(document: Any) -> None:
    """Prints the one document of a command; numbers that are none are an error, not NaN."""
    print(json.dumps(document, indent=2, allow_nan=False))


def print_leaderboard(
    record: StudyRecord, top: int | None = None, metric: str | None = None, where: Sequence[str] = ()
) -> None:
    """Prints the trials of a study, best first, and why trials failed.

    Args:
        record: of the study.
        top: rows to show; if None all, but on a terminal no more than leave the first ones in reach.
        metric: see `tuning.standings.make_leaderboard`.
        where: likewise.
    """
    from tuning.confirmed import confirmation_sentences
    from tuning.leaderboard_table import failures, leaderboard_sentences, leaderboard_table
    from tuning.standings import make_leaderboard

    opened = console()
    if not record.searched:
        print(f"study {record.started.study}: has no trial yet.", file=sys.stderr)
        return
    board = make_leaderboard(record, metric, where)
    top = top or (_ROWS_ON_A_TERMINAL if opened.is_terminal else None)
    opened.print(leaderboard_table(board, top, opened.width))
    is_page = opened.is_terminal or "COLUMNS" in os.environ
    for sentence in [*leaderboard_sentences(board, top), *failures(record), *confirmation_sentences(record)]:
        opened.print(sentence, highlight=False, markup=False, soft_wrap=not is_page)


def metric_lines(metrics: Mapping[str, float | None]) -> Iterator[str]:
    """Returns a promoted model's main metrics with their intervals, a line for each set of images."""
    for prefix, what in (("val", "validation"), ("test", "test folder")):
        shown = [
            f"{name.replace('_', ' ')} {metrics[f'{prefix}_{name}']:.3f} "
            f"({metrics[f'{prefix}_{name}_low']:.3f} to {metrics[f'{prefix}_{name}_high']:.3f})"
            for name in ("roc_auc", "sensitivity", "specificity", "brier")
            if metrics.get(f"{prefix}_{name}_low") is not None
        ]
        if shown:
            yield f"{what}: {', '.join(shown)}"


def print_plan(plan: dict[str, Any], as_json: bool) -> None:
    """Prints what `tuning.launch.plan_study` returned."""
    if as_json:
        print_json(plan)
        return
    images, goal = plan["data"]["images"], f"{plan['objective']} {plan['direction']}"
    print(f"space {plan['space']}: {plan['trials']} trials by {plan['algorithm']}, {goal}")
    folds = plan["data"]["folds"]
    divided = f"{images['training']} training, {images['validation']} validation images"
    if folds > 1:
        divided = f"{images['validation']} images in {folds} folds by patient"
    print(f"data {plan['data']['root']}: {divided}")
    for name, domain in plan["searched"].items():
        print(f"  search {name}: " + ", ".join(f"{key} {value}" for key, value in domain.items() if key != "name"))
    for known in plan["start_with"]:
        print("  start with " + " ".join(f"{name}={value}" for name, value in known.items()))
    fixed = {name: value for name, value in plan["config"].items() if name not in plan["searched"]}
    print("  fixed " + " ".join(f"{name}={value}" for name, value in fixed.items()))
    for line in _cost_lines(plan["cost"], plan["trials"]):
        print(line)


def _cost_lines(cost: dict[str, Any], trials: int) -> Iterator[str]:
    """What `tuning.costs.study_cost` returned, as sentences."""
    for item in cost["passes"]:
        of = f"variant {item['augmentation']} of the images" if item["augmentation"] else "the images"
        kept = f"{', '.join(item['cuts'])}, {_size(item['bytes'])}"
        state = "cached" if item["cached"] else f"about {duration(item['duration_s'])}, once"
        steps = "" if item["preprocessing"] == "squash" else f" ({item['preprocessing']})"
        yield f"frozen layers over {of} at {item['image_size']} px{steps}, up to {kept}: {state}"
    if confirm := cost["confirm"]:
        yield (
            f"confirming the leaders: {confirm['trainings']} trainings in {confirm['folds']} folds: about "
            f"{duration(confirm['s'])}"
        )
    if live := cost["live_augmentation"]:
        yield (
            f"live augmentation runs the frozen layers anew: about {duration(live['trial_s'])} of every such trial; "
            f"a kept variant takes {duration(live['variant_s'])} once (--set augmentation_variants=4 keeps four)"
        )
    spread = cost["trial_s"]
    yield (
        f"a trial: about {duration(spread['median'])} ({duration(spread['min'])} to {duration(spread['max'])}), less "
        f"if it stops early; {trials} trials{_side_by_side(cost['workers'])} and what comes before them: about "
        f"{duration(cost['study_s'])}"
    )
    disk = cost["disk"]
    yield (
        f"disk: {_size(disk['activations'])} of activations to come, up to {_size(disk['trial'])} a trial; "
        f"{_size(disk['free'])} free"
    )


def _side_by_side(workers: int) -> str:
    return f" on {workers} workers" if workers > 1 else ""


def duration(seconds: float) -> str:
    """Returns a time as people say it: 0.4 s, 38 s, 12 min, 3 h 20 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
