"""Sections of text, tables, lists, drawings and pictures, as Markdown and as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: plain, without any markup.
        tone: `warning`, `bad` or `good` where it shall be seen; empty for ordinary text.
    """

    text: str
    tone: str = ""


@dataclasses.dataclass(frozen=True)
class Items:
    """A list of sentences, plain text."""

    items: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of plain text below a header.

    Attributes:
        header: of as many columns as there are; all empty for a table of names and values.
        rows: of as many cells.
        tones: as of `Text`, of each row; empty for none.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    tones: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file next to the document, and what it shows."""

    file: Path
    caption: str


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A chart as SVG, drawn in the colours of the page, and what it shows.

    Attributes:
        svg: one `<svg>` element, put into the page as it is; it says itself how wide it shall be. Its colours may be
            the page's variables `--ink`, `--soft`, `--line` and `--card`.
        caption: plain text.
        file: the same as a picture, by its path from the document; Markdown shows that. Empty for none.
    """

    svg: str
    caption: str
    file: str = ""


@dataclasses.dataclass(frozen=True)
class KeyFigures:
    """The few numbers that a reader looks for first.

    Attributes:
        figures: of each its name, its value and a remark, all plain text; the remark may be empty.
    """

    figures: Sequence[tuple[str, str, str]]


@dataclasses.dataclass(frozen=True)
class Columns:
    """Blocks that stand side by side where there is room."""

    blocks: Sequence[Text | Items | Table | Picture | Drawing]


