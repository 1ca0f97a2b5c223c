"""The process of a study while its trials are made elsewhere."""

from __future__ import annotations

import sys

import pytest

from tuning import launch


def test_a_notebook_has_its_own_pace_again_after_a_study() -> None:
    """Threads change places more often while workers are heard, and only then, however the study ends."""
    before_s = sys.getswitchinterval()
    meanwhile_s = []

    def study() -> None:
        with launch._hearing_soon():
            meanwhile_s.append(sys.getswitchinterval())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study()
    assert meanwhile_s[0] < before_s == sys.getswitchinterval()
