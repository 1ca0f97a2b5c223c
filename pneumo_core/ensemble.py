"""Several classifiers as one model: frozen layers run once for all, and what their heads say is put to the vote.

- `soft`: the mean of the members' calibrated probabilities.
- `hard`: each member calls at its own threshold. Of n members v calls make a probability of (v + 1/2) / (n + 1), which
  is over one half for a majority; so there are n + 1 probabilities and no more, and many images tie.

The halves are those of the empirical logit (Anscombe 1956, "On estimating binomial response relations"): it stays
finite where all agree.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from scipy import special

from pneumo_core.backbone import BackboneWeights, Cut, build_prefixes
from pneumo_core.config import TrialConfig
from pneumo_core.model import PROBABILITY_LAYER, trained_trainee

VOTES = ("soft", "hard")

_SMALLEST = np.finfo(np.float64).eps


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """A classifier that takes part in a vote.

    Attributes:
        config: of the training that its weights are from.
        weights: of the backbone that this training started from.
        arrays: what it trained, as from `pneumo_core.model.trained_weights`.
        temperature: that its logits are divided by.
        threshold: probabilities of at least this are its calls; asked for by a hard vote only.
    """

    config: TrialConfig
    weights: BackboneWeights
    arrays: Mapping[str, np.ndarray]
    temperature: float = 1.0
    threshold: float = 0.5


def vote_logits(logits: np.ndarray, thresholds: Sequence[float], vote: str) -> np.ndarray:
    """Returns the logits (N,), float64, of what members come to together.

    Args:
        logits: (N, members) of the members, calibrated.
        thresholds: (members,) of their probabilities.
        vote: one of `VOTES`.
    """
    if vote == "soft":
        return np.asarray(
            special.logsumexp(special.log_expit(logits), axis=1) - special.logsumexp(special.log_expit(-logits), axis=1)
        )
    calls = np.sum(logits >= _logit(np.asarray(thresholds)), axis=1)
    return np.asarray(np.log((calls + 0.5) / (logits.shape[1] + 0.5 - calls)))


def build_ensemble(members: Sequence[Member], vote: str, temperature: float = 1.0) -> keras.Model:
    """Puts members together to one model.

    Members with the same pixel scaling share one stack of frozen blocks, as deep as the deepest of them needs; who
    trained blocks of its own leaves it below them. Each member is a model of its own within, named `member1` and so on.

    Args:
        members: at least two, of the same image size and the same backbone weights.
        vote: one of `VOTES`.
        temperature: that the logit of the vote is divided by.

    Returns:
        A model of standard layers and operations only, from gray pixels (N, image_size, image_size, 1), 0 to 255, to
        the probability of the positive class (N, 1).

    Raises:
        WeightsError: if a member's arrays do not fit its configuration.
    """
    size = members[0].config.image_size
    pixels = keras.Input((size, size, 1), name="pixels")
    activations = _activations(members, pixels)
    logits = [
        _standing(f"member{number}", member, activation, vote)
        for number, (member, activation) in enumerate(zip(members, activations, strict=True), start=1)
    ]
    together = keras.layers.Concatenate(name="members")(logits)
    voted = _soft(together) if vote == "soft" else _hard(together, len(members))
    logit = keras.layers.Rescaling(1 / temperature, name="temperature")(voted)
    probability = keras.layers.Activation("sigmoid", name=PROBABILITY_LAYER)(logit)
    return keras.Model(pixels, probability, name="ensemble")


def member_chains(classifier: keras.Model) -> list[list[keras.Model]]:
    """Returns what an image runs through to each member's logit: its frozen layers, and its own.

    Args:
        classifier: as `build_ensemble` returns it, or the same loaded from a file; of any other model there are none.
    """
    members = [layer for layer in classifier.layers if re.fullmatch(r"member\d+", layer.name)]
    chains = []
    for member in members:
        # Which of the outputs of the frozen layers a member is given is known to the graph alone.
        source = member._inbound_nodes[0].input_tensors[0]._keras_history
        frozen = source.operation
        chains.append([keras.Model(frozen.input, frozen.outputs[source.tensor_index]), member])
    return chains


def _activations(members: Sequence[Member], pixels: Any) -> list[Any]:
    """What each member's own layers are given."""
    found: dict[tuple[str, Cut], Any] = {}
    for scaling in dict.fromkeys(member.config.pixel_scaling for member in members):
        alike = [member for member in members if member.config.pixel_scaling == scaling]
        cuts = sorted({Cut.of(member.config) for member in alike})
        frozen = build_prefixes(alike[0].config.as_served, alike[0].weights, cuts, name=f"prefix_{scaling}")
        outputs = frozen(pixels) if len(cuts) > 1 else [frozen(pixels)]
        found |= {(scaling, cut): output for cut, output in zip(cuts, outputs, strict=True)}
    return [found[member.config.pixel_scaling, Cut.of(member.config)] for member in members]


def _standing(name: str, member: Member, activations: Any, vote: str) -> Any:
    """A member's calibrated logit; for a hard vote as its height above the member's threshold."""
    trainee = trained_trainee(member.config, member.weights, activations.shape[1:], member.arrays)
    own = keras.Model(trainee.input, trainee.output, name=name)
    offset = -float(_logit(np.float64(member.threshold))) if vote == "hard" else 0.0
    return keras.layers.Rescaling(1 / member.temperature, offset, name=f"{name}_logit")(own(activations))


def _soft(logits: Any) -> Any:
    """The logit of the mean probability: by logarithms, so that sure members do not round to 0 and 1."""
    positive = keras.ops.log_sigmoid(logits)
    negative = positive - logits  # log sigmoid(-x) = log sigmoid(x) - x
    return keras.ops.logsumexp(positive, axis=1, keepdims=True) - keras.ops.logsumexp(negative, axis=1, keepdims=True)


def _hard(heights: Any, members: int) -> Any:
    calls = keras.ops.sum(keras.ops.cast(keras.ops.greater_equal(heights, 0.0), "float32"), axis=1, keepdims=True)
    return keras.ops.log((calls + 0.5) / (members + 0.5 - calls))


def _logit(probabilities: Any) -> Any:
    return special.logit(np.clip(probabilities, _SMALLEST, 1 - _SMALLEST))