Block = Text | Items | Table | Picture | Drawing | KeyFigures | Columns


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LEADING = re.compile(r"^(\d+)(?=[.)]\s)|^(?=[#+=-])")
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Kinds of characters that cannot be seen, or turn the direction of writing."""

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f8; --card: #fff; --ink: #1a2026; --soft: #5b6670; --line: #dde1e5;
  --bad: #a4123a; --warning: #7a5b00; --good: #1d6b43; --link: #0b5a94; }
@media (prefers-color-scheme: dark) { :root { --page: #14181c; --card: #1c2228; --ink: #e6eaee; --soft: #9aa6b1;
  --line: #323a42; --bad: #ff7d9c; --warning: #e5bd4f; --good: #6fcf9b;
  --link: #7cbcf0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .4rem; } h2 { font-size: 1.1rem; margin: 0 0 .5rem; } p { margin: .5rem 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem;
  margin-top: 1rem; }
p.tone { border-left: 4px solid currentColor; padding: .1rem 0 .1rem .7rem; font-weight: 600; }
.warning { color: var(--warning); } .bad { color: var(--bad); } .good { color: var(--good); }
ul { margin: .5rem 0; padding-left: 1.2rem; } li { margin: .25rem 0; }
.wide { overflow-x: auto; margin: .6rem 0; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
th { font-weight: 600; } table.pairs td:first-child { color: var(--soft); width: 15rem; }
table.pairs td + td { overflow-wrap: anywhere; }
figure { margin: .6rem 0; overflow-x: auto; } figcaption { color: var(--soft); font-size: .875rem; }
img { display: block; width: 100%; max-width: none; height: auto; background: #fff; border-radius: 4px; }
nav { display: flex; flex-wrap: wrap; gap: .2rem .9rem; margin: .6rem 0; font-size: .875rem; }
a { color: var(--link); } a:not(:hover) { text-decoration: none; } section { scroll-margin-top: .5rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0 1.2rem; }
.columns > * { min-width: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: .8rem 0; }
.figures div { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .7rem; }
.figures b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.figures small { display: block; color: var(--soft); font-size: .8rem; line-height: 1.35; }
@media (max-width: 32rem) { section { padding: .8rem; } table { font-size: .75rem; } th, td { padding-right: .4rem; }
  table.pairs td:first-child { width: 34%; } img { width: 48rem; }
  nav::after { content: "Charts are wider than a phone: swipe them sideways."; width: 100%; color: var(--soft); }
  .figures { grid-template-columns: 1fr 1fr; } }
@media print { :root { color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #ccc;
  --bad: #a4123a; --warning: #7a5b00; --good: #1d6b43; --link: #000; }
  body { font-size: 11pt; } main { max-width: none; padding: 0; } nav { display: none; }
  section { border: 0; padding: 0; } h2 { break-after: avoid; } figure, tr, .figures { break-inside: avoid; }
  figure, .wide { overflow: visible; } .drawing svg { min-width: 0 !important; max-height: 20cm; }
  .columns { grid-template-columns: 1fr 1fr; } }
"""


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """Returns a document as Markdown (GitHub's, for its tables); without a heading if the title is empty."""
    parts = [f"# {_plain(title)}"] if title else []
    for section in sections:
        parts += [f"## {_plain(section.title)}", *(_markdown(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def as_page(title: str, sections: Sequence[Section], *, contents: bool = False) -> str:
    """Returns a document as an HTML page with its pictures inside; it asks for no other file.

    Args:
        title: plain text.
        sections: in their order.
        contents: begin with a line of links to the sections.
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_safe(title)}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>{_safe(title)}</h1>",
            *(_contents(sections) if contents else ()),
            *(line for section in sections for line in _section(section)),
            "</main></body></html>\n",
        ]
    )


def markdown_text(text: str) -> str:
    """Returns plain text so that Markdown, and HTML within it, shows it as it is."""
    plain = escape(_visible(text), quote=False)
    return _LEADING.sub(r"\1\\", _SPECIAL.sub(lambda found: f"\\{found[0]}", plain))


_plain = markdown_text


def _visible(text: str) -> str:
    """Text on one line, without characters that hide or turn what stands beside them."""
    seen = (" " if unicodedata.category(sign) in _UNSEEN else sign for sign in text)
    return " ".join("".join(seen).split())


def _safe(text: str) -> str:
    return escape(_visible(text))


def _markdown(block: Block) -> str:
    match block:
        case Text():
            return f"**{_plain(block.text)}**" if block.tone else _plain(block.text)
        case Items():
            return "\n".join(f"- {_plain(item)}" for item in block.items)
        case Picture():
            return f"![{_plain(block.caption)}]({block.file.name})"
        case Drawing():
            return f"![{_plain(block.caption)}]({block.file})" if block.file else _plain(block.caption)
        case KeyFigures():
            return _markdown(Table(("", "", ""), block.figures))
        case Columns():
            return "\n\n".join(_markdown(one) for one in block.blocks)
        case Table():
            header, *rows = (f"| {' | '.join(map(_plain, cells))} |" for cells in (block.header, *block.rows))
            return "\n".join([header, "|" + " --- |" * len(block.header), *rows])


def _contents(sections: Sequence[Section]) -> Iterator[str]:
    yield "<nav>"
    for section in sections:
        yield f'<a href="#{_anchor(section)}">{_safe(section.title)}</a>'
    yield "</nav>"


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{_anchor(section)}"><h2>{_safe(section.title)}</h2>'
    for block in section.blocks:
        yield from _html(block)
    yield "</section>"


def _html(block: Block) -> Iterator[str]:
    match block:
        case Text():
            opening = f'<p class="tone {block.tone}">' if block.tone else "<p>"
            yield f"{opening}{_safe(block.text)}</p>"
        case Items():
            yield "<ul>" + "".join(f"<li>{_safe(item)}</li>" for item in block.items) + "</ul>"
        case Picture():
            source = base64.b64encode(block.file.read_bytes()).decode("ascii")
            yield f'<figure><img alt="" src="data:image/png;base64,{source}">'
            yield f"<figcaption>{_safe(block.caption)}</figcaption></figure>"
        case Drawing():
            yield f'<figure class="drawing">{block.svg}<figcaption>{_safe(block.caption)}</figcaption></figure>'
        case KeyFigures():
            yield '<div class="figures">'
            for name, value, remark in block.figures:
                yield f"<div>{_safe(name)}<b>{_safe(value)}</b><small>{_safe(remark)}</small></div>"
            yield "</div>"
        case Columns():
            yield '<div class="columns">'
            for one in block.blocks:
                yield from ("<div>", *_html(one), "</div>")
            yield "</div>"
        case Table():
            yield from _html_table(block)


def _html_table(table: Table) -> Iterator[str]:
    headed = any(table.header)
    yield '<div class="wide"><table>' if headed else '<div class="wide"><table class="pairs">'
    if headed:
        yield "<tr>" + "".join(f"<th>{_safe(cell)}</th>" for cell in table.header) + "</tr>"
    for number, row in enumerate(table.rows):
        tone = table.tones[number] if table.tones else ""
        opening = f'<tr class="{tone}">' if tone else "<tr>"
        yield opening + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>"
    yield "</table></div>"
