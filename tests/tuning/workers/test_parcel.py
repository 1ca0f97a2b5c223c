"""A scheduler hands calls on without opening them."""

from __future__ import annotations

import subprocess
import sys

from tuning.attempt import Job
from tuning.workers.parcel import parcel


def _trial(job: Job, more: str) -> str:
    return job.trial + more


def test_who_opens_it_makes_the_call() -> None:
    """With its arguments."""
    opener, content = parcel(_trial, Job("t1", 1, {}, None), "!")  # type: ignore[arg-type]
    assert opener(content) == "t1!"


def test_who_hands_it_on_needs_nothing_of_this_program() -> None:
    """Another process unpickles the function and its argument, as a scheduler does, with none of our modules."""
    from distributed.protocol.pickle import dumps

    packed = dumps(parcel(_trial, Job("t1", 1, {}, None), "!"))  # type: ignore[arg-type]
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); sys.exit('tuning' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], input=packed, check=True, cwd="/")
