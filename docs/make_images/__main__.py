"""Makes the pictures of docs/tour.md from real studies: `make docs-images`.

Each picture is one function below, under the file's name. A study on synthetic radiographs takes some minutes; with
`--work DIR` its folder is kept, and pictures are made again without it. Only synthetic radiographs may be in pictures
of the repository.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import terminal
from browser import browser_page, mlflow_ui, save, save_small
from rich.text import Text
from screen import Screen
from terminal import CommandError

from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store

IMAGES = Path(__file__).parents[1] / "images"
SEARCH = (
    "tune run --space vgg16 --data {data} --study first --trials 40 "
    "--set weights=random --set image_size=64 --set unfrozen_layers=0"
)
NARROW = "tune spaces narrow first --out narrowed.yaml"
NEXT = "tune run --space narrowed.yaml --data {data} --study second --trials 15"

_SEEN_FROM, _SEEN_UNTIL = "t0022", "t0034"  # trials during which the search is looked at
_MIDWAY = re.compile(r"\b[6-9]/10 epochs")  # one of them has curves by then
_LIVE_COLUMNS = 154
_WIDE_PX, _PHONE_PX = 1280, 390
_MLFLOW_DRAWS_MS = 12_000


class Tour:
    """What the pictures are of.

    Args:
        work: folder with the store `mlruns`, in which all commands run.
        data: what `--data` names.
    """

    def __init__(self, work: Path, data: str) -> None:
        self.work, self.data = work, data

    @property
    def store(self) -> Store:
        """With the studies `first` and `second`."""
        return Store.at(self.work / "mlruns")

    def record(self, study: str = "first") -> StudyRecord:
        """What is known of a study."""
        return load_record(self.store, study)

    def line(self, command: str) -> str:
        """A command line with the data's name in it."""
        return command.format(data=self.data)

    def show(self, file: str, command: str, *, columns: int = terminal.COLUMNS, at_most: int = 60) -> None:
        """Runs a command and draws its first lines."""
        lines = terminal.run(command, self.work, columns=columns).ansi()
        cut = [*lines[:at_most], "…"] if len(lines) > at_most else lines
        terminal.save(command, cut, IMAGES / file, columns=columns)

    def has(self, study: str) -> bool:
        """Whether a study was made before."""
        return study in self.store.study_names()


def search(tour: Tour) -> None:
    """live.svg and status.svg: the search at work, and what another terminal says of it."""
    if tour.has("first"):
        print("live.svg, status.svg: left as they are; the search was made before")
        return
    seen: dict[str, list[str]] = {}

    def watch(screen: Screen) -> None:
        last = max(re.findall(r"\bt\d{4}\b", screen.text()), default="")
        if not seen and (last > _SEEN_UNTIL or (last >= _SEEN_FROM and _MIDWAY.search(screen.text()))):
            seen["live"] = screen.ansi()[-terminal.ROWS :]
            seen["status"] = terminal.run("tune status first", tour.work).ansi()

    command = tour.line(SEARCH)
    terminal.run(command, tour.work, watch=watch, columns=_LIVE_COLUMNS)
    terminal.save(command, seen["live"], IMAGES / "live.svg", columns=_LIVE_COLUMNS)
    terminal.save("tune status first", seen["status"], IMAGES / "status.svg")


def leaderboard(tour: Tour) -> None:
    """leaderboard.svg: the best trials, and what is gained over the recipe."""
    tour.show("leaderboard.svg", "tune leaderboard first --top 8")


def report(tour: Tour) -> None:
    """report.png, report-dark.png, report-phone.png: the report's beginning, a chart in the dark, and on a phone."""
    terminal.run("tune report first --out report.html", tour.work)
    address = (tour.work / "report.html").as_uri()
    with browser_page(_WIDE_PX, 1000) as page:
        page.goto(address)
        save(page, IMAGES / "report.png")
    with browser_page(_WIDE_PX, 1000, dark=True) as page:
        page.goto(address)
        page.get_by_role("heading", name="What mattered").evaluate("heading => heading.scrollIntoView()")
        save(page, IMAGES / "report-dark.png")
    with browser_page(_PHONE_PX, 800, scale=1.5) as page:
        page.goto(address)
        save(page, IMAGES / "report-phone.png")


