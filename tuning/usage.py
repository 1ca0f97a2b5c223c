"""What a training takes of processor and memory."""

from __future__ import annotations

import psutil

_BYTES_PER_MEGABYTE = 1e6


class Meter:
    """Measures the machine and this process; rates are over the time since the measurement before.

    The names are those of MLflow's own system metrics where it has the same. A measurement takes less than 1 ms.
    """

    def __init__(self) -> None:
        self._process: psutil.Process | None = None
        self.read()  # so that the next one has a time to go back to

    def read(self) -> dict[str, float]:
        """Returns, by name, per cent and megabytes (of 1,000,000 bytes); nothing where they cannot be measured.

        `cpu_utilization_percentage` is of all processors; `process_cpu_utilization_percentage` is of one, and so may
        exceed 100. `process_memory_usage_megabytes` is the memory that the process has in RAM.
        """
        try:
            self._process = self._process or psutil.Process()
            memory = psutil.virtual_memory()
            values = {
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "process_cpu_utilization_percentage": self._process.cpu_percent(),
                "system_memory_usage_megabytes": memory.used / _BYTES_PER_MEGABYTE,
                "system_memory_usage_percentage": memory.percent,
                "process_memory_usage_megabytes": self._process.memory_info().rss / _BYTES_PER_MEGABYTE,
            }
        except (psutil.Error, OSError):
            return {}
        return {name: round(float(value), 1) for name, value in values.items()}


def private_memory_bytes(pid: int) -> int:
    """Returns the memory that a process has in RAM for itself.

    Pages of mapped files, as kept activations are, are not among it where the system tells them apart (Linux): it takes
    them back when memory gets scarce.

    Raises:
        psutil.Error: if there is no such process, or it is not ours to look at.
    """
    memory = psutil.Process(pid).memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))
