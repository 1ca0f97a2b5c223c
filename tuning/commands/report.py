"""The command that writes what a study found as one page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, StudyArgument, open_store
from tuning.output import print_json, teller

if TYPE_CHECKING:
    from tuning.trial_data import TrialData


def report(
    study: StudyArgument,
    out: Annotated[Path | None, typer.Option(help="HTML file; report.html in the study's folder if left out.")] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain/--no-explain",
            help="Draw what the winner's scores depend on, if that was not done yet: takes TensorFlow and the images.",
        ),
    ] = True,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Write what a study found, finished or not, as one HTML page that needs no network.

    Example: tune report vgg16-1 --open
    """
    from tuning.requested_files import check_target

    check_target("--out", out, (".html", ".htm"))
    from tuning.analysis.report import default_file, facts_for_scripts, write_page
    from tuning.analysis.report_facts import gather
    from tuning.analysis.winner import explained, reachable_data
    from tuning.ranking import load_record

    opened, tell = open_store(store), teller()
    file = default_file(opened, study, out)

    def images() -> TrialData:
        tell("reading the images and starting TensorFlow, to look at the winner; --no-explain leaves that out")
        return reachable_data(opened, load_record(opened, study))

    if not explain:
        why = "it was left out"
    elif opened.existing().study(study).is_held():
        why = "the study is running; it is drawn at the end"
    else:
        why = explained(opened, study, images)
    facts = gather(opened, study, why_no_picture=why)
    write_page(facts, file)
    if as_json:
        print_json(facts_for_scripts(facts, file))
    else:
        print(f"{study}: {file}")
    if open_it and not webbrowser.open(file.as_uri()):
        tell(f"no browser could be opened; open {file}")
