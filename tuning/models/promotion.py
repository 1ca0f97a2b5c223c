"""From the best trial of a study to a version in the model registry, scored on the test folder on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from pneumo_core.errors import DatasetError, PromotionError, StudyError
from pneumo_core.operating_point import DEFAULT_RULE, DEFAULT_TARGET, check_rule
from tuning.models.assembly import Assembly
from tuning.models.registry import Change, ModelReference, Registry, check_alias, check_model_name
from tuning.models.workbench import workbench
from tuning.ranking import defined, load_record
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store
from tuning.tracking import absolute_uri


@dataclasses.dataclass(frozen=True)
class PromotionResult:
    """What became of a promotion.

    Attributes:
        promoted: whether the alias now points to the trial's model.
        model: its name in the registry.
        version: its version there; None if it was not registered.
        alias: that was asked for.
        trial: whose model it is.
        run_id: of the trial's MLflow run.
        confirmed: whether the trial was confirmed.
        origin: where the model's weights come from, in words.
        operating_point: threshold and temperature, see `pneumo_core.operating_point`.
        metrics: `val_…` of the scores that chose the operating point, `test_…` of the model on the test folder, each
            with `…_low` and `…_high`, the ends of its 95 % interval.
        test: None if the test folder was not looked at; else its digest, number of images, how often it was opened by
            now, and whether scores of an earlier opening were used.
        warnings: sentences that the user should not miss.
        reasons: why it was not promoted.
    """

    promoted: bool
    model: str
    version: str | None
    alias: str
    trial: str
    run_id: str | None
    confirmed: bool
    origin: str
    operating_point: dict[str, Any]
    metrics: dict[str, float | None]
    test: dict[str, Any] | None
    warnings: list[str]
    reasons: list[str]


def promote(
    store: Store,
    study: str,
    *,
    trial: str | None = None,
    model: str | None = None,
    alias: str = "champion",
    dry_run: bool = False,
    threshold_rule: str = DEFAULT_RULE,
    target_sensitivity: float = DEFAULT_TARGET,
    tracking_uri: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> PromotionResult:
    """Builds the whole model of a trial, checks it, scores it on the test folder, registers it and sets the alias.

    Threshold and temperature come from validation scores; the test folder decides nothing.

    Args:
        store: that holds the study.
        study: its name.
        trial: id of the trial; the best one, confirmed if there are any, if None.
        model: name in the registry; that of the study's space if None.
        alias: to be set.
        dry_run: build and check; leave the test folder closed, register nothing.
        threshold_rule: how the threshold is chosen on validation scores: `sensitivity` or `youden`.
        target_sensitivity: the least sensitivity there, for the rule of that name.
        tracking_uri: of MLflow; where the study was logged if None.
        tell: takes sentences for the user.

    Raises:
        StudyError: if there is no such study, trial, or no completed one.
        ConfigError: if there is no such rule or target.
        ModelError: if model or alias cannot be named so.
        DatasetError: if the study's images changed or are gone.
        PromotionError: if the whole model scores differently from what was trained, or patients of the test folder are
            outside of it too.
        TrackingError: if MLflow fails.

    Side effects:
        Writes to the ledger of the test folder, and to the registry, unless it is a dry run.
    """
    record = load_record(store, study)
    if tracking_uri is not None:
        record.started = dataclasses.replace(record.started, tracking_uri=absolute_uri(tracking_uri))
    chosen = choose_trial(record, trial)
    name = check_model_name(model or record.started.space)
    check_alias(alias)
    check_rule(threshold_rule, target_sensitivity)
    registry = Registry(store, _foreign_uri(store, record))
    from pneumo_core.runtime import start_tensorflow

    start_tensorflow(record.started.threads)
    with workbench(store, tell) as scratch:
        registry.mend(tell)
        assembly = Assembly(store, record, chosen, name, scratch, tell)
        reference = None
        try:
            if not dry_run:
                assembly.refuse_leakage()
            assembly.build(threshold_rule, target_sensitivity)
            if not dry_run:
                assembly.open_test()
        except (PromotionError, DatasetError) as error:
            if not dry_run:
                assembly.record_refusal(str(error))
            raise
        if not dry_run:
            tell(f"registering it as {name}")
            reference = registry.register(
                assembly.folder,
                name,
                alias,
                run_id=chosen.run_id or "",
                metrics=assembly.metrics,
                tags=_lineage(record, chosen) | assembly.tags,
                change=Change(f"{chosen.trial} of {study}"),
            )
        return _result(assembly, chosen, name, alias, reference)


def choose_trial(record: StudyRecord, trial: str | None) -> TrialRecord:
    """Returns the named trial, or the best.

    Raises:
        StudyError: if there is none of that name, it has no score, or it is not in MLflow.
    """
    study = record.started.study
    if trial is None:
        best = record.best()
        if best is None:
            raise StudyError(f"study {study}: has no completed trial; nothing can be promoted.")
        trial = best.trial
    if trial not in record.trials:
        raise StudyError(f"study {study}: has no trial {trial}; see `tune leaderboard {study}`.")
    chosen = record.trials[trial]
    if chosen.confirms:
        raise StudyError(f"trial {trial} of {study}: confirms {chosen.confirms}; promote that one.")
    if chosen.status != "completed":
        raise StudyError(f"trial {trial} of {study}: is {chosen.status}, expected a completed one.")
    if chosen.run_id is None:
        raise StudyError(f"trial {trial} of {study}: was never logged to MLflow, so its weights are not there.")
    return chosen


def _lineage(record: StudyRecord, trial: TrialRecord) -> dict[str, str]:
    started = record.started
    return {
        "pneumo.study": started.study,
        "pneumo.trial": trial.trial,
        "pneumo.space_digest": started.space_digest,
        "pneumo.data_digest": started.data_digest,
        "pneumo.split_digest": started.split_digest,
        "pneumo.weights_digest": trial.weights_digest or "",
        "pneumo.git_commit": started.commit,
    }


def _foreign_uri(store: Store, record: StudyRecord) -> str | None:
    """The study's tracking server, or None if it was logged to the store's own database."""
    from tuning.tracking import embedded_uri

    uri = record.started.tracking_uri
    return None if uri == embedded_uri(store) else uri


def _result(
    assembly: Assembly, trial: TrialRecord, name: str, alias: str, reference: ModelReference | None
) -> PromotionResult:
    test = assembly.test
    seen = test and {
        "digest": test.test_digest,
        "images": len(test.table),
        "openings": test.openings,
        "reused": test.reused,
    }
    return PromotionResult(
        promoted=reference is not None,
        model=name,
        version=reference.version if reference else None,
        alias=alias,
        trial=trial.trial,
        run_id=trial.run_id,
        confirmed=trial.confirmed is not None,
        origin=assembly.whole.origin,
        operating_point=assembly.whole.operating_point.to_mapping(),
        metrics={key: defined(value) for key, value in assembly.metrics.items()},
        test=seen or None,
        warnings=assembly.warnings,
        reasons=[] if reference else ["dry run: built and checked, test folder not opened, nothing registered"],
    )
