"""Ask and tell over keras-tuner's oracles, and a TPE oracle of our own.

The only module that knows keras-tuner. `keras_tuner.Tuner` is not used: it swallows errors and saves its
state unsafely. Here an oracle keeps no files; what it knows follows from the seed and from what it was told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras_tuner as kt
from keras_tuner.src.engine.trial import TrialStatus

from pneumo_core.config import TrialConfig
from pneumo_core.seeds import derive, generator
from search_spaces import ChoiceParameter, FloatParameter, Parameter, SearchSpace
from tuning.spaces import HYPERBAND_FACTOR
from tuning.tpe import TpeSuggester, Values

_ENUMERABLE = 10_000  # finite spaces up to this size are searched for what was not tried yet


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A configuration to try.

    Attributes:
        ticket: to be handed back with the result.
        values: of the searched parameters whose conditions hold.
        stop_after: epochs to train; 0 for all. Set by Hyperband.
    """

    ticket: str
    values: Values
    stop_after: int = 0

    def config(self, base: TrialConfig) -> TrialConfig:
        """Returns the configuration to train: the suggested values over those that all trials share."""
        return TrialConfig.from_mapping({**base.to_mapping(), **self.values, "stop_after": self.stop_after})


class SearchOracle:
    """Proposes configurations of a space, never the same one twice; known ones (`start_with`) come first.

    Args:
        space: what is searched, and in which direction; its algorithm and seed are used.
        trials: how many will be asked for at most.
        epochs: that a full training takes; Hyperband gives most trials fewer.
    """

    def __init__(self, space: SearchSpace, trials: int, epochs: int) -> None:
        self._space = space
        with _quiet():
            self._oracle = _build_oracle(space, trials, epochs)
        self._oracle.verbose = 0
        self._oracle.max_consecutive_failed_trials = None  # the study decides how many failures are too many
        self._trials = trials

    def ask(self) -> Suggestion | None:
        """Returns the next configuration, or None if as many as agreed were asked for or none is left to try."""
        if len(self._oracle.trials) >= self._trials:
            return None
        with _quiet():
            # A worker that asks twice is told the same; each ask is a worker of its own.
            trial = self._oracle.create_trial(str(len(self._oracle.trials)))
        if trial.status != TrialStatus.RUNNING:
            return None
        values = trial.hyperparameters.values
        return Suggestion(trial.trial_id, self._searched(values), stop_after=int(values.get("tuner/epochs", 0)))

    def tell(self, suggestion: Suggestion, score: float | None) -> None:
        """Reports the score of a suggestion, or None where its trial failed."""
        trial = self._oracle.trials[suggestion.ticket]
        if score is None and self._space.algorithm == "hyperband":
            # A failure left out would leave its bracket one short of a final, so it counts as the worst score.
            score = -math.inf if self._space.direction == "max" else math.inf
        with _quiet():
            if score is None:
                trial.status = TrialStatus.FAILED
            else:
                self._oracle.update_trial(suggestion.ticket, {self._space.objective: score})
                trial.status = TrialStatus.COMPLETED
            self._oracle.end_trial(trial)

    def _searched(self, values: Values) -> Values:
        """The space's own parameters, each the nearest value of its domain: keras-tuner turns true into 1."""
        return {p.name: p.clip(values[p.name]) for p in self._space.parameters if p.name in values}


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


class _StudyOracle:
    """What all our oracles do differently from keras-tuner's: known ones first, nothing twice, no files.

    A mixin, to stand in front of a `kt.Oracle`.
    """

    trials: dict[str, Any]

    def __init__(self, space: SearchSpace, **options: Any) -> None:
        self.space = space
        super().__init__(**options)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        number = len(self.trials)
        if number < len(self.space.start_with):
            return _run(self.space.complete(self.space.start_with[number]))
        response = super().populate_space(trial_id)  # type: ignore[misc]
        if response["status"] == TrialStatus.RUNNING and not self._was_tried(response["values"]):
            return dict(response)
        untried = self._untried(number)
        return {"status": TrialStatus.STOPPED} if untried is None else _run(untried)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """The study's journal is the record; keras-tuner's files would be written unsafely, and never read."""

    def _save_trial(self, trial: Any) -> None:
        """See `save`."""

    def _was_tried(self, values: Values) -> bool:
        key = _key(values)
        return any(_key(trial.hyperparameters.values) == key for trial in self.trials.values())

    def _untried(self, number: int) -> Values | None:
        """Something else at random: keras-tuner's random draw gives up after 20 collisions, and TPE repeats itself."""
        size = self.space.size()
        rng = generator(self.space.seed, "untried", number)
        if size is not None and size <= _ENUMERABLE:
            tried = {_key(trial.hyperparameters.values) for trial in self.trials.values()}
            left = [values for values in configurations(self.space) if _key(values) not in tried]
            return left[int(rng.integers(len(left)))] if left else None
        values: Values | None = self._random_values()  # type: ignore[attr-defined]
        return values


