"""What people see: pages opened in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from synthetic import write_study

from tuning.analysis.report import write_report
from tuning.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Shown = Any  # of conftest.py
_PATIENCE_MS = 30_000
_IS_PAINTED = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(value => value > 0)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make setup")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on the path: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page as large as a desktop's."""
    page = browser.new_page(viewport={"width": 1600, "height": 1500})
    page.set_default_timeout(_PATIENCE_MS)
    yield page
    page.close()


def test_the_comparison_shows_every_trial_and_parallel_coordinates_of_what_was_searched(
    shown: Shown, page: Page
) -> None:
    """The deep link: the study's trials, best first, one axis for each searched parameter, and the objective."""
    record = shown.record
    page.goto(shown.comparison)
    axes = page.locator(".parcoords .dimension text.label")
    axes.first.wait_for()
    titles, names = axes.all_text_contents(), [*record.started.parameters, record.started.objective]
    assert len(titles) == len(names)
    assert all(map(_abbreviates, titles, names)), titles
    assert page.locator(".parcoords canvas.foreground").evaluate(_IS_PAINTED)
    listed = page.get_by_role("link", name="t000").all_text_contents()
    assert sorted(listed) == sorted(record.trials)
    assert [record.trials[trial].score for trial in listed] == [trial.score for trial in record.ranked()]
    assert page.get_by_text(f"{len(listed)} matching runs").is_visible()


def test_a_trial_says_what_it_was_and_has_system_metrics(shown: Shown, page: Page) -> None:
    """Description on its page, and charts of processor and memory."""
    trial = shown.record.trials["t0001"]
    address = shown.page.replace(shown.record.run_id, trial.run_id)
    page.goto(address)
    page.get_by_text("Trial 1 of study first: head_units 8, dropout 0").wait_for()
    page.goto(address.replace("?", "/system-metrics?"))
    page.get_by_text("cpu_utilization_percentage").first.wait_for()
    page.locator(".js-plotly-plot").first.wait_for()


def test_the_study_says_what_was_found(shown: Shown, page: Page) -> None:
    """On its own page, in the first lines of its description."""
    best = shown.record.best()
    page.goto(shown.page)
    page.get_by_text(f"Best of 4 trials: {best.trial} (").wait_for()


@pytest.fixture(scope="module")
def report_address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a study of sixty trials, some failed and some pruned, as a file."""
    store = Store.at(tmp_path_factory.mktemp("reported"))
    write_study(store, "made", trials=60)
    return write_report(store, "made").as_uri()


@pytest.mark.parametrize("width_px", [1280, 390])
def test_the_report_has_its_charts_and_asks_for_nothing(browser: Browser, report_address: str, width_px: int) -> None:
    """On a desk and on a phone: every chart has a size and lines, nothing sticks out, no request, no complaint."""
    page = browser.new_page(viewport={"width": width_px, "height": 900})
    asked, told = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: told.append(message.text))
    page.goto(report_address)
    titles = page.locator("section h2").all_text_contents()
    assert {"Summary", "History", "What mattered", "Configurations", "Learning curves", "What next"} <= set(titles)
    charts = page.locator("section svg[role=img]")
    assert charts.count() >= 6
    for chart in charts.all():
        box = chart.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) > 100
        assert chart.locator("path").count() > 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    assert (asked, told) == ([report_address], [])
    page.close()


def test_mlflow_shows_the_report_of_the_study(shown: Shown, page: Page) -> None:
    """Among the files of the study's run, as a page with its charts."""
    page.goto(shown.page.replace("?", "/artifacts/report.html?"))
    report = page.frame_locator("iframe").first
    report.get_by_role("heading", name="Study first").wait_for()
    assert report.locator("svg[role=img]").count() >= 2


def _abbreviates(title: str, name: str) -> bool:
    """Long names are shown without their middle."""
    return re.fullmatch(re.escape(title).replace(r"\.\.\.", ".+"), name) is not None
