"""Every kind of parameter has places from 0 to 1."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest

from tuning.analysis.charts.parameter_axis import INACTIVE, parameter_axis
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
