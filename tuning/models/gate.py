"""Whether a model may become the champion: each requirement of a policy, what the model has of it, and the verdict."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Check:
    """One requirement, and how a model stands to it.

    Attributes:
        requirement: in words, such as `sensitivity`.
        value: what the model has, as shown, such as `0.952 (0.924 to 0.970)`.
        bound: what is asked for, such as `lower bound at least 0.9`.
        passed: whether it does.
    """

    requirement: str
    value: str
    bound: str
    passed: bool
