"""TensorFlow set up the way every training here expects it: quiet, deterministic, with a known number of threads."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pneumo_core.errors import ConfigError
from pneumo_core.gpus import visible_gpus


def start_tensorflow(threads: int = 0) -> Any:
    """Imports TensorFlow (about 11 s, once a process) and fixes what would make results depend on the moment.

    Args:
        threads: of an operation; 0 for one a processor. Another number of threads adds in another order and so changes
            last digits.

    Returns:
        The `tensorflow` module.

    Raises:
        ConfigError: if this process already computes with another number of threads.

    Side effects:
        Sets `KERAS_BACKEND` and TensorFlow's log level in this process's environment, its thread counts (if it has not
        computed yet), and makes operations deterministic: one that needs a hidden seed now fails.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_stderr_muted():
        import keras  # noqa: F401  # it imports the rest of TensorFlow, which has more to say
        import tensorflow as tf

    if threads and threads_in_use() != threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError as error:
            raise ConfigError(
                f"threads {threads}: TensorFlow already computes with another number in this process; start a new one."
            ) from error
    with contextlib.suppress(RuntimeError):  # it computes already
        for gpu in tf.config.list_physical_devices("GPU"):  # the study's process and its workers share it
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")
    return tf


@contextlib.contextmanager
def _native_stderr_muted() -> Iterator[None]:
    """TensorFlow's libraries write notes about the processor to file descriptor 2 before any log level is read.

    If the import fails they are shown: they may say why.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as words:
        stderr = os.dup(2)
        os.dup2(words.fileno(), 2)
        try:
            yield
        except BaseException:
            words.seek(0)
            os.write(stderr, words.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def device_in_use() -> str:
    """Returns what computes, and so decides on last bits: the first of TensorFlow's GPUs, or the processor's model."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def computes_on_gpu() -> bool:
    """Returns whether TensorFlow has a GPU to compute on."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def gpu_memory_bytes() -> int | None:
    """Returns the memory of the GPU that computes, however much of it is free; None if a processor computes."""
    seen = visible_gpus() if computes_on_gpu() else []
    return seen[0].memory_bytes if seen else None


def threads_in_use() -> int:
    """Returns how many threads one TensorFlow operation of this process may use."""
    import tensorflow as tf

    chosen = int(tf.config.threading.get_intra_op_parallelism_threads())
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return chosen or available or 1
