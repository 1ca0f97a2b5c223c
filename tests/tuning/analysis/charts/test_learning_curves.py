"""Learning curves of all trials, those that went on from others joined to them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from tuning.analysis.charts.learning_curves import plot_learning_curves
from tuning.record import StudyRecord

Study = Callable[..., StudyRecord]


def test_losses_and_the_objective_are_drawn_over_epochs(study: Study) -> None:
    """The objective of each epoch is in the record, under the epochs trained until then."""
    record = study(20)
    trial = record.trials["t0001"]
    assert list(trial.epoch_scores) == list(trial.epoch_losses) == [1, 2, 3]
    figure = plot_learning_curves(record)
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "validation loss (nats; lower is better)",
        "validation ROC AUC (higher is better)",
    ]


def test_a_rung_of_hyperband_begins_where_the_shorter_training_ended(study: Study) -> None:
    """Its curve is joined to that of its parent."""
    record = study(20, failed=0.0, pruned=0.0)
    parent = record.trials["t0001"]
    child = dataclasses.replace(
        parent, trial="t0002", parent="t0001", first_epoch=3, epoch_losses={4: 0.01, 5: 0.005}, epoch_scores={}
    )
    figure = plot_learning_curves(StudyRecord(record.started, trials={"t0001": parent, "t0002": child}))
    drawn = [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines]
    assert [3, 4, 5] in drawn


def test_a_loss_that_is_no_number_is_left_out_and_the_failure_marked(study: Study) -> None:
    """Where the training broke down."""
    record = study(20, failed=0.0, pruned=0.0)
    broken = dataclasses.replace(
        record.trials["t0002"], status="failed", score=None, epoch_losses={1: 0.7, 2: math.nan}
    )
    figure = plot_learning_curves(StudyRecord(record.started, trials={**record.trials, "t0002": broken}))
    assert "1 failed" in [text.get_text() for text in figure.legends[0].get_texts()]
