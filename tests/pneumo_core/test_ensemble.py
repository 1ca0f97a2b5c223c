"""Several classifiers as one model: it says what they come to together, and runs what they share once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import expit, logit

from pneumo_core.backbone import load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.ensemble import Member, build_ensemble, member_chains, vote_logits
from pneumo_core.errors import WeightsError
from pneumo_core.explain import grad_cam
from pneumo_core.model import build_classifier, build_trainee, classifier_logits, initialize, trained_weights

RANDOM = load_backbone_weights("random", 0)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1)).astype(np.uint8)
SETTINGS: tuple[dict[str, object], ...] = (
    {"pooling": "average"},
    {"pooling": "flatten", "pixel_scaling": "caffe", "second_head_units": 4, "batch_normalization": True},
    {"pooling": "average", "unfrozen_layers": 4, "feature_scaling": "none"},
)
"""Cuts behind the average; in front of it, of other pixels; behind block 3."""
SHAPES = ((512,), (1, 1, 512), (4, 4, 256))


def _member(number: int) -> Member:
    common = {"weights": "random", "image_size": 32, "pixel_scaling": "unit", "head_units": 8, "seed": number}
    config = TrialConfig.from_mapping(common | SETTINGS[number])
    trainee = build_trainee(config, RANDOM, SHAPES[number])
    initialize(trainee, config, RANDOM)
    return Member(config, RANDOM, trained_weights(trainee), temperature=0.5 + 0.25 * number)


@pytest.fixture(scope="module")
def singles() -> list[tuple[Member, keras.Model]]:
    """Three that differ in all that members may differ in, each beside its own classifier; all call half the images."""
    pairs = []
    for made in map(_member, range(3)):
        model = build_classifier(made.config, made.weights, made.arrays, made.temperature)
        threshold = float(np.median(expit(classifier_logits(model, PIXELS))))
        pairs.append((dataclasses.replace(made, threshold=threshold), model))
    return pairs


@pytest.fixture(scope="module")
def members(singles: list[tuple[Member, keras.Model]]) -> list[Member]:
    """Of these the members."""
    return [member for member, _ in singles]


@pytest.fixture(scope="module")
def ensembles(members: list[Member]) -> dict[str, keras.Model]:
    """All three as one model, for either vote."""
    return {vote: build_ensemble(members, vote, temperature=0.7) for vote in ("soft", "hard")}


def test_a_soft_vote_is_the_logit_of_the_mean_probability() -> None:
    """To the last digits where probabilities round to 0 and 1."""
    logits = np.array([[0.3, -1.2, 2.0], [40.0, 38.0, 45.0], [-60.0, -50.0, -55.0], [50.0, -50.0, 0.0]])
    together = vote_logits(logits, [0.5] * 3, "soft")
    np.testing.assert_allclose(together[[0, 3]], logit(expit(logits[[0, 3]]).mean(axis=1)), rtol=1e-12)
    assert together[1] == pytest.approx(-np.log(np.exp(-logits[1]).mean()), rel=1e-12)
    assert together[2] == pytest.approx(np.log(np.exp(logits[2]).mean()), rel=1e-12)


def test_a_hard_vote_counts_calls_at_the_members_own_thresholds() -> None:
    """A probability on the threshold is a call; the majority lies over one half; where all agree it is finite."""
    thresholds = [0.2, 0.5, 0.9]
    logits = logit(np.array([[0.1, 0.4, 0.8], [0.3, 0.4, 0.8], [0.3, 0.6, 0.8], [0.21, 0.5, 0.95]]))
    together = vote_logits(logits, thresholds, "hard")
    np.testing.assert_allclose(expit(together), [0.125, 0.375, 0.625, 0.875])


@pytest.mark.parametrize("vote", ["soft", "hard"])
def test_the_model_is_what_its_members_come_to(
    vote: str, singles: list[tuple[Member, keras.Model]], ensembles: dict[str, keras.Model], tmp_path: Path
) -> None:
    """Whatever they differ in; and to the same bits after loading in safe mode."""
    model, thresholds = ensembles[vote], [member.threshold for member, _ in singles]
    logits = np.stack([classifier_logits(single, PIXELS) for _, single in singles], axis=1)
    expected = vote_logits(logits, thresholds, vote) / 0.7
    scored = classifier_logits(model, PIXELS)
    assert len(set(scored.round(6))) > 1
    np.testing.assert_allclose(scored, expected, atol=1e-5)
    np.testing.assert_allclose(np.asarray(model(PIXELS.astype(np.float32)))[:, 0], expit(expected), atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(classifier_logits(loaded, PIXELS), scored)
    assert [len(chain) for chain in member_chains(loaded)] == [2, 2, 2]


def _convolutions(model: keras.Model) -> int:
    return sum(isinstance(layer, keras.layers.Conv2D) for layer in model._flatten_layers())


def test_frozen_layers_are_there_once(
    singles: list[tuple[Member, keras.Model]], ensembles: dict[str, keras.Model]
) -> None:
    """Heads on the same cut add their heads; another cut what lies above it; another scaling a stack of its own."""
    first, alone = singles[0]
    head = sum(array.size for array in first.arrays.values())
    alike = build_ensemble([first, first, first], "soft")
    assert alike.count_params() == alone.count_params() + 2 * head
    assert _convolutions(alike) == _convolutions(alone) == 13
    assert _convolutions(ensembles["soft"]) == 13 + 13 + 6


def test_heat_is_the_mean_of_the_members_heat(
    singles: list[tuple[Member, keras.Model]], ensembles: dict[str, keras.Model]
) -> None:
    """Each on its own scale, wherever its last convolution lies; even of a hard vote, which has no gradient."""
    mean = np.mean([grad_cam(single, PIXELS) for _, single in singles], axis=0)
    assert (mean.max(axis=(1, 2)) > 0).all()
    expected = mean / mean.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(grad_cam(ensembles["hard"], PIXELS), expected, atol=2e-3)


def test_weights_of_another_configuration_are_refused(members: list[Member]) -> None:
    """As for a single classifier."""
    exchanged = dataclasses.replace(members[0], arrays=members[1].arrays)
    with pytest.raises(WeightsError, match="do not fit their configuration"):
        build_ensemble([members[0], exchanged], "soft")
