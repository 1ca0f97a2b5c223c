"""The command `tune`: what it is made of, and how its errors look. Each command stands in `tuning.commands`.

Whatever takes long to import is imported by the command that needs it.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from pneumo_core.errors import PneumoError
from search_spaces.errors import SpaceError
from tuning.commands.cache import cache_app
from tuning.commands.compare import compare
from tuning.commands.data import data_app
from tuning.commands.doctor import doctor
from tuning.commands.evaluate import evaluate
from tuning.commands.export import export
from tuning.commands.gc import gc
from tuning.commands.leaderboard import leaderboard, list_studies
from tuning.commands.policies import policies_app
from tuning.commands.predict import predict
from tuning.commands.promote import promote
from tuning.commands.registry import registry
from tuning.commands.report import report
from tuning.commands.rollback import rollback
from tuning.commands.serve import serve
from tuning.commands.spaces import spaces_app
from tuning.commands.status import status
from tuning.commands.studies import confirm_study, resume, run, sync
from tuning.commands.ui import ui
from tuning.output import complain


class _Commands(typer.core.TyperGroup):
    """Commands whose errors are one clear line, with the exit code that belongs to them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (PneumoError, SpaceError) as error:
            complain(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt:
            print("tune: interrupted", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # who reads the output, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not tried again at the end
            raise typer.Exit(141) from None
        except OSError as error:  # of the output itself, as a full disk behind it
            complain(error)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_STUDIES, _REGISTRY, _USE, _AROUND = "Studies", "Registry", "Using a model", "Data and store"
app.command(rich_help_panel=_STUDIES)(run)
app.command(rich_help_panel=_STUDIES)(resume)
app.command("confirm", rich_help_panel=_STUDIES)(confirm_study)
app.command(rich_help_panel=_STUDIES)(status)
app.command("list", rich_help_panel=_STUDIES)(list_studies)
app.command(rich_help_panel=_STUDIES)(leaderboard)
app.command(rich_help_panel=_STUDIES)(compare)
app.command(rich_help_panel=_STUDIES)(report)
app.command(rich_help_panel=_STUDIES)(ui)
app.command(rich_help_panel=_STUDIES)(sync)
app.add_typer(spaces_app, name="spaces", rich_help_panel=_STUDIES)
app.command(rich_help_panel=_REGISTRY)(promote)
app.add_typer(policies_app, name="policies", rich_help_panel=_REGISTRY)
app.command(rich_help_panel=_REGISTRY)(registry)
app.command(rich_help_panel=_REGISTRY)(rollback)
app.command(rich_help_panel=_USE)(predict)
app.command(rich_help_panel=_USE)(serve)
app.command(rich_help_panel=_USE)(evaluate)
app.command(rich_help_panel=_USE)(export)
app.add_typer(data_app, name="data", rich_help_panel=_AROUND)
app.add_typer(cache_app, name="cache", rich_help_panel=_AROUND)
app.command(rich_help_panel=_AROUND)(doctor)
app.command(rich_help_panel=_AROUND)(gc)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"tune {version('pneumo-tune')}")
        raise typer.Exit


@app.callback()
def tune(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Tune chest X-ray classifiers, put the best one in use, and use it. For research, not for diagnosis."""


def main() -> None:
    """Runs the command line."""
    app()
