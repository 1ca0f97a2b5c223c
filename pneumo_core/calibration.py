"""Whether probabilities mean what they say, and one number that makes them say it better."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

COLDEST, HOTTEST = 0.05, 20.0
"""Range of a fitted temperature. Where the classes are separated, the log loss falls for ever as it cools."""

ECE_BINS = 15


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature T for which sigmoid(logit / T) has the lowest log loss.

    The log loss is convex in 1 / T, so its only minimum lies where its slope changes sign.

    Args:
        logits: (N,) of validation images.
        labels: (N,) 0 or 1.

    Returns:
        A number from `COLDEST` to `HOTTEST`: over 1 the scores were too sure, under 1 not sure enough.

    Source:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """

    def slope(inverse: float) -> float:
        return float(logits @ (expit(logits * inverse) - labels))

    if slope(1 / HOTTEST) >= 0:
        return HOTTEST
    if slope(1 / COLDEST) <= 0:
        return COLDEST
    return 1 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12))


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Returns (N,) probabilities of the positive class: sigmoid(logit / temperature)."""
    return np.asarray(expit(np.asarray(logits, dtype=np.float64) / temperature))


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = ECE_BINS) -> float:
    """Returns the mean distance of predicted from observed frequency, over bins of equal width.

    Guo et al. 2017 (equation 3) look at the confidence of whichever class was called; here it is the probability of
    the positive class against the frequency of that class, which is what a reader takes a probability of pneumonia
    for. Their bins are kept: of equal width, each with its upper edge.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) in [0, 1], of label 1.
        bins: how many.

    Returns:
        Sum over the bins of (share of the images) × |mean probability - share of label 1|, from 0 to 1.
    """
    differences = np.bincount(bin_of(probabilities, bins), weights=labels - probabilities, minlength=bins)
    return float(np.abs(differences).sum() / len(labels))


def bin_of(probabilities: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Returns (N,) int: the bin of each probability, of ((m - 1) / bins, m / bins], 0 lying in the first."""
    edges = np.arange(1, bins) / bins
    return np.searchsorted(edges, probabilities, side="left")
