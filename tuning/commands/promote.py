"""`tune promote`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuning.commands.options import (
    JsonOption,
    LoggedOption,
    StoreOption,
    StudyArgument,
    open_store,
)
from tuning.output import complain, console, metric_lines, print_json, teller

if TYPE_CHECKING:
    from tuning.models.promotion import PromotionResult


def promote(
    study: StudyArgument,
    trial: Annotated[str | None, typer.Option(help="Id of the trial; the best one if left out.")] = None,
    ensemble: Annotated[
        int | None, typer.Option(help="Register so many confirmed leaders as one model, 2 to 9, instead of a trial.")
    ] = None,
    vote: Annotated[
        str | None, typer.Option(help="Of an ensemble: soft (mean probability; if left out) or hard (majority).")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name in the registry; that of the study's space if left out.")] = (
        None
    ),
    alias: Annotated[str, typer.Option(help="That shall point to the new version.")] = "champion",
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="What the model has to fulfil, see `tune policies`; if left out, the policy named like the model, or "
            "else default.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote it although the policy says no; the version bears a mark.")
    ] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record; --force needs it.")] = "",
    threshold_rule: Annotated[
        str, typer.Option(help="How the threshold is chosen on validation scores: sensitivity or youden.")
    ] = "sensitivity",
    target_sensitivity: Annotated[
        float, typer.Option(help="The least sensitivity there, for the rule of that name.")
    ] = 0.95,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build and check; leave the test folder closed, register nothing.")
    ] = False,
    tracking_uri: LoggedOption = None,
    store: StoreOption = Path("mlruns"),
    as_json: JsonOption = False,
) -> None:
    """Score the whole model of a trial on the test folder, and register it as champion if it fulfils the policy.

    Ends with exit code 1 if it does not.

    Example: tune promote vgg16-1 --policy mine.yaml
    """
    from tuning.models.promotion import promote as promote_trial

    result = promote_trial(
        open_store(store),
        study,
        trial=trial,
        ensemble=ensemble,
        vote=vote,
        model=model,
        alias=alias,
        policy=policy,
        force=force,
        reason=reason,
        dry_run=dry_run,
        threshold_rule=threshold_rule,
        target_sensitivity=target_sensitivity,
        tracking_uri=tracking_uri,
        tell=teller(),
    )
    for sentence in result.warnings:
        complain(sentence)
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        _print_result(result)
    if not (result.promoted or dry_run):
        raise typer.Exit(1)


def _print_result(result: PromotionResult) -> None:
    from tuning.models.gate import checks_table

    for line in metric_lines(result.metrics):
        print(line)
    if result.checks:
        print(f"policy {result.policy}:")
        console().print(checks_table(result.checks))
    if not result.promoted:
        unmet = sum(not check.passed for check in result.checks)
        count = f"; of {len(result.checks)} requirements {unmet} not met" if unmet else ""
        print(f"{result.model}: not promoted, {result.alias} stays as it is{count}")
        for reason in result.reasons:
            print(f"  {reason}")
        return
    forced = f", against policy {result.policy}" if result.forced else ""
    replaced = f", in place of {result.model}/{result.replaced}" if result.replaced else ""
    print(f"{result.model}/{result.version} is {result.alias}{replaced}{forced}: models:/{result.model}@{result.alias}")
