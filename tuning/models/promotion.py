"""From the best trial of a study to a version in the model registry, scored on the test folder on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from pneumo_core.errors import ConfigError, StudyError
from pneumo_core.operating_point import DEFAULT_RULE, DEFAULT_TARGET, check_rule
from tuning.models.assembly import Assembly
from tuning.models.champion import Champion
from tuning.models.decision import Decision, Rules, decide
from tuning.models.ensemble import DEFAULT_VOTE, Ensemble, choose_ensemble
from tuning.models.gate import Check
from tuning.models.history import checked_reason
from tuning.models.lineage import lineage
from tuning.models.model_card import document_model
from tuning.models.policy import policy_for
from tuning.models.registry import ModelReference, Registry, check_alias, check_model_name
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
        trial: whose model it is; of an ensemble all members, with commas.
        ensemble: what it is put together from, in words; None if it is the model of one trial.
        run_id: of the MLflow run that it belongs to: the trial's; of an ensemble the study's.
        confirmed: whether the trial was confirmed.
        origin: where the model's weights come from, in words.
        operating_point: threshold and temperature, see `pneumo_core.operating_point`.
        metrics: `val_…` of the scores that chose the operating point, `test_…` of the model on the test folder, each
            with `…_low` and `…_high`, the ends of its 95 % interval.
        test: None if the test folder was not looked at; else its digest, number of images, how often it was opened by
            now, and whether scores of an earlier opening were used.
        policy: name of the policy that judged it.
        checks: each requirement of that policy that was judged; empty if the model is the champion already.
        forced: whether it was promoted against that policy.
        replaced: version that held the alias before, if it was promoted; None if there was none.
        warnings: sentences that the user should not miss.
        reasons: why it was not promoted.
    """

    promoted: bool
    model: str
    version: str | None
    alias: str
    trial: str
    ensemble: str | None
    run_id: str | None
    confirmed: bool
    origin: str
    operating_point: dict[str, Any]
    metrics: dict[str, float | None]
    test: dict[str, Any] | None
    policy: str
    checks: list[Check]
    forced: bool
    replaced: str | None
    warnings: list[str]
    reasons: list[str]


