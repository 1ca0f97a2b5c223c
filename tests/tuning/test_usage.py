"""What a training takes is measured in passing."""

from __future__ import annotations

import time

import psutil
import pytest

from tuning.usage import Meter


def test_machine_and_process_are_measured_in_units_that_make_sense() -> None:
    """Per cent and megabytes; a process that was busy since the last measurement shows it."""
    meter, end = Meter(), time.process_time() + 0.1
    while time.process_time() < end:
        pass
    used = meter.read()
    assert 0 <= used["cpu_utilization_percentage"] <= 100
    assert used["process_cpu_utilization_percentage"] > 5
    assert 0 < used["process_memory_usage_megabytes"] < used["system_memory_usage_megabytes"] * 1.5
    assert 0 < used["system_memory_usage_percentage"] <= 100


def test_where_nothing_can_be_measured_the_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without /proc."""

    def refuse() -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    assert Meter().read() == {}
