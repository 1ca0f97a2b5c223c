"""Paths that lead nowhere are told of by whoever opens them, not by a traceback."""

from __future__ import annotations

from pathlib import Path

from pneumo_core.places import absolute, resolved


def test_a_circle_of_links_and_an_unknown_user_stay_paths(tmp_path: Path) -> None:
    """Of both pathlib makes a RuntimeError, which no command expects."""
    (tmp_path / "loop").symlink_to("loop")
    assert resolved(tmp_path / "loop" / "store").name == "store"
    assert absolute("~nobody-of-that-name/images").parts[-2:] == ("~nobody-of-that-name", "images")
    assert resolved("~nobody-of-that-name/images").parts[-2:] == ("~nobody-of-that-name", "images")


def test_home_and_links_are_followed(tmp_path: Path) -> None:
    """`--store=~/x` reaches the program unexpanded."""
    (tmp_path / "link").symlink_to(tmp_path)
    assert absolute("~/x") == Path.home() / "x"
    assert absolute(tmp_path / "link" / "x") == tmp_path / "link" / "x"
    assert resolved(tmp_path / "link" / "x") == tmp_path.resolve() / "x"