def promote(
    store: Store,
    study: str,
    *,
    trial: str | None = None,
    ensemble: int | None = None,
    vote: str | None = None,
    model: str | None = None,
    alias: str = "champion",
    policy: str | None = None,
    force: bool = False,
    reason: str = "",
    dry_run: bool = False,
    threshold_rule: str = DEFAULT_RULE,
    target_sensitivity: float = DEFAULT_TARGET,
    tracking_uri: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> PromotionResult:
    """Builds the whole model of a trial, scores it on the test folder, and registers it if it passes the gate.

    Threshold and temperature come from validation scores. The test folder decides one thing, whether the model fulfils
    the policy, of which the comparison with the version that holds the alias is a part.

    Args:
        store: that holds the study.
        study: its name.
        trial: id of the trial; the best one, confirmed if there are any, if None.
        ensemble: how many confirmed leaders leave as one model, instead of one trial.
        vote: of the ensemble: `soft` (if None) or `hard`, see `pneumo_core.ensemble`.
        model: name in the registry; that of the study's space if None.
        alias: to be set; its holder is the champion that the model is compared with.
        policy: name of a shipped policy, or a YAML file; the one named like the model, or else the default, if None.
        force: promote it although the policy says no; needs a reason.
        reason: why it is promoted, for the record.
        dry_run: build and check; leave the test folder closed, register nothing.
        threshold_rule: how the threshold is chosen on validation scores: `sensitivity` or `youden`.
        target_sensitivity: the least sensitivity there, for the rule of that name.
        tracking_uri: of MLflow; where the study was logged if None.
        tell: takes sentences for the user.

    Returns:
        What became of it. A model that does not fulfil the policy, or that is the champion already, is not registered.

    Raises:
        StudyError: if there is no such study, trial, or no completed one.
        ConfigError: if there is no such rule, target or vote, or both a trial and an ensemble are asked for.
        PolicyError: if there is no such policy, it is faulty, or it is to be overridden without a reason.
        ModelError: if model or alias cannot be named so, or the reason is too long.
        DatasetError: if the study's images changed or are gone.
        PromotionError: if the whole model scores differently from what was trained, patients of the test folder are
            outside of it too, or somebody moved the alias meanwhile.
        TrackingError: if MLflow fails.

    Side effects:
        Writes to the ledger of the test folder, and to the registry, unless it is a dry run.
    """
    record = load_record(store, study)
    if tracking_uri is not None:
        record.started = dataclasses.replace(record.started, tracking_uri=absolute_uri(tracking_uri))
    chosen = _chosen(record, trial, ensemble, vote)
    name = check_model_name(model or record.started.space)
    check_alias(alias)
    check_rule(threshold_rule, target_sensitivity)
    rules = Rules(policy_for(name, policy), force, checked_reason(reason) if reason.strip() else "")
    registry = Registry(store, _foreign_uri(store, record))
    from pneumo_core.runtime import start_tensorflow

    start_tensorflow(record.started.threads)
    with workbench(store, tell) as scratch:
        registry.mend(tell)
        assembly = Assembly(store, record, chosen, name, scratch, tell)
        champion = Champion.of(registry, name, alias)
        decision = decide(
            assembly,
            champion,
            rules,
            threshold_rule=threshold_rule,
            target_sensitivity=target_sensitivity,
            dry_run=dry_run,
        )
        reference = None
        if decision.registers:
            tags = lineage(record, chosen) | assembly.tags | decision.tags
            decision.write(assembly.folder)
            description = document_model(assembly, record, chosen, name, tags, decision.approval, decision.rivalry)
            tell(f"registering it as {name}")
            with assembly.refusals_recorded():  # of an alias that was moved meanwhile
                reference = registry.register(
                    assembly.folder,
                    name,
                    alias,
                    run_id=chosen.run_id or "",
                    metrics=assembly.metrics,
                    tags=tags,
                    change=decision.change(f"{chosen.trial} of {study}"),
                    description=description,
                )
        return _result(assembly, chosen, name, alias, decision, reference)


def _chosen(record: StudyRecord, trial: str | None, ensemble: int | None, vote: str | None) -> TrialRecord | Ensemble:
    if ensemble is None:
        if vote is not None:
            raise ConfigError(f"vote {vote}: expected an ensemble along with it; add `--ensemble 3`.")
        return choose_trial(record, trial)
    if trial is not None:
        raise ConfigError(
            f"trial {trial}: expected either a trial or an ensemble, got both; an ensemble takes the confirmed leaders."
        )
    return choose_ensemble(record, ensemble, vote or DEFAULT_VOTE)


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


def _foreign_uri(store: Store, record: StudyRecord) -> str | None:
    """The study's tracking server, or None if it was logged to the store's own database."""
    from tuning.tracking import embedded_uri

    uri = record.started.tracking_uri
    return None if uri == embedded_uri(store) else uri


def _result(
    assembly: Assembly,
    trial: TrialRecord | Ensemble,
    name: str,
    alias: str,
    decision: Decision,
    reference: ModelReference | None,
) -> PromotionResult:
    champion = decision.champion
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
        ensemble=trial.title if isinstance(trial, Ensemble) else None,
        run_id=trial.run_id,
        confirmed=trial.confirmed is not None,
        origin=assembly.whole.origin,
        operating_point=assembly.whole.operating_point.to_mapping(),
        metrics={key: defined(value) for key, value in assembly.metrics.items()},
        test=seen or None,
        policy=decision.verdict.policy,
        checks=list(decision.verdict.checks),
        forced=decision.forced,
        replaced=champion.reference.version if champion and reference else None,
        warnings=assembly.warnings,
        reasons=list(decision.refusal),
    )