class _RandomOracle(_StudyOracle, kt.oracles.RandomSearchOracle):  # type: ignore[misc]
    """keras-tuner's random search."""


class _BayesianOracle(_StudyOracle, kt.oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """keras-tuner's Gaussian process."""

    def _vector_to_values(self, vector: Any) -> Values:
        """Rounding on a log scale can land a whole number one above its maximum."""
        values = super()._vector_to_values(vector)
        return {
            parameter.name: parameter.clip(values[parameter.name])
            for parameter in self.space.parameters
            if parameter.name in values
        }


class _GridOracle(_StudyOracle, kt.Oracle):  # type: ignore[misc]
    """Every configuration in order. keras-tuner's own grid finishes after 0 trials when resumed (its issue #1055)."""

    def __init__(self, space: SearchSpace, **options: Any) -> None:
        super().__init__(space, **options)
        self._remaining = configurations(space)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if len(self.trials) < len(self.space.start_with):
            return super().populate_space(trial_id)
        untried = next((values for values in self._remaining if not self._was_tried(values)), None)
        return {"status": TrialStatus.STOPPED} if untried is None else _run(untried)


class _HyperbandOracle(_StudyOracle, kt.oracles.HyperbandOracle):  # type: ignore[misc]
    """Brackets repeat until the study has had its trials. A rung is a new trial with the same values, trained longer.

    Known configurations take the first places of the first bracket.
    """

    def __init__(self, space: SearchSpace, **options: Any) -> None:
        self._known = list(space.start_with)
        self._available = sys.maxsize
        super().__init__(space, hyperband_iterations=None, **options)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        response = kt.oracles.HyperbandOracle.populate_space(self, trial_id)
        if response["status"] == TrialStatus.STOPPED and self._close_first_round():
            response = kt.oracles.HyperbandOracle.populate_space(self, trial_id)
        return dict(response)

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
        if self._known:
            return self.space.complete(self._known.pop(0))
        values: Values | None = super()._random_values()
        return values


class _TpeOracle(_StudyOracle, kt.Oracle):  # type: ignore[misc]
    """Delegates to Optuna's tree-structured Parzen estimator."""

    def __init__(self, space: SearchSpace, **options: Any) -> None:
        super().__init__(space, **options)
        self._suggester = TpeSuggester(space)
        self._tickets: dict[str, int] = {}

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        number = len(self.trials)
        known = self.space.start_with[number] if number < len(self.space.start_with) else None
        ticket, values = self._suggester.ask(number, None if known is None else self.space.complete(known))
        if known is None and self._was_tried(values):
            self._suggester.tell(ticket, None)
            untried = self._untried(number)
            if untried is None:
                return {"status": TrialStatus.STOPPED}
            ticket, values = self._suggester.ask(number, untried)
        self._tickets[trial_id] = ticket
        return _run(values)

    def end_trial(self, trial: Any) -> None:
        super().end_trial(trial)
        self._suggester.tell(self._tickets[trial.trial_id], trial.score)


def _build_oracle(space: SearchSpace, trials: int, epochs: int) -> Any:
    options: dict[str, Any] = {
        "objective": kt.Objective(space.objective, space.direction),
        "hyperparameters": _hyperparameters(space),
        "seed": 1 + derive(space.seed, "oracle", bits=30),  # keras-tuner takes 0 for none, and nearby seeds overlap
        "allow_new_entries": False,
        "tune_new_entries": False,
    }
    if not space.parameters:
        return _GridOracle(space, max_trials=trials, **options)
    if space.algorithm == "hyperband":
        return _HyperbandOracle(space, max_epochs=epochs, factor=HYPERBAND_FACTOR, **options)
    oracles = {"tpe": _TpeOracle, "random": _RandomOracle, "grid": _GridOracle, "bayesian": _BayesianOracle}
    return oracles[space.algorithm](space, max_trials=trials, **options)


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
        return
    register = hyperparameters.Float if isinstance(parameter, FloatParameter) else hyperparameters.Int
    sampling = "log" if parameter.log else "linear"
    register(name, parameter.min, parameter.max, step=parameter.step, sampling=sampling, default=default)


def _run(values: Values) -> dict[str, Any]:
    return {"status": TrialStatus.RUNNING, "values": values}


def _key(values: Values) -> tuple[tuple[str, Any], ...]:
    """Equal for equal configurations, floats without the last bits that a step adds (0.30000000000000004)."""
    return tuple(
        (name, float(f"{value:.12g}") if isinstance(value, float) else value)
        for name, value in sorted(values.items())
        if not name.startswith("tuner/")
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """keras-tuner calls deprecated functions of Python's threading at every step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
