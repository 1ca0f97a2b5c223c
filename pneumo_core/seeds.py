"""Random draws that depend on a key, never on hidden state.

Every draw in a training is made by a generator of its own, keyed by (seed, purpose, epoch, step, ...). A training that
is resumed in epoch 7 therefore draws what the uninterrupted one drew in epoch 7.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Returns a NumPy generator that is a pure function of its arguments.

    Args:
        seed: the user's seed, 0 or more.
        purpose: what the draws are for, for example `"shuffle"`; different purposes never share draws.
        *indices: epoch, step and the like.
    """
    return np.random.default_rng(derive(seed, purpose, *indices, bits=128))


def derive(seed: int, purpose: str, *indices: int, bits: int = 31) -> int:
    """Returns a seed in [0, 2**bits) derived from the arguments by SHA-256, for libraries that want an integer."""
    key = ":".join([str(int(seed)), purpose, *(str(int(index)) for index in indices)])
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest, "big") >> (256 - bits)
