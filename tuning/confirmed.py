"""What a confirmation came to: as documents for scripts, and as sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.events import StudyConfirmed, TrialConfirmed
from tuning.ranking import defined
from tuning.record import StudyRecord, TrialRecord


def trial_summary(trial: TrialRecord) -> dict[str, Any]:
    """Returns the best trial as `tune run --json` has it: with its score in the search, and confirmed or not."""
    return {
        "trial": trial.trial,
        "score": trial.score,
        "params": trial.params,
        "run_id": trial.run_id,
        "confirmed": trial.confirmed is not None,
        "confirmation": trial.confirmed and confirmed_summary(trial.confirmed),
    }


def confirmed_summary(confirmed: TrialConfirmed) -> dict[str, Any]:
    """Returns a place among the confirmed ones: rank, score, interval, tied, difference, deviation, metrics, runs."""
    return {
        "rank": confirmed.rank,
        "score": confirmed.score,
        "interval": [defined(confirmed.low), defined(confirmed.high)],
        "tied_with_first": confirmed.tied,
        "difference_to_first": [defined(value) for value in confirmed.difference],
        "seed_deviation": confirmed.deviation,
        "metrics": {name: [*map(defined, value)] for name, value in confirmed.metrics.items()},
        "threshold": confirmed.threshold,
        "temperature": confirmed.temperature,
        "runs": confirmed.runs,
    }


def confirmation_summary(record: StudyRecord) -> dict[str, Any] | None:
    """Returns what became of the confirmation, the ranking in it; None if there was none or it is not over."""
    whole = record.confirmed
    if whole is None:
        return None
    return {
        **whole.confirm,
        "best": whole.best or None,
        "ranking": [{"trial": place.trial, **confirmed_summary(place)} for place in record.places],
        "left_out": whole.left_out,
        "compared": whole.compared,
        "expected_optimism": whole.expected_optimism,
        "observed_optimism": whole.observed_optimism,
    }


def confirmation_sentences(record: StudyRecord) -> list[str]:
    """Returns what the confirmation came to, for people."""
    whole, objective = record.confirmed, record.started.objective
    if whole is None:
        return (
            ["not confirmed: the leaders were chosen for these scores, which flatters them"] if record.searched else []
        )
    sentences = [f"{trial} could not be confirmed ({reason})" for trial, reason in whole.left_out.items()]
    places = record.places
    if not places:
        return sentences
    first, tied = places[0], [place.trial for place in places if place.tied]
    causes = "these images and seeds" if whole.confirm["seeds"] > 1 else "these images"
    sentences.append(
        f"confirmed: {first.trial} with {objective} {first.score:.4f} ({first.low:.4f} to {first.high:.4f}, 95 %) over "
        f"{confirmed_by(whole.confirm)}"
        + (f"; tied with {', '.join(tied)}: {causes} cannot tell them apart" if tied else "")
    )
    if whole.confirm["seeds"] == 1 and len(places) > 1:
        sentences.append("one seed each: how much another seed would change is not known, nor counted in who is tied")
    if record.outdated:
        sentences.append("there are newer trials, or another confirmation was asked for; this one is from before")
    return sentences + _optimism(record, whole)


def confirmed_by(confirm: Mapping[str, Any]) -> str:
    """Returns how leaders were confirmed, in words."""
    seeds, folds, size = confirm["seeds"], confirm["folds"], confirm["image_size"]
    words = f"{seeds} seed{'s' if seeds > 1 else ''} × {folds} fold{'s' if folds > 1 else ''}"
    return words + (f" at {size} px" if size else "")


def _optimism(record: StudyRecord, whole: StudyConfirmed) -> list[str]:
    sentences = []
    if whole.observed_optimism is not None:
        change = "less" if whole.observed_optimism > 0 else "more"
        sentences.append(
            f"the search's leader, chosen for its score, came to {abs(whole.observed_optimism):.4f} {change} when "
            "trained again"
        )
    if whole.expected_optimism:
        sentences.append(
            f"by the chance of the images alone the best of {whole.compared} equal configurations looks about "
            f"{whole.expected_optimism:.4f} better than it is"
        )
    return sentences
