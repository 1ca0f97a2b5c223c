"""The quickstart for Kaggle and Colab runs from top to bottom, and calls nothing that is not there."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"


def _cells(kind: str) -> list[str]:
    document = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == kind]


def _python(source: str) -> str:
    """A cell without what IPython alone understands."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


def test_the_notebook_is_one_without_outputs() -> None:
    """What Kaggle and Colab import has the format's fields, cells with names of their own, and nobody's results."""
    document = json.loads(NOTEBOOK.read_text())
    assert (document["nbformat"], document["nbformat_minor"]) >= (4, 5)
    cells = document["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert cell["cell_type"] in {"code", "markdown"}
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_the_notebook_calls_what_there_is() -> None:
    """Each name that is imported from this program exists, and is called with arguments that it takes."""
    tree = ast.parse("\n".join(map(_python, _cells("code"))))
    imported: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in {"tuning", "pneumo_core"}:
            module = importlib.import_module(str(node.module))
            imported |= {alias.name: getattr(module, alias.name) for alias in node.names}
    called = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    checked = set()
    for call in called:
        assert isinstance(call.func, ast.Name)
        if call.func.id in imported:
            keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
            inspect.signature(imported[call.func.id]).bind(*call.args, **keywords)
            checked.add(call.func.id)
    assert {"run_study", "resume_study", "leaderboard", "report", "promote_study", "predict"} <= checked


@pytest.mark.slow
@pytest.mark.timeout(900)  # two sessions with all that belongs to one, TensorFlow in worker processes included
def test_the_notebook_runs_from_top_to_bottom_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On something like Kaggle, with phantoms attached; run again, it goes on with the study that there is."""
    from pneumo_core.phantom_set import write_phantoms

    root = tmp_path / "kaggle"
    (root / "working").mkdir(parents=True)
    write_phantoms(root / "input" / "chest-xray-pneumonia", patients=60, size_px=(48, 96))
    shown: list[Any] = []
    display = types.ModuleType("IPython.display")
    display.HTML = shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        names: dict[str, Any] = {"__name__": "__main__"}
        for source in _cells("code"):
            exec(_at(source, tmp_path), names)  # noqa: S102
            if "session_s = " in source:
                assert (names["space"], names["data"]) == ("vgg16", str(root / "input/chest-xray-pneumonia/chest_xray"))
                names.update(space="demo", trials=2, overrides={"epochs": 2})
    assert names["promotion"].promoted is False  # the second time: it is the champion already
    assert len(shown) == 2
    assert shown[0].startswith("<iframe srcdoc=")
    assert (root / "working" / "mlruns" / "studies" / "first" / "journal.jsonl").exists()


def _at(source: str, folder: Path) -> str:
    """A cell as Python, with Kaggle's folders and the temporary one inside of another."""
    return re.sub(r'"/(?=kaggle|tmp/)', f'"{folder}/', _python(source))
