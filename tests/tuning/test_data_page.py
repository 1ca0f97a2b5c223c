"""The page of `tune data check`: complete in itself, safe from file names, and never large."""

from __future__ import annotations

import dataclasses
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pneumo_core.audit import Audit
from pneumo_core.errors import DatasetError
from pneumo_core.findings import Case, Finding
from tuning.data_check import check_data
from tuning.data_page import check_target, data_page, write_page


@pytest.fixture(scope="module")
def audit(phantoms: Path) -> Audit:
    """The audit of about forty synthetic radiographs."""
    return check_data(phantoms)


def _with(audit: Audit, *findings: Finding) -> Audit:
    return dataclasses.replace(audit, findings=findings)


class _Tags(HTMLParser):
    """Counts what is open, and what was opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(audit: Audit) -> None:
    """No address outside of it, no script; pictures are inside; every element is closed."""
    path = audit.dataset.manifest["path"][0]
    page = data_page(_with(audit, Finding("warning", "small", "1 image.", (Case((path,)),))))
    tags = _Tags(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert "img" in tags.seen
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "://" not in page
    assert "prefers-color-scheme: dark" in page


def test_counts_shortcut_and_findings_stand_in_it(audit: Audit) -> None:
    """All that the table says, the page says."""
    page = data_page(audit)
    assert audit.dataset.digest[:12] in page
    assert all(finding.text.split("<")[0][:30] in page for finding in audit.findings)
    assert "No leak between test/" in page


def test_names_cannot_break_the_page(phantoms: Path, tmp_path: Path) -> None:
    """A file called like an element is shown by name."""
    folder = Path(shutil.copytree(phantoms, tmp_path / "<b>x"))
    shutil.copy(sorted((folder / "test/NORMAL").iterdir())[0], folder / "train/NORMAL/<i>&.jpeg")
    (folder / "train/NORMAL/<u>.jpeg").touch()
    page = data_page(check_data(folder))
    assert "&lt;i&gt;&amp;.jpeg" in page
    assert not [raw for raw in ("<i>&", "<u>", "<b>x") if raw in page]
    assert _Tags(page).open == []


def test_the_page_stays_small_whatever_was_found(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit names take the place of pictures, and long lists end with a number."""
    monkeypatch.setattr("tuning.data_page.MAX_THUMBNAIL_BYTES", 30_000)
    paths = tuple(audit.dataset.manifest["path"])
    pictured = [Finding("leak", f"kind-{number}", "x", (Case(paths, "y" * 5000),) * 500) for number in range(20)]
    named = [Finding("problem", f"kind-{number}", "x", (Case((), "z" * 5000),) * 5000) for number in range(20)]
    page = data_page(_with(audit, *pictured, *named))
    inside = sum(map(len, re.findall(r"base64,([^\"]*)", page)))
    assert 20_000 < inside <= 30_000
    assert len(page) - inside < 1_500_000
    assert "and 4,960 more" in page
    assert f"and {len(paths) - 6} more files" in page


def test_an_image_that_is_gone_leaves_its_name(audit: Audit, phantoms: Path, tmp_path: Path) -> None:
    """A page is made even if files vanish meanwhile."""
    path = audit.dataset.manifest["path"][0]
    moved = dataclasses.replace(audit, dataset=dataclasses.replace(audit.dataset, root=tmp_path))
    page = data_page(_with(moved, Finding("leak", "kind", "x", (Case((path,)),))))
    assert path in page
    assert "<img" not in page


def test_a_page_that_cannot_be_written_is_an_error_of_one_line(audit: Audit, tmp_path: Path) -> None:
    """Folders that are missing are named before the work, full disks and the like after it."""
    with pytest.raises(DatasetError, match=r"expected a file in a folder that exists, got a folder"):
        check_target(tmp_path)
    with pytest.raises(DatasetError, match=r"expected a file that can be written, got: is a directory"):
        write_page(audit, tmp_path)
    check_target(None)
    check_target(tmp_path / "page.html")
