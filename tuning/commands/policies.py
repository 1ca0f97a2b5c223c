"""`tune policies`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuning.commands.options import JsonOption
from tuning.output import console, print_json

policies_app = typer.Typer(help="List, show and check promotion policies.")


@policies_app.callback(invoke_without_command=True)
def list_policies(ctx: typer.Context) -> None:
    """List the shipped promotion policies."""
    if ctx.invoked_subcommand is None:
        from tuning.models.policy import policies_table

        console().print(policies_table())


@policies_app.command("show")
def show_policy(
    name: Annotated[str, typer.Argument(help="A shipped policy or a YAML file.")], as_json: JsonOption = False
) -> None:
    """Print a policy as it is written.

    Example: tune policies show default > mine.yaml
    """
    from tuning.models.policy import find_policy, open_policy

    policy = open_policy(name)
    if as_json:
        print_json(policy.model_dump(mode="json"))
    else:
        print(find_policy(name).read_text(encoding="utf-8"), end="")


@policies_app.command("check")
def check_policy(file: Annotated[str, typer.Argument(help="A YAML file or a shipped policy.")]) -> None:
    """Check a policy and list everything that is wrong with it.

    Example: tune policies check mine.yaml
    """
    from tuning.models.policy import open_policy

    asked = open_policy(file).asked()
    print(f"{file}: fine; asks for {', '.join(asked) or 'nothing'}.")
