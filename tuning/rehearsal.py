"""What a study will try, as far as that can be known before its first result."""

from __future__ import annotations

from pneumo_core.config import TrialConfig
from search_spaces import SearchSpace
from tuning.oracles import NoSuggestion, SearchOracle
from tuning.spaces import base_config

FORESEEN_TRIALS = 10
"""Known configurations come first; TPE, random and grid search learn nothing from results before the tenth trial."""


def trial_count(space: SearchSpace) -> int:
    """Returns how many trials a study makes: those asked for, or all that a finite space has; rungs repeat values."""
    return space.trials if space.algorithm == "hyperband" else min(space.trials, space.size() or space.trials)


def foreseen(space: SearchSpace, trials: int = FORESEEN_TRIALS) -> list[TrialConfig]:
    """Returns the first configurations of a study, in their order.

    An oracle is asked as the study will ask it, and told the same score for each. Beyond the first ten, and from a
    Bayesian or Hyperband oracle sooner, this is what the study would try if all scores were equal.

    Args:
        space: what is searched.
        trials: how many to return at most; fewer if the study has fewer.
    """
    base = base_config(space)
    oracle = SearchOracle(space, base.epochs)
    configs: list[TrialConfig] = []
    for number in range(1, min(trials, space.trials) + 1):
        trial = f"t{number:04d}"
        suggestion = oracle.ask(trial)
        if isinstance(suggestion, NoSuggestion):
            break
        configs.append(suggestion.config(base))
        oracle.tell(trial, 0.5)
    return configs
