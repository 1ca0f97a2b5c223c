"""The report of a study: one page that needs no network, and the same as files for the study's MLflow run."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pneumo_core.errors import StoreError
from pneumo_core.operating_point import OperatingPoint
from pneumo_core.places import resolved
from tuning.analysis.report_account import account, advice, failures, origin
from tuning.analysis.report_charts import Charts
from tuning.analysis.report_facts import ReportFacts, gather
from tuning.analysis.report_summary import summary
from tuning.analysis.report_tables import operating_table, searched, side_by_side
from tuning.analysis.report_words import sentence
from tuning.document import Block, Columns, Picture, Section, Text, as_markdown, as_page
from tuning.store import Store

PAGE_BYTES = 5_000_000
"""No page is larger: pictures are left out before that."""

REPORT_FILE = "report.html"

_PICTURE_BYTES = 1_000_000


def write_report(store: Store, name: str, file: Path | None = None, *, why_no_picture: str = "") -> Path:
    """Writes the report of a study, half-done or not, as one HTML file.

    Args:
        store: that holds the study.
        name: of the study.
        file: to write; `report.html` in the study's folder if None.
        why_no_picture: see `gather`.

    Returns:
        The file.

    Raises:
        StudyError: if there is no such study.
        StoreError: if its journal is damaged, or the file cannot be written.

    Side effects:
        Writes the file.
    """
    return write_page(gather(store, name, why_no_picture=why_no_picture), default_file(store, name, file))


def default_file(store: Store, name: str, file: Path | None = None) -> Path:
    """Returns where a report goes: the file given, or `report.html` in the study's folder."""
    return file or store.existing().study(name).root / REPORT_FILE


def write_page(facts: ReportFacts, file: Path) -> Path:
    """Writes a report from its facts; see `write_report`."""
    write_whole(file, as_page(_title(facts), sections(facts, Charts(facts)), contents=True))
    return file


def write_report_files(store: Store, name: str, folder: Path, *, why_no_picture: str = "") -> None:
    """Writes what a study's MLflow run gets: `report.html`, its charts as `plots/*.png`, a short `report.md`.

    Args:
        store: that holds the study.
        name: of the study.
        folder: made if need be; what is there of an earlier report is replaced.
        why_no_picture: see `gather`.

    Raises:
        StoreError: as `write_report`.

    Side effects:
        Writes the files.
    """
    facts = gather(store, name, why_no_picture=why_no_picture)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".report.*.unfinished"):  # by a process that was killed; MLflow gets all of the folder
            left.unlink()
    except OSError as error:
        raise StoreError(f"report: {folder} cannot be made ({error.strerror or error}).") from error
    parts = sections(facts, Charts(facts, folder))
    write_whole(folder / REPORT_FILE, as_page(_title(facts), parts, contents=True))
    write_whole(folder / "report.md", as_markdown(_title(facts), [_short(part) for part in parts[:3]]))


def sections(facts: ReportFacts, charts: Charts) -> list[Section]:
    """Returns the report's sections in their order."""
    compared = facts.record.count("completed") > 1
    parts: list[tuple[str, Iterator[Block]]] = [
        ("Summary", summary(facts)),
        ("What was searched", searched(facts)),
        ("Best, confirmed, baseline", side_by_side(facts)),
        ("History", charts.history() if facts.best else _nothing_yet()),
        ("What mattered", _importance(facts, charts)),
        ("Configurations", charts.configurations() if compared else _nothing_yet()),
        ("Learning curves", charts.learning() if facts.record.trials else _nothing_yet()),
        ("ROC and calibration", _curves(facts, charts)),
        ("What its scores depend on", _picture(facts)),
        ("Time and disk", account(facts)),
        ("Failures", failures(facts)),
        ("What next", advice(facts)),
        ("Origin", origin(facts)),
    ]
    return [Section(title, [*blocks]) for title, blocks in parts]


def _title(facts: ReportFacts) -> str:
    return f"Study {facts.record.started.study}"


def _nothing_yet() -> Iterator[Block]:
    yield Text("There is nothing to draw yet: too few trials have completed.")


def _importance(facts: ReportFacts, charts: Charts) -> Iterator[Block]:
    found = facts.importances
    if not found.parameters:
        yield Text(sentence(f"what mattered is not known: {found.reason}"))
        return
    yield Text(sentence(f"by {found.method} ({found.trials} completed trials)"))
    for warning in found.warnings:
        yield Text(sentence(warning))
    yield from charts.importance()


def _curves(facts: ReportFacts, charts: Charts) -> Iterator[Block]:
    if not facts.curves:
        yield Text(sentence(f"the validation scores of the best trial cannot be had: {facts.no_curves}"))
        return
    yield from charts.roc()
    place = (facts.best and facts.best.confirmed) or facts.best
    if place is not None:
        point = OperatingPoint(place.threshold or 0.5, place.temperature or 1.0)
        yield Columns([*charts.calibration(point), operating_table(place, point)])


def _picture(facts: ReportFacts) -> Iterator[Block]:
    best, picture = facts.best, facts.picture
    if best is None or picture is None:
        yield Text(sentence(f"there is no Grad-CAM: {facts.no_picture or 'none was drawn'}"))
        return
    if picture.stat().st_size > _PICTURE_BYTES:
        yield Text(f"The panel of {best.trial} is left out: with it the page would grow beyond its limit.", "warning")
        return
    of = "the training of its first fold, done once more" if best.folds > 1 else "its own weights"
    yield Text(
        f"Validation images that a model of {best.trial} ({of}) was not trained on, called rightly and wrongly. Look "
        "for heat outside of the lungs: letters, borders and cables tell of a hospital, not of a disease."
    )
    yield Picture(picture, f"Grad-CAM of {best.trial}.")


def _short(part: Section) -> Section:
    """A section without its charts, for a description in plain text."""
    return Section(part.title, [block for block in part.blocks if not isinstance(block, Picture | Columns)])


def write_whole(file: Path, text: str) -> None:
    """Writes all of a file or nothing, whoever else reads or writes it meanwhile.

    Raises:
        StoreError: if it cannot be written.

    Side effects:
        Replaces the file; of a link, the one that it leads to.
    """
    place = resolved(file)
    unfinished = place.with_name(f".report.{secrets.token_hex(4)}.unfinished")
    try:
        with contextlib.ExitStack() as leaving:
            with unfinished.open("x", encoding="utf-8", errors="replace") as opened:
                leaving.callback(unfinished.unlink, missing_ok=True)
                opened.write(text)
            unfinished.replace(place)
    except OSError as error:
        raise StoreError(f"report {file}: cannot be written ({error.strerror or error}).") from error


def facts_for_scripts(facts: ReportFacts, file: Path) -> dict[str, Any]:
    """Returns the facts as one JSON document, with the place of the page."""
    return {**facts.to_mapping(), "report": str(file)}
