"""Training learns, restores its best epoch, repeats itself exactly, and stops at numbers that are none."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from pneumo_core.activations import compiled
from pneumo_core.augmentation import DISTORTIONS
from pneumo_core.backbone import build_prefix, load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.errors import DivergedError
from pneumo_core.feeds import LiveFeed, StoredFeed
from pneumo_core.model import trained_weights
from pneumo_core.program import ProgramShelf, TrainingProgram
from pneumo_core.training import (
    Examples,
    Fold,
    Training,
    TrainingOutcome,
    TrainingState,
    class_weights,
    predict_logits,
    refit,
    train,
)

RANDOM = load_backbone_weights("random", 0)
CONFIG = TrialConfig(head_units=16, batch_size=16, epochs=6, patience=0, feature_scaling="none", learning_rate=3e-3)


def _examples(count: int, seed: int) -> Examples:
    """512 features, of which ten carry a noisy hint of the label."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.7).astype(np.int64)
    features = rng.normal(size=(count, 512)).astype(np.float32)
    features[:, :10] += labels[:, None] * 1.2
    return Examples(StoredFeed(features), labels)


TRAINING, VALIDATION = _examples(160, 1), _examples(80, 2)


def _program(config: TrialConfig, shape: tuple[int, ...] = (512,)) -> TrainingProgram:
    return ProgramShelf().program(config, RANDOM, shape, "float32")


def _train(config: TrialConfig) -> tuple[TrainingOutcome, dict[str, np.ndarray]]:
    program = _program(config)
    outcome = train(Training(config, program, [Fold(TRAINING, VALIDATION)]))
    return outcome, trained_weights(program.trainee)


def test_training_learns() -> None:
    """The validation AUC rises well above chance and the loss falls."""
    outcome, _ = _train(CONFIG)
    assert outcome.history[outcome.best_epoch]["val_roc_auc"] > 0.8
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_the_same_configuration_gives_the_same_bits(optimizer: str) -> None:
    """Weights and probabilities of two runs agree exactly, dropout and shuffling included."""
    config = dataclasses.replace(CONFIG, optimizer=optimizer, epochs=2, weight_decay=1e-3)
    (first, first_weights), (second, second_weights) = _train(config), _train(config)
    np.testing.assert_array_equal(first.validation_logits[0], second.validation_logits[0])
    for path, array in first_weights.items():
        np.testing.assert_array_equal(array, second_weights[path])


def test_another_seed_gives_another_training() -> None:
    """The seed is used."""
    first, second = (_train(dataclasses.replace(CONFIG, epochs=1, seed=seed))[0] for seed in (0, 1))
    assert not np.array_equal(first.validation_logits[0], second.validation_logits[0])


def test_best_epochs_weights_and_scores_are_those_returned() -> None:
    """Monitored is the plain validation loss; weights and probabilities are of its lowest epoch."""
    config = dataclasses.replace(CONFIG, learning_rate=0.03, epochs=8, label_smoothing=0.1, class_weighting="balanced")
    program = _program(config)
    outcome = train(Training(config, program, [Fold(TRAINING, VALIDATION)]))
    losses = [metrics["val_loss"] for metrics in outcome.history]
    assert outcome.best_epoch == int(np.argmin(losses)) < 7
    assert log_loss(VALIDATION.labels, expit(outcome.validation_logits[0])) == pytest.approx(min(losses), rel=1e-9)
    np.testing.assert_array_equal(predict_logits(program, VALIDATION.feed), outcome.validation_logits[0])


def test_early_stopping_ends_training() -> None:
    """With a learning rate that overfits at once, `patience` epochs follow the best one."""
    outcome, _ = _train(dataclasses.replace(CONFIG, learning_rate=0.05, epochs=50, patience=3))
    assert len(outcome.history) == outcome.best_epoch + 1 + 3


def test_a_diverging_training_names_epoch_and_likely_cause() -> None:
    """A loss that is not a number ends the trial with a sentence, not with a score."""
    inputs = TRAINING.feed.read(np.arange(160), 0)
    inputs[5] = np.nan
    broken = Examples(StoredFeed(inputs), TRAINING.labels)
    with pytest.raises(DivergedError, match=r"loss became nan in epoch 1; the likely cause is a learning rate"):
        train(Training(CONFIG, _program(CONFIG), [Fold(broken, VALIDATION)]))


@pytest.mark.parametrize("weighting", ["none", "balanced", "sqrt"])
def test_class_weights_are_scikit_learns(weighting: str) -> None:
    """`balanced` is the usual n / (2 n_class), `sqrt` its root, `none` nothing."""
    labels = np.array([0] * 20 + [1] * 60)
    balanced = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    expected = {"none": np.ones(2), "balanced": balanced, "sqrt": np.sqrt(balanced)}[weighting]
    np.testing.assert_allclose(class_weights(weighting, labels), expected, rtol=1e-6)


