"""Where spaces are found: by the name of a shipped one, or by the path of a file."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces.document import file_problem
from search_spaces.errors import SpaceError
from search_spaces.problems import suggestion

_SUFFIXES = (".yaml", ".yml")
_FOLDER = Path(__file__).parent


def builtin_spaces() -> dict[str, Path]:
    """Returns the files of the shipped spaces by name, in alphabetical order."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.yaml"))}


def find_space(name_or_path: str | Path) -> Path:
    """Returns the file of a space.

    Args:
        name_or_path: the name of a shipped space; or a path, which ends in `.yaml` or `.yml` or holds a separator.

    Raises:
        SpaceError: if there is no such space or no such file.
    """
    text = str(name_or_path)
    if not _is_path(name_or_path):
        return _find_builtin(text)
    path = Path(text)
    problem = file_problem(path)
    if problem:
        hint = f"; the shipped space is called {path.stem}" if path.stem in builtin_spaces() else ""
        raise SpaceError(f"{text}: {problem}{hint}")
    return path


def _is_path(name_or_path: str | Path) -> bool:
    text = str(name_or_path)
    separators = {os.sep, os.altsep or os.sep}
    return isinstance(name_or_path, Path) or text.lower().endswith(_SUFFIXES) or any(sep in text for sep in separators)


def _find_builtin(name: str) -> Path:
    spaces = builtin_spaces()
    if name in spaces:
        return spaces[name]
    hint = suggestion(name, spaces)
    shipped = f" (shipped are {', '.join(spaces)})" if hint.startswith("did") else ""
    raise SpaceError(f"{name!r}: no such space; {hint}{shipped}; a file of your own ends in .yaml")
