"""Documents as pages and as Markdown: everything inside, nothing taken for markup."""

from __future__ import annotations

from tuning.document import Columns, Drawing, Items, KeyFigures, Section, Table, Text, as_markdown, as_page

SVG = '<svg viewBox="0 0 10 10"><path d="M0 0"/></svg>'
PARTS = [
    Section("Key figures", [KeyFigures([("ROC AUC", "0.99", "<b>t0001</b>")])]),
    Section("Charts", [Columns([Drawing(SVG, "A & B", "plots/a.png"), Text("beside")])]),
    Section("Tables", [Table(("a", "b"), [("1", "2")]), Items(["<script>"])]),
]


def test_a_drawing_stands_in_the_page_as_it_is_and_in_markdown_as_its_file() -> None:
    """Its SVG takes the colours of the page; Markdown has no place for it."""
    page, text = as_page("T", PARTS), as_markdown("T", PARTS)
    assert f'<figure class="drawing">{SVG}<figcaption>A &amp; B</figcaption>' in page
    assert "![A &amp; B](plots/a.png)" in text
    assert "<svg" not in text


def test_a_page_with_contents_links_to_each_section() -> None:
    """Thirteen sections are more than one screen."""
    page = as_page("T", PARTS, contents=True)
    assert '<a href="#key-figures">Key figures</a>' in page
    assert '<section id="key-figures">' in page
    assert "<nav>" not in as_page("T", PARTS)


def test_texts_are_never_taken_for_markup() -> None:
    """Reasons of failures and names of files come from outside."""
    page = as_page("T", PARTS)
    assert "<script>" not in page
    assert "&lt;b&gt;t0001&lt;/b&gt;" in page