def test_training_without_dropout_works() -> None:
    """A rate of 0, which Keras builds without a random state, is an ordinary setting."""
    outcome, _ = _train(dataclasses.replace(CONFIG, dropout=0.0, epochs=1))
    assert len(outcome.history) == 1


def test_class_weighting_and_smoothing_change_what_is_learned() -> None:
    """Weights pull probabilities towards the rare class; both settings reach the loss."""
    plain, weighted, smoothed = (
        expit(_train(dataclasses.replace(CONFIG, epochs=3, **change))[0].validation_logits[0]).mean()
        for change in ({}, {"class_weighting": "balanced"}, {"label_smoothing": 0.4})
    )
    assert weighted < plain - 0.02
    assert smoothed != plain


def test_dropout_draws_depend_on_their_key_alone() -> None:
    """A step repeated with its key gives the same loss; another key another one."""
    config = dataclasses.replace(CONFIG, dropout=0.5, learning_rate=1e-9)
    program, inputs, weights = _program(config), TRAINING.feed.read(np.arange(160), 0), np.ones(160)
    losses = []
    for key in (3, 3, 4):
        loss, _ = program.run(inputs, TRAINING.labels, weights, np.array([[[key, 0]]], np.int32), 160)
        losses.append(loss / 160)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert round(losses[2], 4) != round(losses[0], 4)


def test_unfrozen_convolutions_learn_at_their_own_rate() -> None:
    """The backbone moves by the given fraction of the head's rate, frozen layers not at all."""
    config = TrialConfig(
        weights="random", image_size=32, unfrozen_layers=1, pooling="average", head_units=8, optimizer="sgd",
        learning_rate=0.1, backbone_lr_fraction=1e-6, epochs=1,
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 1)).astype(np.float32)
    activations = np.asarray(compiled(build_prefix(config, RANDOM))(pixels))
    examples = Examples(StoredFeed(activations), np.arange(16) % 2)
    moved = []
    for fraction in (1e-6, 0.5):
        changed = dataclasses.replace(config, backbone_lr_fraction=fraction)
        program = _program(changed, activations.shape[1:])
        train(Training(changed, program, [Fold(examples, examples)]))
        kernels = {name: program.trainee.get_layer(name).get_weights()[0] for name in ("block5_conv2", "block5_conv3")}
        np.testing.assert_array_equal(kernels["block5_conv2"], RANDOM.arrays["block5_conv2"][0])
        moved.append(np.abs(kernels["block5_conv3"] - RANDOM.arrays["block5_conv3"][0]).max())
    assert 0 < moved[0] < moved[1] / 100


def test_live_augmentation_trains_through_the_prefix_and_repeats_itself() -> None:
    """Distorted pixels go through the prefix in every step, in the same way for the same seed."""
    config = TrialConfig(
        weights="random", image_size=32, augmentation="notebook", head_units=4, epochs=2, batch_size=8,
        feature_scaling="none", pixel_scaling="unit",
    )  # fmt: skip
    prefix = compiled(build_prefix(config, RANDOM))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 1)).astype(np.uint8)
    labels = np.arange(20) % 2
    validation = Examples(StoredFeed(np.asarray(prefix(pixels.astype(np.float32)))), labels)
    outcomes = []
    for augmentation in ("notebook", "notebook", "mild"):
        changed = dataclasses.replace(config, augmentation=augmentation)
        feed = LiveFeed(pixels, np.arange(20), DISTORTIONS[augmentation], prefix, validation.feed.shape, seed=0)
        program = _program(changed, validation.feed.shape)
        outcomes.append(train(Training(changed, program, [Fold(Examples(feed, labels), validation)])))
    np.testing.assert_array_equal(outcomes[0].validation_logits[0], outcomes[1].validation_logits[0])
    assert not np.array_equal(outcomes[0].validation_logits[0], outcomes[2].validation_logits[0])


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_training_left_after_any_epoch_ends_as_if_it_had_not_been(optimizer: str, schedule: str) -> None:
    """State goes through JSON-like plain values and arrays alone; every bit of the end is the same."""
    config = dataclasses.replace(
        CONFIG, optimizer=optimizer, learning_rate_schedule=schedule, batch_normalization=True, epochs=5, patience=2
    )
    whole, weights = _train(config)
    for left_after in range(len(whole.history)):
        states: list[TrainingState] = []

        def watch(training: Training, states: list[TrainingState] = states, left_after: int = left_after) -> bool:
            states.append(training.state)
            return training.control.epoch > left_after

        train(Training(config, _program(config), [Fold(TRAINING, VALIDATION)]), watch)
        program = _program(config)
        outcome = train(Training(config, program, [Fold(TRAINING, VALIDATION)], states[-1]))
        np.testing.assert_array_equal(outcome.validation_logits[0], whole.validation_logits[0])
        assert [_timeless(row) for row in outcome.history] == [_timeless(row) for row in whole.history]
        for path, array in trained_weights(program.trainee).items():
            np.testing.assert_array_equal(array, weights[path])


