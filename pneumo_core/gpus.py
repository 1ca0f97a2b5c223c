"""The NVIDIA GPUs that a process may use, as their driver has them: TensorFlow need not be there, or see them.

Nothing is allocated on a GPU. Source of the calls: CUDA Driver API, initialization and device management.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

_DRIVER = "libcuda.so.1"


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: of the model, as in `NVIDIA H100 80GB HBM3`.
        memory_bytes: of the whole GPU, whoever uses it.
    """

    name: str
    memory_bytes: int


def visible_gpus(load: Callable[[str], Any] = ctypes.CDLL) -> list[Gpu]:
    """Returns the GPUs that `CUDA_VISIBLE_DEVICES` leaves this process, all without it, in TensorFlow's order.

    Args:
        load: opens a library by its name.
    """
    try:
        driver = load(_DRIVER)
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [_described(driver, number) for number in range(count.value)]


def gpu_identifiers(count: int, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Returns what `CUDA_VISIBLE_DEVICES` must be in a process that shall see one GPU only, for each in their order.

    Args:
        count: of GPUs that this process sees.
        environment: of this process.
    """
    named = [one.strip() for one in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return (named or [str(number) for number in range(count)])[:count]


def _described(driver: Any, number: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), number)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode(errors="replace"), memory.value)
