"""The search of a study: which trial comes next, by its oracle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from search_spaces import SearchSpace
from tuning.events import Event, TrialCompleted, TrialFailed, TrialStarted
from tuning.oracles import NoSuggestion, SearchOracle, Suggestion
from tuning.pruning import pruning_thresholds
from tuning.record import StudyRecord
from tuning.spaces import base_config


class Search:
    """Asks the oracle for trials and tells it what became of them.

    Args:
        space: what is searched.

    Attributes:
        exhausted: whether every configuration was tried.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space, self._base = space, base_config(space)
        self._oracle = SearchOracle(space, self._base.epochs)
        self.exhausted = False

    def take_up(self, history: Iterable[Event]) -> None:
        """Brings the oracle to where a journal ends."""
        confirming = set()
        for event in history:
            if isinstance(event, TrialStarted) and event.confirms:
                confirming.add(event.trial)
            elif isinstance(event, TrialStarted):
                values = {name: value for name, value in event.params.items() if value is not None}
                searched = {p.name: values[p.name] for p in self._space.parameters if p.name in values}
                self._oracle.restore(event.trial, searched)
            elif isinstance(event, TrialCompleted | TrialFailed) and event.trial not in confirming:
                self._oracle.tell(event.trial, event.score if isinstance(event, TrialCompleted) else None)

    def next(self, record: StudyRecord) -> TrialStarted | None:
        """Returns the next trial; None if there are enough, none is left, or running ones are waited for."""
        number = record.begun + 1
        if number > record.trials_wanted:
            return None
        trial = f"t{number:04d}"
        suggestion = self._oracle.ask(trial)
        if isinstance(suggestion, NoSuggestion):
            self.exhausted = suggestion is NoSuggestion.EXHAUSTED
            return None
        config = suggestion.config(self._base)
        thresholds = self._thresholds(record, config.epochs_to_run)
        return TrialStarted(
            trial,
            len(record.trials) + 1,
            _params(suggestion, record),
            config.to_mapping(),
            suggestion.parent,
            suggestion.first_epoch,
            {str(epochs): loss for epochs, loss in thresholds.items()},
        )

    def _thresholds(self, record: StudyRecord, epochs: int) -> dict[int, float]:
        rule = record.started.pruning
        if rule == "none":
            return {}
        finished = [other.epoch_losses for other in record.searched if other.score is not None]
        return pruning_thresholds(rule, finished, epochs)

    def tell(self, trial: str, score: float | None) -> None:
        """Takes note that a trial of the search is over; a failed one has no score."""
        self._oracle.tell(trial, score)

    def in_use(self) -> set[str]:
        """Returns the trials whose training a later one may continue."""
        return set(self._oracle.in_use())


def _params(suggestion: Suggestion, record: StudyRecord) -> dict[str, Any]:
    """Every searched parameter, so that all trials have the same keys; None where a condition does not hold."""
    params = {name: suggestion.values.get(name) for name in record.started.parameters}
    return params | ({"stop_after": suggestion.stop_after} if suggestion.stop_after else {})