def _folds(count: int) -> list[Fold]:
    """Folds of other examples, one of which is over 10 times harder."""
    return [Fold(_examples(96 + 8 * k, 10 + k), _examples(40 + k, 20 + k)) for k in range(count)]


def test_folds_train_side_by_side_as_they_would_alone() -> None:
    """Without a schedule that looks at the mean, each fold's scores are those of a training of its own, to the bit."""
    config, folds = dataclasses.replace(CONFIG, epochs=1, batch_normalization=True), _folds(3)
    together = train(Training(config, _program(config), folds))
    for fold, logits in zip(folds, together.validation_logits, strict=True):
        alone = train(Training(config, _program(config), [fold]))
        np.testing.assert_array_equal(logits, alone.validation_logits[0])


def test_what_follows_from_an_epoch_follows_from_the_mean_over_the_folds() -> None:
    """Best epoch and end are those of the mean validation loss; every fold's scores are of that epoch."""
    config = dataclasses.replace(CONFIG, learning_rate=0.03, epochs=20, patience=3)
    folds = _folds(3)
    outcome = train(Training(config, _program(config), folds))
    losses = [metrics["val_loss"] for metrics in outcome.history]
    assert outcome.best_epoch == int(np.argmin(losses)) == len(losses) - 4
    of_folds = [
        log_loss(fold.validation.labels, expit(logits))
        for fold, logits in zip(folds, outcome.validation_logits, strict=True)
    ]
    assert np.mean(of_folds) == pytest.approx(min(losses), rel=1e-9)


def test_folds_left_after_an_epoch_end_as_if_they_had_not_been() -> None:
    """Weights, optimizers and batch statistics of all folds are in the state."""
    config = dataclasses.replace(CONFIG, epochs=4, batch_normalization=True, learning_rate_schedule="plateau")
    whole = train(Training(config, _program(config), _folds(2)))
    states: list[TrainingState] = []

    def watch(training: Training) -> bool:
        states.append(training.state)
        return len(states) == 2

    train(Training(config, _program(config), _folds(2), None), watch)
    resumed = train(Training(config, _program(config), _folds(2), states[-1]))
    for before, after in zip(whole.validation_logits, resumed.validation_logits, strict=True):
        np.testing.assert_array_equal(before, after)
    assert [_timeless(row) for row in whole.history] == [_timeless(row) for row in resumed.history]


def test_each_fold_scales_features_by_its_own_training_images() -> None:
    """Nothing of the images that a fold scores enters its model."""
    config = dataclasses.replace(CONFIG, epochs=1, feature_scaling="standardize")
    folds = [
        dataclasses.replace(fold, moments=(np.full(512, shift, np.float32), np.ones(512, np.float32)))
        for fold, shift in zip(_folds(2), (0.0, 3.0), strict=True)
    ]
    together = train(Training(config, _program(config), folds))
    alone = [train(Training(config, _program(config), [fold])) for fold in folds]
    for logits, own in zip(together.validation_logits, alone, strict=True):
        np.testing.assert_array_equal(logits, own.validation_logits[0])
    unscaled = train(Training(config, _program(config), [dataclasses.replace(folds[1], moments=folds[0].moments)]))
    assert not np.array_equal(unscaled.validation_logits[0], together.validation_logits[1])


def test_a_refit_follows_the_recorded_rates() -> None:
    """On the same examples, at the rates of the epochs up to the best, it comes to the weights of that training."""
    config = dataclasses.replace(CONFIG, epochs=6, learning_rate_schedule="cosine", learning_rate=0.01)
    outcome, weights = _train(config)
    rates = [metrics["learning_rate"] for metrics in outcome.history[: outcome.best_epoch + 1]]
    program, losses = _program(config), []
    refit(config, program, TRAINING, rates, lambda epoch, metrics: losses.append(metrics["loss"]))
    for path, array in trained_weights(program.trainee).items():
        np.testing.assert_array_equal(array, weights[path])
    assert losses == [metrics["loss"] for metrics in outcome.history[: len(rates)]]


def _timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {**metrics, "duration_s": 0.0}
