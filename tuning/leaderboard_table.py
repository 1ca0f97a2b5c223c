"""The leaderboard for a terminal: as many columns as fit, and what they do not say in sentences below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tuning.analysis.baseline import trained_shorter
from tuning.analysis.gain import Gain
from tuning.grid import Column, Grid
from tuning.ranking import Criterion, Ends, format_value, objective_of
from tuning.record import StudyRecord, TrialRecord
from tuning.standings import Leaderboard, Row, parameter_names

_SHOWN_METRICS = ("val_roc_auc", "val_sensitivity", "val_specificity")
_NAMED_TRIALS = 5  # of those that failed for the same reason
_NAMED_REASONS = 5


def leaderboard_table(board: Leaderboard, top: int | None = None, width: int = 200) -> Grid:
    """Returns the leaderboard as a table.

    The baseline has its row in any case, the last, behind a line, if it is not among those shown. Parameters that are
    the same in all rows have no column; `leaderboard_sentences` names them.

    Args:
        board: what is to be shown.
        top: rows to show; all if None.
        width: of the terminal, in characters. Where a column for each parameter does not fit, they stand below their
            row, and what is still too much goes: further metrics, the interval that confirmation made needless, the
            duration.
    """
    rows = shown_rows(board, top)
    apart = board.baseline is not None and board.baseline not in board.rows[:top]
    lines = frozenset({len(rows) - 1} if apart and len(rows) > 1 else ())
    names = differing_parameters(board.record, rows)
    own = [Column(name.replace("_", " "), [_value(row.trial, name) for row in rows], right=False) for name in names]
    below = [_joined(row.trial, names) for row in rows]
    title, columns = _title(board), _Columns(board, rows)
    layouts = [
        Grid(title, columns.chosen(own, metrics=True), separate_before=lines),
        Grid(title, columns.chosen(own), separate_before=lines),
        Grid(title, columns.chosen(metrics=True), below, lines),
        Grid(title, columns.chosen(), below, lines),
        Grid(title, columns.chosen(brief=True), below, lines),
        Grid(title, columns.chosen(brief=True, duration=False), below, lines),
    ]
    return next((layout for layout in layouts if layout.width <= width), layouts[-1])


class _Columns:
    """All columns but those of parameters, and which of them a layout has."""

    def __init__(self, board: Leaderboard, rows: Sequence[Row]) -> None:
        criterion, objective = board.criterion, objective_of(board.record)
        trials = [row.trial for row in rows]
        self._head = [
            Column("#", [str(row.rank) for row in rows]),
            Column("trial", [trial.trial for trial in trials], right=False),
        ]
        self._confirmed, self._score = [], _scores(criterion, trials)
        if any(trial.confirmed for trial in trials):
            self._confirmed = [
                Column("confirmed", [_confirmed(trial, criterion) for trial in trials]),
                Column("95 %", [_ends(criterion.confirmed_ends(trial)) for trial in trials]),
            ]
        self._ends = [Column("95 %", [_ends(criterion.searched_ends(trial)) for trial in trials])]
        self._gain = [Column("gain", [_gain(board, row) for row in rows])] if board.baseline else []
        self._others = [] if criterion.is_objective else _scores(objective, trials)
        shown = [name for name in _SHOWN_METRICS if name not in (criterion.metric, objective.metric)]
        self._metrics = [
            column for name in shown for column in _scores(Criterion(name, True, is_objective=False), trials)
        ]
        of_all = {trial.status for trial in trials} == {"completed"}
        self._status = [] if of_all else [Column("status", [trial.status for trial in trials], right=False)]
        seconds = ["" if trial.duration_s is None else f"{trial.duration_s:.1f}" for trial in trials]
        self._duration = [Column("s", seconds)]

    def chosen(
        self, own: Sequence[Column] = (), *, metrics: bool = False, brief: bool = False, duration: bool = True
    ) -> list[Column]:
        """Returns the columns of a layout, those of parameters among them."""
        ends = [] if brief and self._confirmed else self._ends
        extra = [] if brief else [*self._others, *(self._metrics if metrics else [])]
        scores = [*self._head, *self._confirmed, *self._score, *ends, *self._gain, *extra]
        return [*scores, *self._status, *own, *(self._duration if duration else [])]


def _scores(criterion: Criterion, trials: Sequence[TrialRecord]) -> list[Column]:
    """One column, of the search."""
    values = [criterion.searched(trial) for trial in trials]
    return [
        Column(criterion.metric.removeprefix("val_"), ["" if value is None else f"{value:.4f}" for value in values])
    ]


def _title(board: Leaderboard) -> str:
    criterion, study = board.criterion, board.record.started.study
    order = "highest" if criterion.higher_is_better else "lowest"
    first = f"{'confirmed ones, then ' if board.record.places else ''}{order} first"
    return f"{study}: {criterion.metric}, {first}"


def _confirmed(trial: TrialRecord, criterion: Criterion) -> str:
    """Ties are those of the objective."""
    value = criterion.confirmed(trial)
    tied = trial.confirmed is not None and trial.confirmed.tied and criterion.is_objective
    return "" if value is None else f"{value:.4f}{' tied' if tied else ''}"


def _gain(board: Leaderboard, row: Row) -> str:
    if row == board.baseline:
        return "baseline"
    if row.gain is None:
        return ""
    return f"({row.gain.value:+.4f})" if _is_beside_confirmed(board, row) else f"{row.gain.value:+.4f}"


def _is_beside_confirmed(board: Leaderboard, row: Row) -> bool:
    """Whether a gain of scores in the search stands where others are of confirmed ones: the two do not compare."""
    beside = board.baseline is not None and board.baseline.trial.confirmed is not None
    return beside and row.gain is not None and row.gain.of == "search"


def _ends(interval: Ends) -> str:
    return " – ".join("?" if end is None else f"{end:.3f}" for end in interval)


def _value(trial: TrialRecord, name: str) -> str:
    return format_value(trial.params.get(name))


def _joined(trial: TrialRecord, names: Sequence[str]) -> str:
    """The active ones of the named parameters in one line."""
    return " ".join(f"{name}={_value(trial, name)}" for name in names if trial.params.get(name) is not None)


def shown_rows(board: Leaderboard, top: int | None) -> list[Row]:
    """Returns the first rows, and the baseline's."""
    rows = board.rows[:top]
    return [*rows, *([board.baseline] if board.baseline and board.baseline not in rows else [])]


