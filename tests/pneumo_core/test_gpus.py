"""GPUs are counted by their driver, which may be missing, or have nothing to show."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from pneumo_core.gpus import Gpu, gpu_identifiers, visible_gpus


def _driver(*names: str) -> Any:
    """Answers as NVIDIA's driver does; 100 is its `CUDA_ERROR_NO_DEVICE`."""

    def put(target: Any, value: int) -> int:
        target._obj.value = value
        return 0

    def name(text: Any, size: int, device: ctypes.c_int) -> int:
        text.value = names[device.value].encode()
        return 0

    return SimpleNamespace(
        cuInit=lambda flags: 0 if names else 100,
        cuDeviceGetCount=lambda count: put(count, len(names)),
        cuDeviceGet=put,
        cuDeviceGetName=name,
        cuDeviceTotalMem_v2=lambda memory, device: put(memory, 80_000_000_000 + device.value),
    )


def test_every_gpu_has_its_name_and_memory() -> None:
    """In the driver's order, as TensorFlow numbers them."""
    found = visible_gpus(lambda name: _driver("NVIDIA A", "NVIDIA B"))
    assert found == [Gpu("NVIDIA A", 80_000_000_000), Gpu("NVIDIA B", 80_000_000_001)]


def test_no_driver_and_no_device_are_no_gpu() -> None:
    """A machine without a GPU, and a process from which all are hidden, see none."""

    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert visible_gpus(missing) == []
    assert visible_gpus(lambda name: _driver()) == []


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("3,5", 2, ["3", "5"]),
        ("GPU-1a, GPU-2b", 2, ["GPU-1a", "GPU-2b"]),
        ("", 0, []),
        ("0,-1,1", 1, ["0"]),
        (None, 0, []),
    ],
)
def test_workers_are_given_gpus_by_the_names_that_this_process_was(
    visible: str | None, count: int, expected: list[str]
) -> None:
    """A share of the machine's GPUs is shared out, not all of them."""
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert gpu_identifiers(count, environment) == expected
