"""Tree-structured Parzen estimator by Optuna, in the words of our search spaces. The only module that knows Optuna."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import optuna

from pneumo_core.seeds import derive
from search_spaces import ChoiceParameter, FloatParameter, Parameter, SearchSpace

Values = dict[str, Any]

_STARTUP_TRIALS = 10  # drawn at random before the estimator knows enough, known configurations included


class TpeSuggester:
    """Draws configurations from what was told so far: multivariate, aware of conditions and of running trials.

    Each draw is made by a fresh sampler whose seed follows from the space's seed and the draw's number, so it is a pure
    function of (seed, number, history). Source: Bergstra et al. 2011; Falkner et al. 2018.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        with _quiet():
            self._study = optuna.create_study(direction="maximize" if space.direction == "max" else "minimize")

    def ask(self, number: int, known: Mapping[str, Any] | None = None) -> tuple[int, Values]:
        """Draws a configuration, or takes note of a known one.

        Args:
            number: of the trial it is for.
            known: values that were decided elsewhere, of all active parameters.

        Returns:
            A ticket for `tell`, and the values of all active parameters.
        """
        with _quiet():
            self._study.sampler = optuna.samplers.TPESampler(
                seed=derive(self._space.seed, "tpe", number),
                n_startup_trials=_STARTUP_TRIALS,
                multivariate=True,
                group=True,
                constant_liar=True,
            )
            if known is not None:
                codes = {p.name: _encode(p, known[p.name]) for p in self._space.parameters if p.name in known}
                self._study.enqueue_trial(codes)
            trial = self._study.ask()
            values: Values = {}
            for parameter in self._space.parameters:
                if parameter.holds(values):
                    values[parameter.name] = _suggest(trial, parameter)
        return trial.number, values

    def tell(self, ticket: int, score: float | None) -> None:
        """Reports the score of a configuration; None if there is none to learn from."""
        if score is None:
            self._study.tell(ticket, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(ticket, score)


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    if isinstance(parameter, FloatParameter):
        low, high = parameter.min, parameter.max
        return parameter.clip(trial.suggest_float(parameter.name, low, high, step=parameter.step, log=parameter.log))
    if isinstance(parameter, ChoiceParameter):
        if parameter.ordered:
            return parameter.values[trial.suggest_int(parameter.name, 0, len(parameter.values) - 1)]
        return trial.suggest_categorical(parameter.name, list(parameter.values))
    low, high = parameter.min, parameter.max
    return trial.suggest_int(parameter.name, low, high, step=parameter.step or 1, log=parameter.log)


def _encode(parameter: Parameter, value: Any) -> Any:
    """The form in which Optuna knows a value: ordered choices are places in their order."""
    if isinstance(parameter, ChoiceParameter) and parameter.ordered:
        return list(parameter.values).index(value)
    return value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna logs every trial, and warns that options used here are experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
