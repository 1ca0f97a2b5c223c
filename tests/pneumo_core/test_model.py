"""The head is built as configured, and what was trained can be put back."""

import numpy as np
import pytest

from pneumo_core.backbone import load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.model import (
    build_classifier,
    build_trainee,
    channel_moments,
    restore_weights,
    standardize_features,
    trained_trainee,
    trained_weights,
)

RANDOM = load_backbone_weights("random", 0)


def test_the_notebooks_head_has_the_layers_it_describes() -> None:
    """Flatten, dense 512, dropout, one output; 12.85 million weights at 224 px."""
    trainee = build_trainee(TrialConfig(feature_scaling="none"), RANDOM, (7, 7, 512))
    assert [layer.name for layer in trainee.layers] == ["activations", "flatten", "head", "head_dropout", "logit"]
    assert trainee.count_params() == 7 * 7 * 512 * 512 + 512 + 512 + 1


def test_the_enhanced_head_has_two_normalized_layers() -> None:
    """Second layer, both dropouts and batch normalization follow the configuration."""
    config = TrialConfig(second_head_units=8, batch_normalization=True, dropout=0.5, second_dropout=0.3)
    trainee = build_trainee(config, RANDOM, (512,))
    assert trainee.get_layer("second_head").units == 8
    assert trainee.get_layer("second_head_dropout").rate == 0.3
    assert {"head_normalization", "second_head_normalization"} <= {layer.name for layer in trainee.layers}


@pytest.mark.parametrize("shape", [(512,), (2, 2, 512)])
def test_standardized_features_have_zero_mean_and_unit_variance(shape: tuple[int, ...]) -> None:
    """Each channel, over images and positions; dead channels stay at zero instead of exploding later."""
    activations = np.random.default_rng(0).gamma(2, 30, (40, *shape)).astype(np.float32)
    activations[..., 7] = 0
    trainee = build_trainee(TrialConfig(), RANDOM, shape)
    standardize_features(trainee, channel_moments(lambda batch: batch, activations))
    features = np.asarray(trainee.get_layer("standardize")(activations)).reshape(-1, 512)
    alive = np.arange(512) != 7
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(features[:, alive].var(0), 1, atol=1e-3)
    activations[0, ..., 7] = 1.0
    assert np.abs(np.asarray(trainee.get_layer("standardize")(activations))[..., 7]).max() < 10


def test_initial_weights_follow_the_trials_seed_alone() -> None:
    """Equal seeds start equally, whatever was built before."""
    kernels = [
        build_trainee(TrialConfig(seed=seed), RANDOM, (512,)).get_layer("head").get_weights()[0] for seed in (1, 2, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], kernels[1])


def test_what_leaves_a_study_computes_in_float32() -> None:
    """A model trained in mixed precision is served by machines that do not have it."""
    config = TrialConfig(image_size=32, unfrozen_layers=1, precision="mixed_bfloat16", head_units=4)
    arrays = trained_weights(build_trainee(config, RANDOM, (2, 2, 512)))
    assert {layer.compute_dtype for layer in trained_trainee(config, RANDOM, (2, 2, 512), arrays).layers} == {"float32"}
    assert "bfloat16" not in str(build_classifier(config, RANDOM, arrays).get_config())


def test_trained_weights_hold_what_changed_and_nothing_frozen() -> None:
    """Unfrozen convolutions, head and statistics are kept; the two frozen layers of the block are not."""
    config = TrialConfig(unfrozen_layers=1, image_size=32, batch_normalization=True)
    trainee = build_trainee(config, RANDOM, (2, 2, 512))
    kept = set(trained_weights(trainee))
    assert {"block5_conv3/kernel", "standardize/moving_mean", "head_normalization/moving_variance"} <= kept
    assert not any(path.startswith(("block5_conv1", "block5_conv2")) for path in kept)


def test_restoring_brings_back_every_weight() -> None:
    """The best epoch's weights can be put back after later epochs changed them."""
    trainee = build_trainee(TrialConfig(head_units=4), RANDOM, (512,))
    saved = trained_weights(trainee)
    for variable in trainee.weights:
        variable.assign(np.full(variable.shape, 3.0))
    restore_weights(trainee, saved)
    for path, array in trained_weights(trainee).items():
        np.testing.assert_array_equal(array, saved[path])
