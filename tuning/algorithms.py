"""Random, grid and Bayesian search and TPE as oracles of keras-tuner, each with what a study needs mended.

keras-tuner's own ways to run an oracle (`keras_tuner.Tuner`, files, workers' ids) are not used. An oracle is told of
trials by `begin` and `finish`; what it proposes is a pure function of the space, its seed, and those calls in order.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import keras_tuner as kt
import numpy as np
from keras_tuner.src.engine.trial import Trial, TrialStatus

from pneumo_core.seeds import derive, generator
from search_spaces import ChoiceParameter, FloatParameter, Parameter, SearchSpace
from search_spaces.conditions import complete
from tuning.tpe import TpeSuggester, Values

Key = tuple[tuple[str, Any], ...]

_ENUMERABLE = 10_000  # finite spaces up to this size are searched for what was not tried yet


class StudyOracle(kt.Oracle):  # type: ignore[misc]
    """What all our oracles do differently from keras-tuner's: known ones first, nothing twice, no hidden state.

    Args:
        space: what is searched.
        **options: of the oracle that is behind this one.
    """

    def __init__(self, space: SearchSpace, **options: Any) -> None:
        self.space = space
        self._size = space.size()
        self._known = [(_key(values), values) for values in map(space.complete, space.start_with)]
        self._tried: set[Key] = set()
        super().__init__(
            objective=kt.Objective(space.objective, space.direction),
            hyperparameters=_hyperparameters(space),
            allow_new_entries=False,
            tune_new_entries=False,
            **options,
        )

    def propose(self, trial_id: str) -> Values | None:
        """Returns the values of all active parameters of a new trial, or None if there is nothing to propose."""
        self._reseed()
        known = self._next_known()
        if known is not None or self._is_exhausted():
            return known
        values = self._draw(trial_id)
        return self._random_values() if values is None or self._was_tried(values) else values

    def propose_again(self, trial_id: str, values: Values) -> Values | None:
        """Returns what `propose` returned when a trial got these values, without drawing them again."""
        return values

    def begin(self, trial_id: str, values: Values) -> None:
        """Takes note that a trial runs."""
        hyperparameters = copy.copy(self.hyperparameters)
        hyperparameters.values = dict(values)
        trial = Trial(hyperparameters, trial_id, TrialStatus.RUNNING)
        self.trials[trial_id] = self.ongoing_trials[trial_id] = trial
        self._tried.add(_key(values))

    def finish(self, trial_id: str, score: float | None) -> None:
        """Takes note that a trial is over, with its score or, if it failed, without."""
        trial = self.ongoing_trials.pop(trial_id)
        trial.score, trial.status = score, TrialStatus.FAILED if score is None else TrialStatus.COMPLETED

    def is_waiting(self) -> bool:
        """Returns whether there may be more to propose once running trials are over."""
        return False

    def in_use(self) -> set[str]:
        """Returns the trials whose training may be continued by others."""
        return set()

    def _draw(self, trial_id: str) -> Values | None:
        values = self.populate_space(trial_id).get("values")
        return None if values is None else complete(self.space.parameters, values)

    def _reseed(self) -> None:
        """keras-tuner draws from a state that moves on with every draw, and takes a seed of 0 for none."""
        self.seed = self._seed_state = 1 + derive(self.space.seed, "oracle", len(self.trials), bits=30)

    def _next_known(self) -> Values | None:
        return next((values for key, values in self._known if key not in self._tried), None)

    def _is_exhausted(self) -> bool:
        return self._size is not None and len(self._tried) >= self._size

    def _was_tried(self, values: Values) -> bool:
        return _key(complete(self.space.parameters, values)) in self._tried

    _duplicate = _was_tried  # what keras-tuner asks; it would compare the last bits of floats

    def _random_values(self) -> Values | None:
        """Something new at random; keras-tuner's own draw gives up after 20 that were not."""
        values = None if self._is_exhausted() else super()._random_values()
        while values is None and not self._is_exhausted():
            few = self._size is not None and self._size <= _ENUMERABLE
            values = self._any_left() if few else super()._random_values()
        return None if values is None else complete(self.space.parameters, values)

    def _any_left(self) -> Values:
        left = [values for values in configurations(self.space) if _key(values) not in self._tried]
        rng = generator(self.space.seed, "untried", len(self.trials))
        return left[int(rng.integers(len(left)))]


