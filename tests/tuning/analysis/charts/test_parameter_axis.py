"""Every kind of parameter has places from 0 to 1."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure

from tuning.analysis.charts.parameter_axis import INACTIVE, parameter_axis
from tuning.analysis.charts.svg import themed_svg
from tuning.record import StudyRecord

Study = Callable[..., StudyRecord]


def test_places_follow_the_kind_of_the_parameter(study: Study) -> None:
    """Logarithms, steps, and choices in their order, as far as they were searched and not only as far as trials lie."""
    record = study(20)
    rate = parameter_axis(record, "learning_rate")
    assert [round(rate.place(value), 6) for value in (1e-4, 1e-3, 1e-2)] == [0.0, 0.5, 1.0]
    dropout = parameter_axis(record, "dropout")
    assert (dropout.place(0.0), dropout.place(0.3), dropout.place(0.6)) == (0.0, 0.5, 1.0)
    units = parameter_axis(record, "head_units")
    assert [text for _, text in units.ticks()] == ["64", "128", "256", "512"]
    assert units.place(128) == pytest.approx(1 / 3)


def test_a_value_with_dollars_is_no_formula(study: Study) -> None:
    """As a file of weights in a folder of such a name, which matplotlib would refuse to draw."""
    record = study(20)
    named = {"none": "a$x^$.h5"}
    trials = {
        name: dataclasses.replace(
            trial, params={**trial.params, "stop_after": named.get(trial.params["class_weighting"], "b.h5")}
        )
        for name, trial in record.trials.items()
    }
    axis = parameter_axis(StudyRecord(record.started, trials=trials), "stop_after")
    figure = Figure()
    figure.text(0, 0, next(text for _, text in axis.ticks() if "$" in text))
    assert "a$x^$.h5" in themed_svg(figure)


def test_few_numbers_stand_equally_far_from_each_other(study: Study) -> None:
    """Rungs of Hyperband (2, 6, 18 epochs), which no space knows; and a step's last digits do not matter."""
    record = study(20)
    rungs = {
        name: dataclasses.replace(trial, params={**trial.params, "stop_after": (2, 6, 18)[trial.number % 3]})
        for name, trial in record.trials.items()
    }
    axis = parameter_axis(StudyRecord(record.started, trials=rungs), "stop_after")
    assert [axis.place(value) for value in (2, 6, 18)] == [0.0, 0.5, 1.0]
    assert parameter_axis(record, "dropout").place(0.1 + 0.2) == parameter_axis(record, "dropout").place(0.3)


def test_trials_without_the_parameter_have_a_place_of_their_own(study: Study) -> None:
    """Apart from all values, with a dash as its tick."""
    fraction = parameter_axis(study(20), "backbone_lr_fraction")
    assert fraction.place(None) == INACTIVE < 0
    assert (INACTIVE, "–") in fraction.ticks()
    assert not parameter_axis(study(20), "dropout").inactive


def test_spread_trials_never_reach_the_next_value(study: Study) -> None:
    """Or one could not tell which value they have."""
    for name in ("head_units", "dropout", "class_weighting"):
        axis = parameter_axis(study(20), name)
        places = sorted(axis.place(value) for value in axis.values)
        assert axis.spread <= 0.5 * min(b - a for a, b in itertools.pairwise(places)) + 1e-12


def test_a_space_of_another_version_is_drawn_from_what_trials_have(study: Study) -> None:
    """Its definition cannot be read any more, its trials can."""
    record = study(20)
    strange = StudyRecord(dataclasses.replace(record.started, definition={"new": "things"}), trials=record.trials)
    axis = parameter_axis(strange, "class_weighting")
    assert axis.values == ("balanced", "none", "sqrt")
    rates = [trial.params["learning_rate"] for trial in record.searched]
    assert parameter_axis(strange, "learning_rate").place(max(rates)) == 1.0


def test_a_parameter_that_no_trial_has_is_refused(study: Study) -> None:
    """In one sentence."""
    with pytest.raises(ValueError, match="no trial of study made has a value of colour"):
        parameter_axis(study(20), "colour")
