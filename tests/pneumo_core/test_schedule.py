"""Learning-rate schedules and early stopping decide as documented, and as Keras' callbacks do."""

from types import SimpleNamespace

import keras
import pytest

from pneumo_core.config import TrialConfig
from pneumo_core.schedule import TrainingControl

LOSSES = [0.9, 0.7, 0.71, 0.70005, 0.72, 0.7, 0.69, 0.75, 0.74, 0.73, 0.735, 0.72, 0.71]


def _rates(control: TrainingControl, losses: list[float]) -> list[float]:
    rates = []
    for loss in losses:
        control.observe(loss)
        rates.append(control.learning_rate)
    return rates


def test_plateau_equals_keras_callback() -> None:
    """`plateau` is the notebook's ReduceLROnPlateau(factor=0.2, patience=3, min_lr=1e-7)."""
    callback = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=3, min_lr=1e-7)
    optimizer = SimpleNamespace(learning_rate=1e-3)
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_train_begin()
    expected = []
    for epoch, loss in enumerate(LOSSES):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        expected.append(float(optimizer.learning_rate))
    control = TrainingControl(TrialConfig(learning_rate_schedule="plateau", epochs=50, patience=0))
    assert _rates(control, LOSSES) == pytest.approx(expected, rel=1e-6)
    assert expected[-1] < 1e-4  # the sequence does make the rate fall, twice


def test_cosine_falls_from_the_full_rate_to_zero() -> None:
    """Halfway through the rate is half, at the end nothing."""
    control = TrainingControl(TrialConfig(learning_rate_schedule="cosine", epochs=4, learning_rate=0.1))
    assert control.learning_rate == 0.1
    assert _rates(control, [4, 3, 2, 1]) == pytest.approx([0.0853553, 0.05, 0.0146447, 0], abs=1e-6)


def test_training_stops_after_patience_and_remembers_the_best_epoch() -> None:
    """The earliest of equal epochs is the best; `patience` epochs later it ends."""
    control = TrainingControl(TrialConfig(patience=2, epochs=10))
    improvements = [control.observe(loss) for loss in (1.0, 0.5, 0.5)]
    assert improvements == [True, True, False]
    assert not control.finished
    control.observe(0.6)
    assert control.finished
    assert control.stopped_early
    assert (control.best_epoch, control.best_loss) == (1, 0.5)


def test_without_patience_all_epochs_run() -> None:
    """`patience: 0` never stops early."""
    control = TrainingControl(TrialConfig(patience=0, epochs=5))
    for _ in range(5):
        assert not control.finished
        control.observe(1.0)
    assert control.finished
    assert not control.stopped_early


def test_a_rung_ends_early_on_the_schedule_of_the_full_length() -> None:
    """Hyperband's short trainings follow the first part of the long one."""
    rung = TrainingControl(TrialConfig(epochs=9, stop_after=3, learning_rate_schedule="cosine"))
    full = TrainingControl(TrialConfig(epochs=9, learning_rate_schedule="cosine"))
    assert _rates(rung, [3, 2, 1]) == _rates(full, [3, 2, 1])
    assert rung.finished
    assert not full.finished
