"""`tune spaces`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuning.commands.options import JsonOption, StoreOption, StudyArgument, open_store
from tuning.output import console, print_json

spaces_app = typer.Typer(help="List, show, check and narrow search spaces.")


@spaces_app.callback(invoke_without_command=True)
def list_spaces(ctx: typer.Context) -> None:
    """List the shipped search spaces."""
    if ctx.invoked_subcommand is None:
        from tuning.spaces import spaces_table

        console().print(spaces_table())


@spaces_app.command("show")
def show_space(
    name: Annotated[str, typer.Argument(help="A shipped space or a YAML file.")], as_json: JsonOption = False
) -> None:
    """Print a space as it is written.

    Example: tune spaces show vgg16 > mine.yaml
    """
    from search_spaces import find_space
    from tuning.spaces import open_space

    space = open_space(name)
    if as_json:
        print_json(space.model_dump(mode="json"))
    else:
        print(find_space(name).read_text(encoding="utf-8"), end="")


@spaces_app.command("check")
def check_space(file: Annotated[str, typer.Argument(help="A YAML file or a shipped space.")]) -> None:
    """Check a space and list everything that is wrong with it.

    Example: tune spaces check mine.yaml
    """
    from tuning.spaces import open_space

    space = open_space(file)
    size = space.size()
    extent = "endless" if size is None else f"{size:,}"
    print(f"{file}: fine; {len(space.parameters)} searched parameters, {extent} configurations.")


@spaces_app.command("narrow")
def narrow_space(
    study: StudyArgument,
    out: Annotated[Path, typer.Option(help="File to write, .yaml; - prints the space.")] = Path("-"),
    top: Annotated[
        int | None, typer.Option(min=1, help="How many leaders; a tenth of the completed trials, 5 to 20, if left out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if there is one.")] = False,
    store: StoreOption = Path("mlruns"),
) -> None:
    """Write a space that is narrowed around a study's leaders, with a reason for each parameter.

    Example: tune spaces narrow vgg16-1 --out closer.yaml
    """
    from tuning.analysis.importance import importances
    from tuning.analysis.narrowing import narrowed
    from tuning.ranking import load_record
    from tuning.requested_files import STDOUT, check_new_target, write_text

    if out != STDOUT:
        check_new_target("--out", out, (".yaml", ".yml"), overwrite=overwrite)
    record = load_record(open_store(store).existing(), study)
    found = narrowed(record, importances(record), top)
    write_text("--out", out, found.text())
    if out != STDOUT:
        count = len(found.space.parameters)
        print(f"{out}: {found.space.name}, {count} searched parameters; search it with: tune run --space {out}")
