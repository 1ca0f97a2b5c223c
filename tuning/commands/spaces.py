"""`tune spaces`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.commands.options import (
    JsonOption,
)
from tuning.output import console, print_json

spaces_app = typer.Typer(help="List, show and check search spaces.")


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
