"""The view of a running study: a line for each trial; below them, on a terminal, how the study stands."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from tuning.confirmed import confirmation_sentences
from tuning.events import (
    AttemptFailed,
    Event,
    StudyConfirmed,
    StudyEnded,
    StudyResumed,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
)
from tuning.live.frame import frame
from tuning.live.standing import Standing
from tuning.live.words import values_words
from tuning.output import printable
from tuning.protocol import images_in_words
from tuning.record import StudyRecord, TrialRecord

_REFRESH_S = 0.25
_REST = 20  # times as long as it took to draw: nobody waits for the view
_LINES_LEFT = 4  # to what scrolls above


class CleanConsole(Console):
    """A console that no text can command: control characters, as of a file's name, do not reach the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """As rich's; what rich itself says to the terminal stays."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            yield segment if text is segment.text else Segment(text, segment.style)


class PatientConsole(CleanConsole):
    """A console that falls silent when its pipe or terminal is closed, instead of ending the program.

    Attributes:
        printing: held while something is printed, so that threads do not move the cursor for lines that are no more.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.printing = threading.RLock()

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, one thread at a time."""
        with self.printing:
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Called by rich, whose own way is to exit."""
        self.quiet = True


class ProgressView:
    """A study's listener that shows what happens; a context manager, at whose end the terminal is as it was.

    Args:
        console: where to; how the study stands is drawn only if it is a terminal that can move its cursor. Whoever else
            writes to that terminal meanwhile does so by the same console, or by `sys.stderr` and `sys.stdout`.
        plain: use ASCII characters; where the console's encoding has no others if None.
        clock: wall clock in seconds since 1970.

    Attributes:
        console: see above.
    """

    def __init__(
        self, console: PatientConsole, *, plain: bool | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.console, self._clock = console, clock
        self._plain = console.options.ascii_only if plain is None else plain
        self._standing: Standing | None = None
        self._screen: _Screen | None = None
        self._is_excused = False

    @property
    def is_plain(self) -> bool:
        """Whether there are lines only."""
        return not self.console.is_interactive

    def __enter__(self) -> ProgressView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, event: Event, record: StudyRecord) -> None:
        """Shows one event; neither a display that is gone nor a mistake in here ever stops the study."""
        try:
            self._show(event, record)
        except Exception as error:
            self._excuse(error)

    def _show(self, event: Event, record: StudyRecord) -> None:
        standing = self._heard(event, record)
        match event:
            case StudyStarted():
                self._start(standing, f"{event.trials} trials")
            case StudyResumed(search=False):
                self._start(standing, f"confirms its leaders; {len(record.searched)} trials")
            case StudyResumed():
                self._start(standing, f"goes on at {standing.done} of {event.trials} trials")
            case AttemptFailed():
                self._say(f"{event.trial}  attempt {event.attempt} lost: {event.reason}")
            case TrialCompleted():
                trial = record.trials[event.trial]
                self._say_end(trial, _score_text(standing, trial))
            case TrialFailed():
                self._say_end(record.trials[event.trial], f"failed: {event.reason}")
            case StudyConfirmed():
                for sentence in confirmation_sentences(record):
                    self._say(f"study {record.started.study}: {sentence}")
            case StudyEnded():
                self._stop()
                self._say(_end_text(event, record))

    def _excuse(self, error: Exception) -> None:
        """A closed pipe or terminal is not written to again; any other error is told once."""
        if isinstance(error, OSError):
            self.console.quiet = True
        elif not self._is_excused:
            self._is_excused = True
            with contextlib.suppress(OSError):
                self._say(f"what happens cannot be shown in full ({type(error).__name__}: {error}); the study goes on")

    def _heard(self, event: Event, record: StudyRecord) -> Standing:
        """The standing after an event; one is made of the record if the study was begun by another process."""
        at = self._clock()
        if self._standing is None:
            self._standing = Standing(record, at)
            return self._standing
        with self._screen.drawing if self._screen else contextlib.nullcontext():
            self._standing.hear(event, at)
        return self._standing

    def _start(self, standing: Standing, what: str) -> None:
        record, started = standing.record, standing.record.started
        self._say(
            f"study {started.study}: {what} by {started.algorithm} over "
            f"{', '.join(started.parameters) or 'one configuration'}; "
            f"{images_in_words(started)}{_confirmation_in_words(record)}"
        )
        if not self.is_plain and self._screen is None:
            self._screen = _Screen(self.console, standing, self._excuse, plain=self._plain)
            self._screen.start()

    def _stop(self) -> None:
        screen, self._screen = self._screen, None
        if screen is not None:
            screen.stop()

    def _say_end(self, trial: TrialRecord, outcome: str) -> None:
        self._say(f"{trial.trial}  {outcome}  {trial.duration_s:.1f} s  {values_words(trial)}")

    def _say(self, text: str) -> None:
        """On a terminal no word is divided at its edge; in a file every line stays one."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=self.is_plain)


