"""keras-tuner's Hyperband, mended for finite spaces, failed trials and resumed studies."""

from __future__ import annotations

import math
import sys
from typing import Any

import keras_tuner as kt
from keras_tuner.src.engine.trial import TrialStatus

from search_spaces import SearchSpace
from search_spaces.conditions import complete
from tuning.algorithms import StudyOracle
from tuning.spaces import HYPERBAND_FACTOR
from tuning.tpe import Values


class HyperbandOracle(StudyOracle, kt.oracles.HyperbandOracle):  # type: ignore[misc]
    """Brackets follow one another without end. A rung is a new trial with the same values, trained on.

    Known configurations take the first places of the first bracket.

    Args:
        space: what is searched.
        epochs: that a full training takes.
    """

    def __init__(self, space: SearchSpace, epochs: int) -> None:
        self._available = sys.maxsize
        self._given: Values | None = None
        super().__init__(space, max_epochs=epochs, factor=HYPERBAND_FACTOR, hyperband_iterations=None)

    def propose(self, trial_id: str) -> Values | None:
        """Returns the values of a new trial and, as `tuner/...`, what it trains and continues; or None."""
        self._reseed()
        response = self.populate_space(trial_id)
        if response["status"] == TrialStatus.STOPPED and self._close_first_round():
            response = self.populate_space(trial_id)
        # An ask in vain may leave an empty bracket behind, of which no journal knows. It makes no difference: there is
        # nothing new for it, now or later.
        return dict(response["values"]) if response["status"] == TrialStatus.RUNNING else None

    def propose_again(self, trial_id: str, values: Values) -> Values | None:
        """Returns what `propose` returned when a trial got these values; None if it cannot have."""
        self._given = values
        try:
            found = self.propose(trial_id)
        finally:
            self._given = None
        same = found is not None and complete(self.space.parameters, found) == values
        return found if same else None

    def finish(self, trial_id: str, score: float | None) -> None:
        """Takes note that a trial is over.

        A failed one counts as the worst: left out, it would leave its bracket one short of a final.
        """
        worst = -math.inf if self.space.direction == "max" else math.inf
        super().finish(trial_id, worst if score is None else score)

    def is_waiting(self) -> bool:
        """Returns whether running trials are waited for: their bracket goes on with the best of them."""
        return bool(self.ongoing_trials)

    def in_use(self) -> set[str]:
        """Returns the trials of open brackets, without those whose bracket has one round."""
        return {
            place["id"]
            for bracket in self._brackets
            if len(bracket["rounds"]) > 1 and not self._is_over(bracket)
            for places in bracket["rounds"]
            for place in places
        }

    def _remove_completed_brackets(self) -> None:
        """keras-tuner drops a bracket while its last trials still run."""
        self._brackets: list[dict[str, Any]] = [bracket for bracket in self._brackets if not self._is_over(bracket)]

    def _is_over(self, bracket: dict[str, Any]) -> bool:
        last = bracket["rounds"][-1]
        is_full = len(last) >= self._get_size(bracket["bracket_num"], len(bracket["rounds"]) - 1)
        return is_full and not any(place["id"] in self.ongoing_trials for place in last)

    def _close_first_round(self) -> bool:
        """Where a finite space has nothing new left, what the open bracket has goes on to its longer rounds."""
        bracket = self._brackets[-1]
        self._available = len(bracket["rounds"][0])
        return self._available > 0 and len(bracket["rounds"]) > 1 and not bracket["rounds"][1]

    def _get_size(self, bracket_num: int, round_num: int) -> int:
        available = max(1, math.ceil(self._available / HYPERBAND_FACTOR**round_num))
        size: int = super()._get_size(bracket_num, round_num)
        return size if size < available else available

    def _random_values(self) -> Values | None:
        """What a bracket's first round takes in: only a rung repeats what was tried."""
        if self._given is not None:
            return None if self._was_tried(self._given) else dict(self._given)
        known = self._next_known()
        return super()._random_values() if known is None else dict(known)
