"""What people name on the command line becomes a list of images, each once."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from pneumo_core.errors import ImageError
from tuning.models.named_images import STANDARD_INPUT, NamedImage, named_images


def _made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def _names(images: list[NamedImage], folder: Path) -> list[str]:
    return [image.path.relative_to(folder).as_posix() for image in images]


def test_a_folder_stands_for_its_images_at_any_depth(tmp_path: Path) -> None:
    """By name; hidden files and what macOS adds are passed over silently, other files with a note."""
    _made(tmp_path, "b.PNG", "a/2.jpg", "a/1.dcm", ".hidden.png", ".git/x.png", "__MACOSX/a/._1.jpeg", "notes.txt")
    named = named_images([tmp_path])
    assert _names(named.images, tmp_path) == ["a/1.dcm", "a/2.jpg", "b.PNG"]
    assert named.refused == []
    assert len(named.notes) == 1
    assert named.notes[0].startswith(f"{tmp_path}: left out 1 files whose names do not end in")


def test_linked_folders_are_not_entered(tmp_path: Path) -> None:
    """A link back to its own folder would never end."""
    _made(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    named = named_images([tmp_path])
    assert _names(named.images, tmp_path) == ["a/1.png"]
    assert "1 linked folders" in named.notes[0]


def test_files_are_taken_whatever_they_are_called(tmp_path: Path) -> None:
    """What a file is, its contents say; one that is missing is found out when it is read."""
    named = named_images([_made(tmp_path, "scan") / "scan", tmp_path / "missing.png"])
    assert _names(named.images, tmp_path) == ["scan", "missing.png"]
    with pytest.raises(ImageError, match="missing"):
        named.images[1].read()


def test_an_image_that_is_named_twice_is_used_once(tmp_path: Path) -> None:
    """By its path, within its folder, by a link, or as standard input: with one sentence."""
    _made(tmp_path, "a.png", "b.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    named = named_images([tmp_path / "b.png", tmp_path, tmp_path / ".." / tmp_path.name / "a.png"])
    assert _names(named.images, tmp_path)[:2] == ["b.png", "a.png"]
    assert len(named.images) == 2
    assert len(named.notes) == 1
    assert "named more than once; used once" in named.notes[0]
    assert len(named_images([STANDARD_INPUT, STANDARD_INPUT]).images) == 1


def test_a_folder_without_images_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    """One line that says what lies there instead."""
    _made(tmp_path, "texts/a.txt", "texts/b.doc", "good/a.png")
    (tmp_path / "empty").mkdir()
    named = named_images([tmp_path / "texts", tmp_path / "empty", tmp_path / "good"])
    assert _names(named.images, tmp_path) == ["good/a.png"]
    assert "expected a folder of radiographs" in named.refused[0]
    assert "found 2 files" in named.refused[0]
    assert "found nothing in it" in named.refused[1]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    """Named, with the reason."""
    (tmp_path / "closed").mkdir(mode=0)
    assert "permission denied" in named_images([tmp_path / "closed"]).refused[0]


def test_names_that_are_no_text_can_be_printed(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are replaced in the name, not in the path."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    path.write_bytes(b"x")
    (image,) = named_images([tmp_path]).images
    assert image.name == f"{tmp_path}/\N{REPLACEMENT CHARACTER}.png"
    assert image.read() == b"x"


def test_names_do_nothing_where_they_are_printed(tmp_path: Path) -> None:
    """Not to a terminal (escape sequences), nor to a spreadsheet (formulas)."""
    assert NamedImage(Path("a\x1b[31m\n.png")).name == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}.png"
    assert NamedImage(Path("=1+1.png")).name == "./=1+1.png"
    assert NamedImage(tmp_path / "=1.png").name == f"{tmp_path}/=1.png"


class _Terminal(io.BytesIO):
    """Standard input that nobody piped anything into, or something."""

    def __init__(self, data: bytes = b"", *, is_terminal: bool = False) -> None:
        super().__init__(data)
        self._is_terminal, self.buffer = is_terminal, self

    def isatty(self) -> bool:
        return self._is_terminal


def test_standard_input_is_read_unless_it_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would wait for somebody to type a radiograph; and not without end."""
    image = NamedImage(STANDARD_INPUT)
    assert image.name == "-"
    monkeypatch.setattr(sys, "stdin", _Terminal(b"bytes"))
    assert image.read() == b"bytes"
    monkeypatch.setattr(sys, "stdin", _Terminal(is_terminal=True))
    with pytest.raises(ImageError, match="got a terminal"):
        image.read()
    monkeypatch.setattr("tuning.models.named_images.MAX_ENCODED_BYTES", 4)
    monkeypatch.setattr(sys, "stdin", _Terminal(b"bytes"))
    with pytest.raises(ImageError, match="at most 4 bytes"):
        image.read()