class _Screen:
    """The live lines, drawn anew by a thread of its own; what goes wrong there ends the drawing, never the study.

    Attributes:
        drawing: held while the standing is read; whoever changes it holds it too, and prints nothing meanwhile.
    """

    def __init__(
        self, console: PatientConsole, standing: Standing, excuse: Callable[[Exception], None], *, plain: bool
    ) -> None:
        self.drawing = threading.Lock()
        self._console, self._standing, self._excuse, self._plain = console, standing, excuse, plain
        self._picture = _Picture()
        self._live = Live(self._picture, console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live view", daemon=True)

    def start(self) -> None:
        self._live.start()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(1.0)
        self._picture.lines = []
        with contextlib.suppress(OSError), self._console.printing:  # before rich's own lock, as whoever prints does
            self._live.stop()

    def _work(self) -> None:
        pause_s = 0.0
        while not self._over.wait(pause_s):
            begun = time.thread_time()
            try:
                self._draw()
                self._console.print(Control())  # the live lines follow whatever is printed
            except Exception as error:
                self._picture.lines = []
                self._excuse(error)
                return
            pause_s = max(_REFRESH_S, _REST * (time.thread_time() - begun))

    def _draw(self) -> None:
        width, height = self._console.size
        with self.drawing:
            lines = frame(self._standing, width - 1, _lines_for(height), plain=self._plain)
        self._picture.lines = self._console.render_lines(Text("\n").join(lines), pad=False) if lines else []


class _Picture:
    """Lines that are already rendered, so that whatever is printed above them does not draw them anew."""

    def __init__(self) -> None:
        self.lines: list[list[Segment]] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _with_ends(self.lines)


def _with_ends(lines: list[list[Segment]]) -> Iterator[Segment]:
    for at, line in enumerate(lines):
        if at:
            yield Segment.line()
        yield from line


def _lines_for(height: int) -> int:
    """How many lines of a terminal are live; of a small one all but the last."""
    return height - _LINES_LEFT if height >= 4 * _LINES_LEFT else max(height - 1, 1)


def _score_text(standing: Standing, trial: TrialRecord) -> str:
    star = " *" if standing.best is trial else "  "
    pruned = " pruned" if trial.status == "pruned" else ""
    return f"{standing.record.started.objective} {trial.score:.4f}{star}{pruned}"


def _end_text(event: StudyEnded, record: StudyRecord) -> str:
    counts = ", ".join(f"{n} {status}" for status, n in record.counts().items())
    reason = f" ({event.reason})" if event.reason else ""
    return f"study {record.started.study}: {event.status}{reason} after {event.wall_s:.1f} s, {counts}"


def _confirmation_in_words(record: StudyRecord) -> str:
    if not record.confirm:
        return ""
    top, seeds = record.confirm["top"], record.confirm["seeds"]
    baseline = " and the baseline" if record.confirm.get("baseline") else ""
    return f"; then the best {top}{baseline} are confirmed, {seeds} seed{'s' if seeds > 1 else ''} each"