class RandomOracle(StudyOracle, kt.oracles.RandomSearchOracle):  # type: ignore[misc]
    """keras-tuner's random search."""


class BayesianOracle(StudyOracle, kt.oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """keras-tuner's Gaussian process."""

    def _reseed(self) -> None:
        super()._reseed()
        self._random_state = np.random.RandomState(self.seed)
        self.gpr = self._make_gpr()

    def _vectorize_trials(self) -> tuple[np.ndarray, np.ndarray]:
        """Running trials get a pessimistic guess. keras-tuner takes it from the process that was fitted last time."""
        completed = [trial for trial in self.trials.values() if trial.status == TrialStatus.COMPLETED]
        sign = -1 if self.space.direction == "max" else 1
        x = np.array([self._vector(trial) for trial in completed])
        y = np.array([sign * trial.score for trial in completed])
        if not self.ongoing_trials:
            return x, y
        self.gpr.fit(x, y)
        running = np.array([self._vector(trial) for trial in self.ongoing_trials.values()])
        mean, deviation = self.gpr.predict(running, return_std=True)
        return np.concatenate([x, running]), np.concatenate([y, mean + deviation])

    def _vector(self, trial: Any) -> list[float]:
        values = trial.hyperparameters.values
        return [hp.value_to_prob(values.get(hp.name, hp.default)) for hp in self.hyperparameters.space]


class GridOracle(StudyOracle):
    """Every configuration in order. keras-tuner's own grid finishes after 0 trials when resumed (its issue #1055)."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        self._remaining = configurations(space)

    def _draw(self, trial_id: str) -> Values | None:
        return next((values for values in self._remaining if not self._was_tried(values)), None)


class TpeOracle(StudyOracle):
    """Delegates to Optuna's tree-structured Parzen estimator."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        self._suggester = TpeSuggester(space)

    def begin(self, trial_id: str, values: Values) -> None:
        """Takes note that a trial runs."""
        super().begin(trial_id, values)
        self._suggester.begin(trial_id, values)

    def finish(self, trial_id: str, score: float | None) -> None:
        """Takes note that a trial is over."""
        super().finish(trial_id, score)
        self._suggester.finish(trial_id, score)

    def _draw(self, trial_id: str) -> Values | None:
        return self._suggester.propose(len(self.trials))


def configurations(space: SearchSpace, chosen: Mapping[str, Any] | None = None) -> Iterator[Values]:
    """Yields every configuration of a finite space, the last parameter varying fastest, conditions honoured."""
    chosen = dict(chosen or {})
    for parameter in space.parameters[len(chosen) :]:
        if not parameter.holds(chosen):
            chosen[parameter.name] = None
            continue
        for value in parameter.domain() or ():
            yield from configurations(space, chosen | {parameter.name: value})
        return
    yield {name: value for name, value in chosen.items() if value is not None}


def _hyperparameters(space: SearchSpace) -> kt.HyperParameters:
    """keras-tuner's form of the space, conditions included."""
    hyperparameters = kt.HyperParameters()
    for parameter in space.parameters:
        with contextlib.ExitStack() as scopes:
            for parent, values in parameter.when.items():
                scopes.enter_context(hyperparameters.conditional_scope(parent, list(values)))
            _register(hyperparameters, parameter)
    return hyperparameters


def _register(hyperparameters: kt.HyperParameters, parameter: Parameter) -> None:
    name, default = parameter.name, parameter.effective_default
    if isinstance(parameter, ChoiceParameter):
        hyperparameters.Choice(name, list(parameter.values), ordered=parameter.ordered, default=default)
    elif isinstance(parameter, FloatParameter) and (steps := parameter.domain()) is not None:
        # keras-tuner rounds steps down: of 0.2 to 0.6 by 0.1 it never draws 0.6, and takes 0.3 for 0.2.
        hyperparameters.Choice(name, list(steps), ordered=True, default=default)
    else:
        register = hyperparameters.Float if isinstance(parameter, FloatParameter) else hyperparameters.Int
        sampling = "log" if parameter.log else "linear"
        register(name, parameter.min, parameter.max, step=parameter.step, sampling=sampling, default=default)


def _key(values: Values) -> Key:
    """Equal for equal configurations, floats without the last bits that a step adds (0.30000000000000004)."""
    return tuple(
        (name, float(f"{value:.12g}") if isinstance(value, float) else value)
        for name, value in sorted(values.items())
        if not name.startswith("tuner/")
    )
