"""Whether program and machine are as a study needs them: packages, memory, disk, processors, what is downloaded."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuning.diagnosis import Diagnosis, State

_LEAST_MEMORY_BYTES = 4e9
_LEAST_DISK_BYTES, _ENOUGH_DISK_BYTES = 200e6, 5e9
_IMPORTED = ("mlflow", "optuna", "distributed", "cv2", "pydicom")
_IMPORTED_WITH_TENSORFLOW = ("keras_tuner",)
_KAGGLE, _KAGGLE_PATIENCE_S = "www.kaggle.com", 3.0
_WEIGHTS = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def python() -> Iterator[Diagnosis]:
    """Looks at Python's version."""
    wanted = importlib.metadata.metadata("pneumo-tune")["Requires-Python"]
    from packaging.specifiers import SpecifierSet

    suits = SpecifierSet(wanted or "").contains(platform.python_version(), prereleases=True)
    advice = "" if suits else f"make a new environment with Python {wanted}: make setup"
    yield Diagnosis("python", "ok" if suits else "problem", f"{platform.python_version()}, {sys.prefix}", advice)


def packages() -> Iterator[Diagnosis]:
    """Compares the installed packages with what this program declares."""
    from packaging.requirements import Requirement

    declared = [Requirement(line) for line in importlib.metadata.requires("pneumo-tune") or ()]
    needed = [one for one in declared if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [text for requirement in needed if (text := _misfit(requirement.name, str(requirement.specifier)))]
    if wrong:
        yield Diagnosis("packages", "problem", "; ".join(wrong), "install the locked versions: make setup")
    else:
        yield Diagnosis("packages", "ok", f"all {len(needed)} are there, in versions that suit")


def _misfit(name: str, wanted: str) -> str:
    from packaging.specifiers import SpecifierSet

    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is missing"
    return "" if SpecifierSet(wanted).contains(version, prereleases=True) else f"{name} is {version}, expected {wanted}"


def imports(tensorflow: bool) -> Iterator[Diagnosis]:
    """Imports the libraries that studies use, TensorFlow (11 s or more) aside unless it is asked for.

    Side effects:
        Starts TensorFlow, if asked for.
    """
    failed = []
    if tensorflow:
        from pneumo_core.runtime import start_tensorflow

        try:
            start_tensorflow()
        except Exception as error:  # a library that does not load raises whatever it likes
            failed.append(_unimportable("tensorflow", error))
    for name in (*_IMPORTED, *(_IMPORTED_WITH_TENSORFLOW if tensorflow else ())):
        try:
            importlib.import_module(name)
        except Exception as error:  # likewise
            failed.append(_unimportable(name, error))
    if failed:
        yield Diagnosis("libraries", "problem", "; ".join(failed), "install the locked versions: make setup")
    else:
        yield Diagnosis("libraries", "ok", "load" if tensorflow else "load; TensorFlow was not tried")


def _unimportable(name: str, error: Exception) -> str:
    return f"{name} does not load ({(str(error).strip().splitlines() or [type(error).__name__])[0]})"


def command() -> Iterator[Diagnosis]:
    """Looks whether `tune` on the path is that of this environment."""
    found, own = shutil.which("tune"), Path(sys.executable).parent / "tune"
    if found and Path(found).resolve() == own.resolve():
        yield Diagnosis("command", "ok", found)
    else:
        seen = f"`tune` is {found}, not that of this environment" if found else "`tune` is not on the path"
        yield Diagnosis("command", "note", seen, f". {own.parent}/activate")


def memory() -> Iterator[Diagnosis]:
    """Looks at the memory that a process may have, by the machine and by the container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    total = min(total, int(allowed)) if allowed.isdigit() else total
    scarce = total < _LEAST_MEMORY_BYTES
    advice = "keep to one worker, small images and small batches" if scarce else ""
    yield Diagnosis("memory", "warning" if scarce else "ok", f"{total / 1e9:.1f} GB", advice)


def disk(folder: Path) -> Iterator[Diagnosis]:
    """Looks at the room where a store lies or would lie."""
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    scarce: State = "problem" if free < _LEAST_DISK_BYTES else "warning"
    state = scarce if free < _ENOUGH_DISK_BYTES else "ok"
    advice = "" if state == "ok" else "make room: tune gc, tune cache clear; or choose another --store"
    yield Diagnosis("disk", state, f"{free / 1e9:.1f} GB free at {place}", advice)


def processors(tensorflow: bool) -> Iterator[Diagnosis]:
    """Says what TensorFlow computes on; it is imported already, or not looked at."""
    if not tensorflow:
        yield Diagnosis("GPU", "note", "not looked at, because TensorFlow was not started")
        return
    import tensorflow as tf

    from pneumo_core.gpus import visible_gpus
    from pneumo_core.runtime import device_in_use, threads_in_use

    gpus = tf.config.list_physical_devices("GPU")
    there = [f"{gpu.name}, {gpu.memory_bytes / 1e9:.0f} GB" for gpu in visible_gpus()]
    if gpus:
        seen = f"{len(gpus)}: {'; '.join(there) or device_in_use()}"
        if problem := _xla_problem():
            yield Diagnosis("GPU", "problem", f"{seen}; XLA cannot compile for it ({problem})", _with_cuda(tf))
        else:
            yield Diagnosis("GPU", "ok", seen)
    elif there:
        seen = f"{'; '.join(there)}: there, but TensorFlow cannot use it and computes on {device_in_use()}"
        yield Diagnosis("GPU", "warning", seen, _with_cuda(tf))
    else:
        seen = f"none; TensorFlow computes on {threads_in_use()} threads of {device_in_use()}"
        yield Diagnosis("GPU", "note", seen, "without a GPU begin with small images: --set image_size=64")


def _with_cuda(tf: Any) -> str:
    return f"install its CUDA libraries: python -m pip install 'tensorflow[and-cuda]=={tf.__version__}'"


def _xla_problem() -> str:
    """Why the frozen layers could not be compiled for the GPU, as where NVIDIA's assembler is missing; or nothing."""
    import tensorflow as tf

    try:
        tf.function(lambda numbers: numbers * 2 + 1, jit_compile=True)(tf.zeros(8))
    except tf.errors.OpError as error:
        return str(error).strip().splitlines()[0]
    return ""


def kaggle() -> Iterator[Diagnosis]:
    """Looks whether Kaggle can be asked for its data set; its credentials are not read."""
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR", Path.home() / ".kaggle"))
    by_name = bool(os.environ.get("KAGGLE_API_TOKEN") or os.environ.get("KAGGLE_KEY"))
    by_file = any((folder / name).is_file() for name in ("access_token", "kaggle.json"))
    known = "credentials are there" if by_name or by_file else "no credentials (public sets need none)"
    if _answers(_KAGGLE):
        yield Diagnosis("Kaggle", "ok", f"can be reached; {known}")
    else:
        yield Diagnosis("Kaggle", "note", f"cannot be reached from here; {known}", "use --data DIR or --data demo")


def _answers(host: str) -> bool:
    """Whether a server takes connections; a name server that hangs is not waited for."""
    answered = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection((host, 443), timeout=_KAGGLE_PATIENCE_S):
                answered.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_KAGGLE_PATIENCE_S + 0.5)
    return answered.is_set()


def weights() -> Iterator[Diagnosis]:
    """Looks for VGG16's ImageNet weights in Keras' cache."""
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    file = home / "models" / _WEIGHTS
    if file.is_file():
        yield Diagnosis("ImageNet weights", "ok", str(file))
    else:
        seen = f"not in {file.parent}; the first study that needs them downloads 59 MB"
        yield Diagnosis("ImageNet weights", "note", seen, "offline: copy the file there, or --set weights=random|FILE")