def differing_parameters(record: StudyRecord, rows: Sequence[Row]) -> list[str]:
    """Returns the searched parameters that are not the same in all rows; all of them for a single row."""
    names = parameter_names(record)
    return [name for name in names if len(rows) < 2 or len({row.trial.params.get(name) for row in rows}) > 1]


def leaderboard_sentences(board: Leaderboard, top: int | None = None) -> Iterator[str]:
    """Yields what the table of the same arguments leaves out: rows, what is the same in all, what the gain is."""
    record, rows = board.record, shown_rows(board, top)
    there, wanted = len(board.rows), len(board.rows[:top])
    if board.conditions:
        yield f"{there} of {len(record.searched)} trials fulfil {', '.join(board.conditions)}"
    if wanted < there:
        yield f"the first {wanted} of {there}; --top {there} shows all"
    differing = differing_parameters(record, rows)
    same = [name for name in parameter_names(record) if name not in differing]
    if rows and (said := _joined(rows[0].trial, same)):
        yield f"the same in all rows: {said}"
    yield from _gain_sentences(board)
    if any(_is_beside_confirmed(board, row) for row in rows):
        yield "gains in brackets are of scores in the search: these trials were not confirmed, as the baseline was"


def _gain_sentences(board: Leaderboard) -> Iterator[str]:
    own, first = board.baseline, next(iter(board.rows), None)
    if own is None or first is None:
        return
    if first == own:
        found = "nothing better was found" if own.rank == 1 else f"in the whole study it has rank {own.rank}"
        yield f"the baseline, {own.trial.trial}, is first: {found}"
    elif first.gain:
        gained = _gained(first.gain, board.criterion.metric)
        short = "; but Hyperband stopped the baseline earlier" if trained_shorter(own.trial, first.trial) else ""
        yield f"gain of {first.trial.trial} over the baseline, {own.trial.trial}: {gained}{short}"


def _gained(gain: Gain, metric: str) -> str:
    if gain.of == "search":
        return f"{gain.value:+.4f} {metric} in the search, which flatters its leaders"
    if gain.ends is None:
        return f"{gain.value:+.4f} {metric}, both confirmed"
    low, high = gain.ends
    told = "; these images and seeds cannot tell them apart" if low <= 0 <= high else ""
    return f"{gain.value:+.4f} {metric} ({low:+.4f} to {high:+.4f}, 95 %), both confirmed{told}"


def failures(record: StudyRecord) -> Iterator[str]:
    """Yields a sentence for each reason for which trials failed, the most frequent first."""
    trials: dict[str, list[str]] = {}
    for trial in record.trials.values():
        if trial.status == "failed":
            trials.setdefault(trial.reason or "", []).append(trial.trial)
    reasons = sorted(trials, key=lambda reason: -len(trials[reason]))
    for reason in reasons[:_NAMED_REASONS]:
        names, more = trials[reason][:_NAMED_TRIALS], len(trials[reason]) - _NAMED_TRIALS
        yield f"{', '.join(names)}{f' and {more} more' if more > 0 else ''} failed: {reason}"
    if left := sum(len(trials[reason]) for reason in reasons[_NAMED_REASONS:]):
        yield f"{left} more failed for other reasons; --json has them all"
