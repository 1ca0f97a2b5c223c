"""Which images the arguments of `tune predict` name: files, folders at any depth, and `-` for standard input."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pneumo_core.classifier import MAX_ENCODED_BYTES
from pneumo_core.errors import DatasetError, ImageError
from pneumo_core.images import IMAGE_ENDINGS, read_bytes
from pneumo_core.layout import image_files, readable
from pneumo_core.places import resolved

STANDARD_INPUT = Path("-")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclasses.dataclass(frozen=True)
class NamedImage:
    """An image that the user named, not yet read.

    Attributes:
        path: of the file; `STANDARD_INPUT` stands for what is piped in.
    """

    path: Path

    @property
    def name(self) -> str:
        """The path as it can be printed: control characters, and bytes that are no UTF-8, are replaced.

        It never begins like a formula, which a spreadsheet would compute when it opens the rows.
        """
        name = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", os.fsencode(self.path).decode(errors="replace"))
        return f"./{name}" if name.startswith(("=", "+", "@", "-")) and self.path != STANDARD_INPUT else name

    @property
    def folder_name(self) -> str:
        """Name of the folder that holds the file; empty for standard input."""
        return "" if self.path == STANDARD_INPUT else self.path.resolve().parent.name

    def read(self) -> bytes:
        """Returns the encoded image.

        Raises:
            ImageError: if it cannot be read, or standard input is a terminal or holds too much.
        """
        return _standard_input() if self.path == STANDARD_INPUT else read_bytes(self.path, name=self.name)


@dataclasses.dataclass(frozen=True)
class NamedImages:
    """What some arguments name.

    Attributes:
        images: each once, in the order of the arguments; those of a folder sorted by path.
        refused: a sentence for each argument that names no image.
        notes: sentences about what is left out.
    """

    images: list[NamedImage]
    refused: list[str]
    notes: list[str]


def named_images(arguments: Iterable[Path]) -> NamedImages:
    """Lists the images that arguments name. No file is opened; hidden files and linked folders are passed over."""
    images: dict[Path, NamedImage] = {}
    refused: list[str] = []
    notes: list[str] = []
    again: Counter[str] = Counter()
    for argument in arguments:
        try:
            for path in _paths(argument, notes):
                image = NamedImage(path)
                if images.setdefault(_same(path), image) is not image:
                    again[image.name] += 1
        except DatasetError as error:
            refused.append(str(error))
    if again:
        more = f" and {len(again) - 1} other images" if len(again) > 1 else ""
        notes.append(f"{next(iter(again))}{more}: named more than once; used once.")
    return NamedImages(list(images.values()), refused, notes)


def _same(path: Path) -> Path:
    """Returns what is equal for two ways to one file."""
    return path if path == STANDARD_INPUT else resolved(path)


def _paths(argument: Path, notes: list[str]) -> Iterator[Path]:
    if argument == STANDARD_INPUT or not argument.is_dir():
        yield argument
        return
    left_out: Counter[str] = Counter()
    with readable(argument):
        files = image_files(argument, left_out)
    others = ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
    name = NamedImage(argument).name
    if not files:
        expected = f"a folder of radiographs ({', '.join(IMAGE_ENDINGS)})"
        raise DatasetError(f"{name}: expected {expected}, found {others or 'nothing in it'}. Name another folder.")
    if others:
        notes.append(f"{name}: left out {others}.")
    yield from files


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise ImageError.refusing("-", "an image on standard input", "a terminal", "Pipe or redirect a file into it")
    data = sys.stdin.buffer.read(MAX_ENCODED_BYTES + 1)
    if len(data) > MAX_ENCODED_BYTES:
        raise ImageError.refusing("-", f"at most {MAX_ENCODED_BYTES:,} bytes", "more", "Name the file instead")
    return data