def narrow(tour: Tour) -> None:
    """narrow.svg: the next space, with its reasons."""
    command = "tune spaces narrow first --out -"
    lines = terminal.run(command, tour.work).ansi()
    plain = [Text.from_ansi(line).plain for line in lines]
    settings, parameters = plain.index("fixed:"), plain.index("parameters:")
    terminal.save(command, [*lines[:settings], "…", *lines[parameters:]], IMAGES / "narrow.svg")


def compare(tour: Tour) -> None:
    """compare.svg, compare-roc.png: the winners of both studies against the recipe."""
    if not tour.has("second"):
        (tour.work / "narrowed.yaml").unlink(missing_ok=True)
        terminal.run(NARROW, tour.work)
        terminal.run(tour.line(NEXT), tour.work)
    command = "tune compare first/t0001 first second --plot roc.png"
    lines = terminal.run(command, tour.work).ansi()
    plain = [Text.from_ansi(line).plain for line in lines]
    metrics = plain.index("Metrics")
    differences = next(number for number, text in enumerate(plain) if text.startswith("Against "))
    terminal.save(command, [*lines[:metrics], "…", "", *lines[differences:]], IMAGES / "compare.svg")
    save_small((tour.work / "roc.png").read_bytes(), IMAGES / "compare-roc.png")


def mlflow(tour: Tour) -> None:
    """mlflow-comparison.png, mlflow-study.png, mlflow-trial.png: the same study in MLflow."""
    record = tour.record()
    best = record.best()
    if best is None:
        raise CommandError("study first: no trial completed.")
    with mlflow_ui("first", tour.work) as link, browser_page(1500, 900) as page:
        experiment = re.search(r"experiments(?:/|=%5B%22)(\d+)", link)
        if experiment is None:
            raise CommandError(f"{link}: expected an address with an experiment's id.")
        runs = f"{link.partition('#')[0]}#/experiments/{experiment[1]}/runs"
        addresses = {"comparison": link, "study": f"{runs}/{record.run_id}", "trial": f"{runs}/{best.run_id}"}
        for name, address in addresses.items():
            page.goto("about:blank")
            page.goto(address)
            page.wait_for_timeout(_MLFLOW_DRAWS_MS)  # it never falls silent, so there is nothing better to wait for
            if (more := page.get_by_text("Show more", exact=True)).count():  # of a long description
                more.first.click()
                page.wait_for_timeout(500)
            save(page, IMAGES / f"mlflow-{name}.png")


def promote(tour: Tour) -> None:
    """promote.svg: the test folder is opened, once, and a policy decides."""
    if tour.store.test_ledger.exists():
        print("promote.svg: left as it is; the model was promoted before")
    else:
        tour.show("promote.svg", "tune promote first --policy demo")


PICTURES: dict[str, Callable[[Tour], None]] = {
    picture.__name__: picture for picture in (search, leaderboard, report, narrow, compare, mlflow, promote)
}
"""In the order in which they are made; the first makes the study that the others show."""


def main() -> int:
    """Makes all pictures, or those that are named; one that cannot be made does not keep the others from it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help=f"one of {', '.join(PICTURES)}; all if left out")
    parser.add_argument("--data", default="demo", help="as of `tune run`")
    parser.add_argument("--work", type=Path, help="folder that is kept; a temporary one if left out")
    given = parser.parse_args()
    wanted = given.pictures or list(PICTURES)
    if unknown := set(wanted) - set(PICTURES):
        parser.error(f"no picture is named {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = (given.work or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        tour, failed = Tour(work, given.data), 0
        for name in dict.fromkeys(["search", *wanted]):
            try:
                PICTURES[name](tour)
                print(f"{name}: {PICTURES[name].__doc__}")
            except Exception as error:  # each picture stands for itself
                print(f"{name}: not made: {error}", file=sys.stderr)
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
