"""The process of a study while its trials are made elsewhere."""

from __future__ import annotations

import sys

import pytest

from tuning import launch


def test_a_notebook_has_its_own_pace_again_after_a_study() -> None:
    """Threads change places more often while workers are heard, and only then, however the study ends."""
    before_s = sys.getswitchinterval()
    with pytest.raises(KeyboardInterrupt), launch._hearing_soon():
        assert sys.getswitchinterval() < before_s
        raise KeyboardInterrupt
    assert sys.getswitchinterval() == before_s
