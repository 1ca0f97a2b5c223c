"""Which trials leave as one model: the first of a study's confirmed leaders."""

from __future__ import annotations

import dataclasses

from pneumo_core.errors import ConfigError, StudyError
from tuning.events import TrialConfirmed
from tuning.record import StudyRecord, TrialRecord

DEFAULT_VOTE = "soft"

FEWEST, MOST = 2, 9
"""Members of an ensemble. Each is a training once more, and the tenth changes little."""


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Trials that leave as one model; it can be asked what a trial can be asked.

    Attributes:
        members: the best first.
        vote: see `pneumo_core.ensemble`.
        run_id: of the MLflow run that the model belongs to: the study's, as no trial's scores are its scores.
    """

    members: tuple[TrialRecord, ...]
    vote: str
    run_id: str

    @property
    def trials(self) -> list[str]:
        """Ids of the members."""
        return [member.trial for member in self.members]

    @property
    def trial(self) -> str:
        """Ids of the members with commas, where a trial has its own."""
        return ",".join(self.trials)

    @property
    def title(self) -> str:
        """The ensemble in words."""
        return f"{self.vote} of {', '.join(self.trials)}"

    @property
    def confirmed(self) -> TrialConfirmed | None:
        """The place of the first member; all have one."""
        return self.members[0].confirmed

    @property
    def weights_digest(self) -> str | None:
        """Of the backbone weights that all members started from."""
        return self.members[0].weights_digest


def choose_ensemble(record: StudyRecord, number: int, vote: str = DEFAULT_VOTE) -> Ensemble:
    """Returns the first of a study's confirmed leaders.

    Args:
        record: of the study.
        number: how many.
        vote: see `pneumo_core.ensemble`.

    Raises:
        ConfigError: if there can be no such ensemble.
        StudyError: if fewer are confirmed, or they are not in MLflow.
    """
    _check(number, vote)
    study, places = record.started.study, [place for place in record.places if place.leads]
    if len(places) < number:
        have = {0: "no trial is"}.get(len(places), f"only {', '.join(place.trial for place in places)} {_are(places)}")
        raise StudyError(
            f"study {study}: expected {number} confirmed trials for an ensemble, but {have} confirmed; first "
            f"`tune confirm {study} --top {number}`."
        )
    members = tuple(record.trials[place.trial] for place in places[:number])
    runs = {study: record.run_id} | {member.trial: member.run_id for member in members}
    if missing := [name for name, run_id in runs.items() if run_id is None]:
        raise StudyError(
            f"study {study}: {', '.join(missing)} never came to MLflow; bring it there with `tune sync {study}`."
        )
    return Ensemble(members, vote, record.run_id or "")


def _are(places: list[TrialConfirmed]) -> str:
    return "are" if len(places) > 1 else "is"


def _check(number: int, vote: str) -> None:
    if not FEWEST <= number <= MOST:
        raise ConfigError(f"ensemble: expected {FEWEST} to {MOST} members, got {number}.")
    if vote not in ("soft", "hard"):
        raise ConfigError(f"vote: expected soft or hard, got {vote}.")
    if vote == "hard" and number % 2 == 0:
        raise ConfigError(
            f"ensemble: expected an odd number of members for a hard vote, got {number}, who may be divided equally."
        )
