"""Ask and tell: what a study tries next, by the algorithm of its space."""

from __future__ import annotations

import dataclasses
import enum

from pneumo_core.config import TrialConfig
from pneumo_core.errors import StoreError
from search_spaces import SearchSpace
from tuning.algorithms import BayesianOracle, GridOracle, RandomOracle, StudyOracle, TpeOracle
from tuning.hyperband import HyperbandOracle
from tuning.tpe import Values


class NoSuggestion(enum.Enum):
    """Why there is nothing to try."""

    WAITING = "running trials must end first"
    EXHAUSTED = "nothing is left to try"


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A configuration to try.

    Attributes:
        trial: id, as the caller chose it.
        values: of the searched parameters whose conditions hold.
        stop_after: epochs to train; 0 for all. Set by Hyperband.
        parent: trial whose training is continued (a rung of Hyperband); empty for none.
        first_epoch: epochs that the parent has trained.
    """

    trial: str
    values: Values
    stop_after: int = 0
    parent: str = ""
    first_epoch: int = 0

    def config(self, base: TrialConfig) -> TrialConfig:
        """Returns the configuration to train: the suggested values over those that all trials share."""
        return TrialConfig.from_mapping({**base.to_mapping(), **self.values, "stop_after": self.stop_after})


class SearchOracle:
    """Proposes configurations of a space, never the same one twice; known ones (`start_with`) come first.

    A suggestion is a pure function of the space, its seed included, and of all asks that had one and all tells, in
    their order. An oracle that is told of them again goes on as if it had never been away.

    Args:
        space: what is searched, and in which direction; its algorithm and seed are used.
        epochs: that a full training takes; Hyperband gives most trials fewer.
    """

    def __init__(self, space: SearchSpace, epochs: int) -> None:
        self._space = space
        self._oracle = _build_oracle(space, epochs)

    def ask(self, trial: str) -> Suggestion | NoSuggestion:
        """Returns the next configuration, or why there is none.

        Args:
            trial: id for it, not used before.
        """
        values = self._oracle.propose(trial)
        if values is None:
            return NoSuggestion.WAITING if self._oracle.is_waiting() else NoSuggestion.EXHAUSTED
        return self._begin(trial, values)

    def restore(self, trial: str, values: Values) -> Suggestion:
        """Repeats an ask that was answered before, at a fraction of its cost.

        Args:
            trial: id.
            values: that it was answered with.

        Raises:
            StoreError: if it cannot have been.
        """
        again = self._oracle.propose_again(trial, values)
        if again is None:
            raise StoreError(
                f"the journal's trial {trial} is not what this program would have proposed; "
                "the journal or the program was changed: begin a new study."
            )
        return self._begin(trial, again)

    def tell(self, trial: str, score: float | None) -> None:
        """Reports the score of a trial, or None where it failed."""
        self._oracle.finish(trial, score)

    def in_use(self) -> set[str]:
        """Returns the trials whose training may still be continued by others: those in open brackets of Hyperband."""
        return self._oracle.in_use()

    def _begin(self, trial: str, values: Values) -> Suggestion:
        self._oracle.begin(trial, values)
        return Suggestion(
            trial,
            {p.name: values[p.name] for p in self._space.parameters if p.name in values},
            stop_after=int(values.get("tuner/epochs", 0)),
            parent=values.get("tuner/trial_id", ""),
            first_epoch=int(values.get("tuner/initial_epoch", 0)),
        )


def _build_oracle(space: SearchSpace, epochs: int) -> StudyOracle:
    if not space.parameters:
        return GridOracle(space)
    if space.algorithm == "hyperband":
        return HyperbandOracle(space, epochs)
    oracles = {"tpe": TpeOracle, "random": RandomOracle, "grid": GridOracle, "bayesian": BayesianOracle}
    return oracles[space.algorithm](space)
