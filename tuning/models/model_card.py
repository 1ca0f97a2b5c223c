"""The card that goes with a registered model, for people: Markdown, an HTML page, and a summary for the MLflow UI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.document import as_markdown, as_page, markdown_text
from tuning.models.card_facts import Approval, CardFacts
from tuning.models.card_gathering import facts_of
from tuning.models.card_results import approval_sentence, with_interval
from tuning.models.card_sections import RESEARCH_ONLY, sections
from tuning.models.gate import Rivalry
from tuning.models.lineage import write_lineage

if TYPE_CHECKING:
    from tuning.models.assembly import Assembly
    from tuning.models.ensemble import Ensemble
    from tuning.record import StudyRecord, TrialRecord

MARKDOWN_FILE, PAGE_FILE = "model_card.md", "model_card.html"

MAX_DESCRIPTION = 5000
"""Characters of a version's description that MLflow's database holds (`mlflow.store.model_registry.dbmodels`)."""

_HEADLINES = {"roc_auc": "ROC AUC", "sensitivity": "sensitivity", "specificity": "specificity", "brier": "Brier score"}
_LONGEST_LINE = 600


def write_model_card(folder: Path, facts: CardFacts) -> None:
    """Writes the card.

    Args:
        folder: of the model.
        facts: what is known of it.

    Side effects:
        Writes `model_card.md` and `model_card.html`.
    """
    title, parts = f"Model card: {facts.name}", sections(facts)
    (folder / MARKDOWN_FILE).write_text(as_markdown(title, parts), encoding="utf-8")
    (folder / PAGE_FILE).write_text(as_page(title, parts), encoding="utf-8")


def document_model(
    assembly: Assembly,
    record: StudyRecord,
    trial: TrialRecord | Ensemble,
    name: str,
    tags: Mapping[str, str],
    approval: Approval | None = None,
    rivalry: Rivalry | None = None,
) -> str:
    """Writes into a model's folder what it is and where it comes from; returns the description of its version.

    Args:
        assembly: the model, built and, if it may be, scored on the test folder.
        record: of its study.
        trial: whose model it is.
        name: in the registry.
        tags: of the version.
        approval: by a policy.
        rivalry: with the former champion.

    Side effects:
        Writes the card, and the files of `tuning.models.lineage.write_lineage`.
    """
    facts = facts_of(assembly, record, trial, name, tags, approval, rivalry)
    write_lineage(assembly.folder, record, tags)
    write_model_card(assembly.folder, facts)
    return summary(facts)


def summary(facts: CardFacts) -> str:
    """Returns the card in a few lines of Markdown, at most `MAX_DESCRIPTION` characters."""
    text = f"**{RESEARCH_ONLY}**"
    for line in _summary_lines(facts):
        addition = f"\n\n{line}"
        if len(text) + len(addition) <= MAX_DESCRIPTION:  # a warning of many words may be left out, the card has it
            text += addition
    return text


def _summary_lines(facts: CardFacts) -> Iterator[str]:
    yield _tested(facts)
    if facts.approval is not None:
        yield _line(approval_sentence(facts.approval))
    if facts.search is not None:
        origin = f": {facts.origin}" if facts.origin else ""
        yield _line(f"From trial {facts.search.trial} of study {facts.search.study}{origin}.")
    if facts.data is not None:
        yield _line(f"Data: {facts.data.folder}, {facts.data.protocol}.")
    yield f"All that is known of it: `{PAGE_FILE}` and `{MARKDOWN_FILE}` among its files."
    for warning in facts.warnings:
        yield "- " + _line(warning)


def _tested(facts: CardFacts) -> str:
    if facts.test is None:
        return "Not scored on a test folder."
    report, openings = facts.test.report, facts.test.openings
    shown = [f"{label} {with_interval(report.metrics[name])}" for name, label in _HEADLINES.items()]
    times = "once" if openings == 1 else f"{openings} times"
    return f"Test folder ({report.sizes['images']:,} images, opened {times}; 95 % intervals): {', '.join(shown)}."


def _line(text: str) -> str:
    return markdown_text(text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…")
