"""The charts of a report: each is drawn once, for the page and as a file beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pneumo_core.operating_point import OperatingPoint
from tuning.analysis.charts.svg import themed_svg
from tuning.analysis.report_facts import ReportFacts
from tuning.analysis.report_words import sentence
from tuning.document import Block, Drawing, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHART_BYTES = 3_300_000
"""Of all charts in one page; what comes after is left out. With a Grad-CAM panel and the text that is below 5 MB."""

_FEWEST = 2  # completed trials that can be compared
_TOP = 4  # parameters in a chart of many


@dataclasses.dataclass
class Charts:
    """Draws the charts of one report.

    Args:
        facts: what is drawn.
        folder: where each chart is left as `plots/*.png` too; None for nowhere.
        limit_bytes: of all charts in the page.
    """

    facts: ReportFacts
    folder: Path | None = None
    limit_bytes: int = CHART_BYTES
    _used_bytes: int = dataclasses.field(default=0, init=False)

    def history(self) -> Iterator[Block]:
        """Yields the scores in the order of the trials."""
        from tuning.analysis.charts.optimization_history import plot_optimization_history

        yield from self._rungs()
        yield from self._draw(
            "optimization_history",
            lambda: plot_optimization_history(self.facts.record),
            "Each trial's score in the order of their start, and the best so far. A line that still climbs at its end "
            "asks for more trials.",
        )

    def importance(self) -> Iterator[Block]:
        """Yields how much of the scores' differences goes back to each parameter."""
        from tuning.analysis.charts.importance_chart import plot_importances

        yield from self._draw(
            "importance",
            lambda: plot_importances(self.facts.importances),
            "Share of the differences between scores that follows from each parameter alone, with 95 % intervals. "
            "Where intervals overlap, the order may be another.",
        )

    def configurations(self) -> Iterator[Block]:
        """Yields the trials by the values of the parameters that matter most."""
        from tuning.analysis.charts.contour import plot_contour
        from tuning.analysis.charts.parallel import plot_parallel_coordinates
        from tuning.analysis.charts.slices import plot_slices

        record, names = self.facts.record, self._parameters()
        yield from self._rungs()
        yield from self._draw(
            "parallel_coordinates",
            lambda: plot_parallel_coordinates(record, names),
            "Each line is a trial; those of the same value are spread a little. Where the best lines run together and "
            "the others do not, a value may matter; a search that has settled on a value draws most lines there, good "
            "or not.",
        )
        yield from self._draw(
            "slices",
            lambda: plot_slices(record, names[:_TOP]),
            "Scores by one parameter at a time, whatever the others were; equal values are spread a little.",
        )
        if len(names) > 1:
            yield from self._draw(
                "contour",
                lambda: plot_contour(record, names[0], names[1]),
                f"Scores by {names[0]} and {names[1]} together. The colour is a mean over the trials "
                "around, whatever their other values; where none is near, there is none.",
            )

    def learning(self) -> Iterator[Block]:
        """Yields the validation losses of all trials, epoch by epoch."""
        from tuning.analysis.charts.learning_curves import plot_learning_curves

        yield from self._draw(
            "learning_curves",
            lambda: plot_learning_curves(self.facts.record),
            "Validation loss and, where it is known that early, the objective after each epoch, of completed, pruned "
            "and failed trials. Dots: the epochs whose weights were kept.",
        )

    def roc(self) -> Iterator[Drawing | Text]:
        """Yields the ROC curve of the best trial, and that of the baseline."""
        from pneumo_core.plots import plot_roc_curves

        best_last = reversed(self.facts.curves)  # in orange, as in the other charts
        yield from self._draw(
            "roc",
            lambda: plot_roc_curves({curve.name: curve.tables for curve in best_last}),
            "Sensitivity against false alarms at every threshold, with the bands in which the curves would lie for "
            "other patients. Models may differ though their bands overlap, as both were scored on the same images: the "
            "interval of the gain says whether they do.",
        )

    def calibration(self, point: OperatingPoint) -> Iterator[Drawing | Text]:
        """Yields the calibration of the best trial.

        Args:
            point: its operating point.
        """
        from pneumo_core.plots import plot_calibration

        first, *_ = self.facts.curves
        many = f" (the first of {len(first.tables)} trainings)" if len(first.tables) > 1 else ""
        yield from self._draw(
            "calibration",
            lambda: plot_calibration(first.tables[0], operating_point=point),
            f"What share of the images with a probability are positive, of {first.name}{many}. On the dotted line a "
            "probability means what it says.",
        )

    def _rungs(self) -> Iterator[Text]:
        """Yields that scores are of unequal trainings, where Hyperband ended some earlier."""
        done = [trial for trial in self.facts.record.searched if trial.status == "completed"]
        epochs = sorted({int(trial.config.get("stop_after") or trial.config.get("epochs") or 0) for trial in done})
        if len(epochs) > 1 and any(trial.config.get("stop_after") for trial in done):
            yield Text(
                f"Hyperband trained these for {', '.join(map(str, epochs))} epochs at most. Scores of all of them are "
                "shown side by side, so a higher one may only have had more epochs."
            )

    def _parameters(self) -> list[str]:
        """The searched parameters, the most important first, then in their own order."""
        ranked = [one.name for one in self.facts.importances.parameters]
        return [*ranked, *(name for name in self.facts.record.started.parameters if name not in ranked)]

    def _draw(self, name: str, draw: Callable[[], Figure], caption: str) -> Iterator[Drawing | Text]:
        """A chart, as far as there is enough to draw and the page has room for it; else a sentence in its place."""
        try:
            figure = draw()
        except ValueError as error:
            yield Text(sentence(str(error)))
            return
        file = ""
        if self.folder is not None:
            from pneumo_core.plots import save

            (self.folder / "plots").mkdir(parents=True, exist_ok=True)
            file = f"plots/{name}.png"
            save(figure, self.folder / file)
        svg = themed_svg(figure)
        size = len(svg.encode())
        if self._used_bytes + size > self.limit_bytes:
            title = name.replace("_", " ")
            yield Text(f"The chart of {title} is left out: with it the page would grow beyond its limit.", "warning")
            return
        self._used_bytes += size
        yield Drawing(svg, caption, file)
