"""YAML text as plain data that remembers its lines. Nothing but mappings, lists and single values is read.

Built on the nodes that PyYAML composes, never on its constructors, so a tag cannot make an object; anchors and aliases
are refused, so a small file cannot stand for a large one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import SpaceError
from search_spaces.problems import KeyPath, Problem, problem_at
from search_spaces.scalars import read_scalar

MAX_BYTES = 256 * 1024
_MAX_DEPTH = 12
_STANDARD_TAG = "tag:yaml.org,2002:"


@dataclasses.dataclass(frozen=True)
class Document:
    """A file's content.

    Attributes:
        data: dicts, lists and single values; None stands where a value could not be read.
        lines: line of every key and every list item, by its path.
        problems: duplicate keys, anchors, tags, values that cannot be read.
        unreadable: paths of the values that `data` does not hold.
    """

    data: dict[str, Any]
    lines: dict[KeyPath, int]
    problems: list[Problem]
    unreadable: set[KeyPath]

    def line_of(self, path: KeyPath) -> int:
        """Returns the line of a path, or of the nearest thing around it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(path: Path) -> Document:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        SpaceError: if the file cannot be read, is too large, or is not YAML.
    """
    text = _read_text(path)
    try:
        composer = _Composer(text)
        root = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise SpaceError(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {reason}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpaceError(f"{path}:{line}: not YAML: unprintable character {error.character!r}") from None
    except SpaceError as error:
        raise SpaceError(f"{path}:{error}") from None
    if root is None:
        raise SpaceError(f"{path}:1: the file is empty; it needs at least a name")
    return _plain_document(path, root, composer.problems)


def located(path: Path, document: Document, problems: Iterable[Problem]) -> list[str]:
    """Returns a sentence for each problem, as `file:line: what`, in the order of the lines.

    What follows from a value that could not be read is left out.
    """
    told: dict[str, int] = {}
    for problem in problems:
        if problem.line is not None or problem.path not in document.unreadable:
            line = problem.line or document.line_of(problem.path)
            told.setdefault(f"{path}:{line}: {problem.message}", line)
    return sorted(told, key=lambda message: told[message])


def file_problem(path: Path) -> str | None:
    """Returns why a path cannot be that of a space file, or None. A device such as /dev/zero would never end."""
    try:
        if path.is_file():
            return None
        return "expected a YAML file, got a directory or device" if path.exists() else "no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _read_text(path: Path) -> str:
    problem = file_problem(path)
    if problem:
        raise SpaceError(f"{path}: {problem}")
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpaceError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise SpaceError(f"{path}: is larger than {MAX_BYTES // 1024} KiB; a space is a page of text")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpaceError(f"{path}:{line}: is not UTF-8 text (byte 0x{content[error.start]:02x})") from None


class _Composer(yaml.SafeLoader):
    """Composes nodes, and takes note of anchors, aliases and tags instead of following them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[Problem] = []
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            self._refuse(line, f"aliases are not read; write the value again instead of *{event.anchor}")
            return _unreadable_node(event)
        if event.anchor is not None:
            self._refuse(line, f"anchors are not read; leave &{event.anchor} out")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise SpaceError(f"{line}: nested more than {_MAX_DEPTH} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.tag is not None:
            self._refuse(line, f"tags are not read; leave {event.tag.replace(_STANDARD_TAG, '!!')} out")
            return _unreadable_node(event)
        return node

    def _refuse(self, line: int, message: str) -> None:
        self.problems.append(Problem((), message, line))


_UNREADABLE_TAG = "unreadable"


def _unreadable_node(event: Any) -> yaml.ScalarNode:
    return yaml.ScalarNode(_UNREADABLE_TAG, "", event.start_mark, event.end_mark)


def _plain_document(path: Path, root: yaml.Node, problems: list[Problem]) -> Document:
    document = Document({}, {}, list(problems), set())
    if not isinstance(root, yaml.MappingNode):
        found = [f"{path}:{problem.line}: {problem.message}" for problem in problems]
        raise SpaceError(
            [*found, f"{path}:{_line(root)}: expected a mapping (name: …, parameters: …) at the top level"]
        )
    document.data.update(_plain(document, root, ()))
    return document


def _plain(document: Document, node: yaml.Node, path: KeyPath) -> Any:
    document.lines.setdefault(path, _line(node))
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(document, node, path)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(document, item, (*path, place)) for place, item in enumerate(node.value)]
    return _plain_scalar(document, node, path)


def _plain_mapping(document: Document, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = _line(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(problem_at(path, "a key must be a word", line))
        elif key_node.tag == _UNREADABLE_TAG:
            continue
        elif key_node.value in data:
            first = document.lines[(*path, key_node.value)]
            message = f"given twice, first on line {first}; leave one of them out"
            document.problems.append(problem_at((*path, key_node.value), message, line))
        else:
            document.lines[(*path, key_node.value)] = line
            data[key_node.value] = _plain(document, value_node, (*path, key_node.value))
    return data


def _plain_scalar(document: Document, node: yaml.Node, path: KeyPath) -> Any:
    if node.tag == _UNREADABLE_TAG:
        document.unreadable.add(path)
        return None
    if node.style is not None:  # type: ignore[attr-defined]
        return node.value
    try:
        return read_scalar(node.value)
    except SpaceError as error:
        document.problems.append(problem_at(path, str(error), _line(node)))
        document.unreadable.add(path)
        return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
