"""Parallel coordinates: every completed trial is a line, the best on top."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.collections import LineCollection

from tuning.analysis.charts.parallel import MOST_STRONG, plot_parallel_coordinates
from tuning.record import StudyRecord

Study = Callable[..., StudyRecord]


def lines(record: StudyRecord) -> list[LineCollection]:
    """Returns the quiet ones and the strong ones."""
    axis = plot_parallel_coordinates(record, record.started.parameters).axes[0]
    return [one for one in axis.collections if isinstance(one, LineCollection)]


def test_every_completed_trial_is_a_line(study: Study) -> None:
    """Through all axes, the score's being the last."""
    record = study(200)
    quiet, strong = lines(record)
    assert len(quiet.get_segments()) + len(strong.get_segments()) == record.count("completed")
    assert len(strong.get_segments()[0]) == len(record.started.parameters) + 1


def test_the_best_stand_out_and_the_rest_stays_quiet(study: Study) -> None:
    """Else hundreds of lines are a carpet."""
    quiet, strong = lines(study(400))
    assert len(strong.get_segments()) == MOST_STRONG
    assert strong.get_alpha() > 2 * quiet.get_alpha()
    assert np.min(strong.get_array()) >= np.max(quiet.get_array())


def test_few_trials_are_all_strong(study: Study) -> None:
    """Five lines can be followed by eye."""
    quiet, strong = lines(study(5))
    assert not quiet.get_segments()
    assert len(strong.get_segments()) == 5
