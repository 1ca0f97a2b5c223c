"""A result says which program it comes from, and never another one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pneumo_core
from pneumo_core.provenance import package_versions


def test_versions_name_what_results_depend_on() -> None:
    """Python and the libraries that compute."""
    versions = package_versions()
    assert {"python", "tensorflow", "keras", "keras-tuner", "mlflow", "optuna"} <= versions.keys()
    assert all(re.match(r"\d+\.\d+", version) for version in versions.values())


def test_another_programs_repository_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Installed inside a user's own checkout, the version of the package stands for the commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    shutil.copytree(Path(pneumo_core.__file__).parent, tmp_path / "pneumo_core")
    code = "from pneumo_core.provenance import git_commit; print(git_commit())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("version ")
