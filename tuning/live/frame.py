"""The live part of the terminal: a study's progress, its leaders and what is running, in as many lines as there are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text

from tuning.live.standing import Standing, epochs_wanted, varying
from tuning.live.text_curves import plot, sparkline
from tuning.live.words import counts, gain_words, interval_of, score_of, time_left, values_words
from tuning.ranking import format_value
from tuning.record import TrialRecord

_TOP = 5
_SPARK = 10  # characters
_FEWEST_ROWS, _MOST_ROWS = 3, 8  # of a plot
_PLOT_FRAME = 2  # lines: title and axis
_SPACING = 2  # empty lines between the parts
_PLOT_WIDTH = 60  # characters at most
_GAP = "  "


def frame(standing: Standing, width: int, height: int, *, plain: bool = False) -> list[Text]:
    """Returns how a study stands, in lines that fit.

    Args:
        standing: of the study.
        width: characters of a line.
        height: lines at most. Of few lines the progress gets the first, then trials that run, then leaders; curves
            and empty lines come if there is room.
        plain: use ASCII characters.
    """
    lines = [*_header(standing, width, plain=plain)][:height]
    running = _running(standing, max(height - len(lines), 0), width, plain=plain)
    room = height - len(lines) - len(running)
    leaders = _leaderboard(standing, width, room, plain=plain)
    room -= len(leaders)
    curves = _curves(standing, width, min(room - _PLOT_FRAME - _SPACING, _MOST_ROWS), plain=plain)
    room -= len(curves)
    for block in (leaders, running):
        if block and room > 0:
            lines, room = [*lines, Text()], room - 1
        lines += block
    lines += curves
    for line in lines:
        line.truncate(width, overflow="crop" if plain else "ellipsis")
    return lines


def progress_bar(done: float, width: int, *, plain: bool = False) -> Text:
    """Returns a bar.

    Args:
        done: fraction.
        width: characters.
        plain: use ASCII characters.
    """
    full = min(max(round(done * width), 0), width)
    return Text(("=" if plain else "━") * full, "green") + Text(("-" if plain else "─") * (width - full), "dim")


def _header(standing: Standing, width: int, *, plain: bool) -> list[Text]:
    record = standing.record
    if standing.confirms:
        done, total = standing.retrained, standing.retrainings
    else:
        done, total = standing.done, record.trials_wanted
    parts = sum(_part(trial) for trial in _under_way(standing))
    bar = progress_bar((done + parts) / max(total, 1), min(max(width // 6, 8), 30), plain=plain)
    head = Text.assemble((record.started.study, "bold"), _GAP, standing.stage(), _GAP, bar, f"{_GAP}{done}/{total}")
    left, counted = Text(time_left(standing)), Text(counts(standing), "dim")
    if left and len(head) + len(_GAP) + len(left) <= width:
        return [head.append(_GAP).append_text(left), counted]
    return [head, left, counted] if left else [head, counted]


def _under_way(standing: Standing) -> list[TrialRecord]:
    """Trials that are running, the longest running first."""
    return [standing.record.trials[trial] for trial in standing.running]


def _part(trial: TrialRecord) -> float:
    return trial.epochs / epochs_wanted(trial)


def _running(standing: Standing, room: int, width: int, *, plain: bool) -> list[Text]:
    """Trials that run, in half of the room at most if they are many, and how many more there are."""
    trials, limit = _under_way(standing), max(room // 2, min(room, 2))
    shown = trials if len(trials) <= limit else trials[: max(limit - 1, min(room, 1))]
    lines = [_running_line(standing, trial, width, plain=plain) for trial in shown]
    if len(shown) < min(len(trials), room):
        lines.append(Text(f"and {len(trials) - len(shown)} more", "dim"))
    return lines


def _running_line(standing: Standing, trial: TrialRecord, width: int, *, plain: bool) -> Text:
    total = epochs_wanted(trial)
    line = Text.assemble((trial.trial, "bold"), _GAP)
    line.append_text(progress_bar(_part(trial), min(max(width // 8, 6), 20), plain=plain))
    line.append(f"{_GAP}{trial.epochs}/{total} epochs{_GAP}")
    if trial.epochs == trial.first_epoch:
        line.append("before its first epoch", "dim")
    for name, curve in _named_curves(standing, trial):
        value = curve[max(curve)]
        drawn = sparkline(list(curve.values()), _SPARK, plain=plain) if len(curve) > 1 else ""
        line.append(f"{name.removeprefix('val_')} {value:.4f} {drawn}{_GAP}")
    return line.append(f"{_GAP if line.plain.endswith('epoch') else ''}{values_words(trial)}", "dim")


def _named_curves(standing: Standing, trial: TrialRecord) -> list[tuple[str, dict[int, float]]]:
    """The validation loss and the objective of a trial so far, as far as they are told and finite."""
    both = {"val_loss": standing.losses(trial), standing.record.started.objective: standing.scores(trial)}
    finite = {name: {e: v for e, v in curve.items() if math.isfinite(v)} for name, curve in both.items()}
    return [(name, curve) for name, curve in finite.items() if curve]


def _curves(standing: Standing, width: int, height: int, *, plain: bool) -> list[Text]:
    """Plots of the trial that has run longest, side by side where there is room."""
    trial = next((trial for trial in _under_way(standing) if len(standing.losses(trial)) > 1), None)
    if trial is None or height < _FEWEST_ROWS:
        return []
    curves = _named_curves(standing, trial)
    each = min((width - len(_GAP)) // max(len(curves), 1), _PLOT_WIDTH)
    if each < 20:
        curves, each = curves[:1], min(width, _PLOT_WIDTH)
    several = len(standing.running) > 1
    drawn = [
        plot(
            curve,
            f"{name} of {trial.trial}" if several else name,
            last=epochs_wanted(trial),
            width=each - 1,
            height=height,
            plain=plain,
        )
        for name, curve in curves
    ]
    return [Text(_GAP.join(f"{part:{each}}" for part in row).rstrip()) for row in zip(*drawn, strict=True)]


def _leaderboard(standing: Standing, width: int, room: int, *, plain: bool) -> list[Text]:
    """The leaders under a heading, the baseline below them if it is not among them, and what was gained over it."""
    told = gain_words(standing)
    top = min(_TOP, room - 1 - bool(told))
    leaders = standing.leaders(top) if top > 0 else []
    base = standing.baseline
    if base is not None and leaders and base not in leaders:
        leaders = [*(leaders[:-1] if len(leaders) + 2 + bool(told) > room else leaders), base]
    if not leaders:
        return []
    lines = _rows(standing, leaders, width, plain=plain)
    return [*lines, *([Text(f"{_GAP}{told}", "italic")] if told else [])]


def _rows(standing: Standing, trials: Sequence[TrialRecord], width: int, *, plain: bool) -> list[Text]:
    objective, names = standing.record.started.objective.removeprefix("val_"), varying(list(trials))
    rows = [["#", "trial", objective, "95 %", "", *names]]
    for trial in trials:
        ends = (" - " if plain else " – ").join("?" if e is None else f"{e:.3f}" for e in interval_of(standing, trial))
        cells = [str(standing.rank(trial)), trial.trial, f"{score_of(trial):.4f}", ends, _marks(standing, trial)]
        rows.append([*cells, *(format_value(trial.params.get(name)).replace("–", "-") for name in names)])
    if not any(row[4] for row in rows):
        rows = [[*row[:4], *row[5:]] for row in rows]
    if sum(max(map(len, column)) + len(_GAP) for column in zip(*rows, strict=True)) > width:
        fixed = len(rows[0]) - len(names)
        joined = [values_words(trial, names) for trial in trials]
        rows = [[*row[:fixed], what] for row, what in zip(rows, ["parameters", *joined], strict=True)]
    return _aligned(rows)


def _marks(standing: Standing, trial: TrialRecord) -> str:
    """What has to be known of a score to compare it with others."""
    confirmed = ["confirmed"] * (trial.confirmed is not None)
    base = ["baseline"] * (trial is standing.baseline)
    return ", ".join([*confirmed, *base, *["pruned"] * (trial.status == "pruned")])


def _aligned(rows: Sequence[Sequence[str]]) -> list[Text]:
    """Rows with their cells below one another, the rank to the right; the heading dim, the first row bold."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    styles = ["dim", "bold green", *[""] * len(rows)]
    lines = []
    for row, style in zip(rows, styles, strict=False):
        rank, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(Text(_GAP.join([rank.strip().rjust(widths[0]), *others]).rstrip(), style))
    return lines
