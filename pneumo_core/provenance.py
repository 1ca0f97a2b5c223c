"""Where a result comes from: commit, package versions, machine."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = (
    "tensorflow",
    "keras",
    "keras-tuner",
    "optuna",
    "mlflow",
    "scikit-learn",
    "scipy",
    "numpy",
    "pandas",
    "opencv-python-headless",
    "pillow",
    "pydicom",
)


def package_versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on, by name."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def git_commit() -> str:
    """Returns the commit this program runs from, with `-dirty` for uncommitted changes; `unknown` outside a checkout.

    Installed from a wheel the program has no commit; then the version of the package stands for it.
    """
    try:
        _git("ls-files", "--error-unmatch", __file__)  # else it is another program's repository that holds this file
        return _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return f"version {metadata.version('pneumo-tune')}"


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    return done.stdout.strip()
