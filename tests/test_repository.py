"""What the repository promises about itself: a lock without index addresses, examples that work, no leftovers."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tuning.spaces import open_space

ROOT = Path(__file__).parents[1]


def test_the_lock_has_hashes_and_no_addresses() -> None:
    """Every requirement is pinned to one version with hashes, from whichever index the user has."""
    text = (ROOT / "requirements.txt").read_text()
    entries = re.findall(r"^[a-z0-9][^\s]*==\S+", text, flags=re.MULTILINE)
    assert len(entries) > 50
    assert all("--hash=sha256:" in entry for entry in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:])
    assert "://" not in text


def test_the_documented_space_is_a_space(tmp_path: Path) -> None:
    """The example in docs/search-spaces.md can be used as it stands."""
    example = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "search-spaces.md").read_text(), flags=re.DOTALL)
    assert example
    (tmp_path / "mine.yaml").write_text(example[1])
    assert open_space(str(tmp_path / "mine.yaml")).name == "mine"


def test_every_module_stands_in_the_structure() -> None:
    """docs/structure.md names each module, so that a newcomer finds it."""
    structure = (ROOT / "docs" / "structure.md").read_text()
    modules = [p for package in ("pneumo_core", "search_spaces", "tuning") for p in (ROOT / package).rglob("*.py")]
    missing = [path.name for path in modules if path.name != "__init__.py" and f"{path.name}`" not in structure]
    missing = [name for name in missing if name != "editor_schema.py"]  # named by its command
    assert not missing


def test_no_module_stands_in_the_structure_twice() -> None:
    """Each folder's section has one sentence for a module, so that two cannot come to differ."""
    structure = (ROOT / "docs" / "structure.md").read_text()
    for section in re.split(r"^##+ (?=`)", structure.partition("\n## Where a change goes")[0], flags=re.MULTILINE)[1:]:
        places = "\n".join(line.split(" | ")[0] for line in section.splitlines())  # what follows may speak of others
        named = Counter(re.findall(r"`(\w+\.py)`", places))
        assert named, section
        assert not [name for name, times in named.items() if times > 1], section.splitlines()[0]


def test_every_package_is_installed() -> None:
    """What lies in a folder with code comes along when the program is installed from a wheel, as on Kaggle."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [path for package in ("pneumo_core", "search_spaces", "tuning") for path in (ROOT / package).rglob("*.py")]
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in inits} == set(listed)


def test_readme_links_lead_somewhere() -> None:
    """Every relative link of the Markdown files points to a file."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_nothing_generated_is_tracked() -> None:
    """Studies, data and weights stay out of the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = listed.stdout.split()
    assert [name for name in files if name.startswith("mlruns/")] == ["mlruns/.gitignore", "mlruns/README.md"]
    assert not [name for name in files if name.endswith((".h5", ".keras", ".npz", ".jpeg", ".db"))]
