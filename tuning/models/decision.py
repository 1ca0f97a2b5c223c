"""Whether a model is registered: by its policy, against it for a reason, or not at all; and the record of that."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumo_core.errors import PolicyError
from tuning.models.assembly import Assembly
from tuning.models.card_facts import Approval
from tuning.models.champion import Champion
from tuning.models.gate import Evidence, Rivalry, Verdict, judge, judge_beforehand, numbers_of
from tuning.models.policy import Policy
from tuning.models.registry import Change

VERDICT_FILE = "gate.json"
"""In a model's folder: the policy, each requirement, and the comparison with the champion it replaced."""

DRY_RUN = "dry run: built and checked, test folder not opened, nothing registered"


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a promotion goes by.

    Attributes:
        policy: that judges the model.
        force: whether a model that does not fulfil it is promoted all the same.
        reason: for the promotion, in the user's words; empty if there is none.

    Raises:
        PolicyError: if a policy is to be overridden without a reason.
    """

    policy: Policy
    force: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        if self.force and not self.reason.strip():
            raise PolicyError("--force: expected --reason as well; say why the policy is overridden, for the record.")


@dataclasses.dataclass(frozen=True)
class Decision:
    """What came of a model.

    Attributes:
        rules: that were gone by.
        verdict: of the policy.
        evidence: that the verdict rests on; None where there was no need of it.
        champion: that the model wants to replace, if there is one.
        refusal: why it is not registered; empty if it is.
    """

    rules: Rules
    verdict: Verdict
    evidence: Evidence | None
    champion: Champion | None
    refusal: Sequence[str]

    @property
    def registers(self) -> bool:
        """Whether the model is to hold the alias."""
        return not self.refusal

    @property
    def forced(self) -> bool:
        """Whether that is against the policy."""
        return self.registers and not self.verdict.passed

    @property
    def tags(self) -> dict[str, str]:
        """What the version bears of it."""
        tags = {"pneumo.policy": self.verdict.policy, "pneumo.gate": "forced" if self.forced else "passed"}
        return tags | ({"pneumo.forced_reason": self.rules.reason} if self.forced else {})

    @property
    def rivalry(self) -> Rivalry | None:
        """The comparison with the champion, if there was one to be compared with."""
        return self.evidence.rivalry if self.evidence else None

    @property
    def approval(self) -> Approval:
        """What a model card says of it."""
        return Approval(self.verdict.policy, self.verdict.checks, self.rules.reason if self.forced else "")

    def change(self, otherwise: str) -> Change:
        """Returns why the alias comes to point to the model.

        Args:
            otherwise: the reason, if the user gave none.
        """
        numbers = numbers_of(self.evidence) if self.evidence else {}
        present = self.champion.reference.version if self.champion else ""
        return Change(self.rules.reason or otherwise, self.verdict.policy, self.forced, numbers, present)

    def to_mapping(self) -> dict[str, Any]:
        """Returns the decision for JSON."""
        rivalry = self.rivalry
        return {
            "policy": self.rules.policy.model_dump(mode="json"),
            "passed": self.verdict.passed,
            "forced": self.forced,
            "reason": self.rules.reason,
            "checks": [dataclasses.asdict(check) for check in self.verdict.checks],
            "notes": list(self.verdict.notes),
            "champion": rivalry.champion if rivalry else None,
            "comparison": rivalry.comparison.to_mapping() if rivalry and rivalry.comparison else None,
        }

    def write(self, folder: Path) -> None:
        """Keeps the decision with the model.

        Side effects:
            Writes `VERDICT_FILE`.
        """
        (folder / VERDICT_FILE).write_text(json.dumps(self.to_mapping(), indent=2, allow_nan=False) + "\n")


def decide(
    assembly: Assembly,
    champion: Champion | None,
    rules: Rules,
    *,
    threshold_rule: str,
    target_sensitivity: float,
    dry_run: bool = False,
) -> Decision:
    """Builds a model, scores it on the test folder and holds it against the policy.

    Args:
        assembly: the model, not built yet.
        champion: that it wants to replace, if there is one.
        rules: policy, and whether it is overridden.
        threshold_rule: see `pneumo_core.operating_point.choose_threshold`.
        target_sensitivity: likewise.
        dry_run: leave the test folder closed; judge by what needs none.

    Raises:
        PromotionError: if the model is not what was tried, or patients of the test folder are outside of it.
        DatasetError: if the test folder lacks a class.

    Side effects:
        Unless it is a dry run, opens the test folder through its ledger, and records there what was refused or forced.
    """
    with contextlib.nullcontext() if dry_run else assembly.refusals_recorded():
        if not dry_run:
            assembly.refuse_leakage()
        assembly.build(threshold_rule, target_sensitivity)
        decision = _decision(assembly, champion, rules, dry_run)
    if not dry_run:
        _record(assembly, decision)
    return decision


def _decision(assembly: Assembly, champion: Champion | None, rules: Rules, dry_run: bool) -> Decision:
    policy = rules.policy
    if champion is not None and assembly.is_held_by(champion):
        same = f"it is already the champion, {champion.reference}: the same weights, temperature and threshold"
        return Decision(rules, Verdict(policy.name, ()), None, champion, [same])
    if dry_run:
        evidence = assembly.evidence(None)
        verdict = judge_beforehand(policy, evidence)
        return Decision(rules, verdict, evidence, champion, [DRY_RUN, *verdict.reasons])
    former = champion.tags.get("pneumo.policy", policy.name) if champion else policy.name
    if former != policy.name:
        assembly.warnings.append(f"{champion} went by policy {former}, this model goes by {policy.name}")
    assembly.open_test()
    evidence = assembly.evidence(champion)
    verdict = judge(policy, evidence)
    assembly.warnings += [f"policy {policy.name}: {note}" for note in verdict.notes]
    return Decision(rules, verdict, evidence, champion, [] if rules.force else verdict.reasons)


def _record(assembly: Assembly, decision: Decision) -> None:
    if decision.refusal:
        assembly.record_refusal("; ".join(decision.refusal))
    if decision.forced:
        assembly.record_force(f"{decision.rules.reason} (not met: {'; '.join(decision.verdict.reasons)})")
