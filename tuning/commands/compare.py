"""`tune compare`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.commands.options import JsonOption, LoggedOption, StoreOption, open_store
from tuning.output import complain, console, print_json
from tuning.requested_files import FIGURE_ENDINGS, check_target, save_figure, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tuning.analysis.comparison import StudyComparison


def compare(
    subjects: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...",
            help="2 to 8 of STUDY (its best trial, the confirmed winner if there is one), STUDY/t0007 and "
            "STUDY/baseline; the others are compared with the first.",
        ),
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the ROC curves over each other to this file (PNG, PDF, SVG).")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write all of it to this file, a page that needs no other.")] = None,
    tracking_uri: LoggedOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Compare trials, of one study or of several: what differs, and whether it is more than chance.

    Example: tune compare vgg16-1/baseline vgg16-1 vgg16-2 --html comparison.html
    """
    check_target("--plot", plot, FIGURE_ENDINGS)
    check_target("--html", html)
    from tuning.analysis.comparison import compare_trials

    found = compare_trials(open_store(store), subjects, tracking_uri=tracking_uri)
    figure = _curves(found) if plot or html else None
    if plot and figure:
        save_figure("--plot", plot, figure)
    if html:
        write_text("--html", html, _page(found, figure))
    if as_json:
        print_json(found.to_mapping())
    else:
        from tuning.analysis.comparison_sections import sections_of
        from tuning.terminal_document import as_renderable

        opened = console()
        opened.print(as_renderable(sections_of(found), opened.width))


def _curves(found: StudyComparison) -> Figure | None:
    scores = found.comparable_scores()
    if not scores:
        complain("no ROC curves are drawn: the scores cannot be had.")
        return None
    from pneumo_core.plots import plot_roc_curves

    return plot_roc_curves(
        {name: of.tables for name, of in scores.items()}, {name: of.point for name, of in scores.items()}
    )


def _page(found: StudyComparison, figure: Figure | None) -> str:
    from pneumo_core.plots import save
    from tuning.analysis.comparison_sections import sections_of, title_of
    from tuning.document import as_page

    with tempfile.TemporaryDirectory(prefix="tune-compare-") as folder:
        curves = Path(folder) / "roc.png"
        if figure:
            save(figure, curves)
        return as_page(title_of(found), sections_of(found, curves if figure else None))
