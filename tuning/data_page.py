"""The audit of a data folder as one HTML page that needs nothing else: styles and thumbnails are inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

from PIL import Image

from pneumo_core.audit import Audit
from pneumo_core.errors import DatasetError, ImageError
from pneumo_core.findings import SEVERITIES, Case, Finding, counted
from pneumo_core.images import read_gray
from pneumo_core.shortcuts import TELLING_AUC

THUMBNAIL_PX = 128
JPEG_QUALITY = 75

MAX_THUMBNAIL_BYTES = 3_000_000
"""Of base64 text in a page; what comes after is listed by name."""

_CASES = {"leak": 12, "problem": 12, "warning": 12, "note": 4}
_FILES = 6
_LINES = 40
_LONGEST_LINE = 400
_MEANING = {
    "leak": "test images or their patients are also outside of test",
    "problem": "a file or a label is wrong",
    "warning": "worth a look",
    "note": "information",
}

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f8; --card: #fff; --ink: #1a2026; --soft: #5b6670; --line: #dde1e5;
  --leak: #a4123a; --problem: #a63a00; --warning: #7a5b00; --note: #44525f; --bar: #2f6f9f; --fine: #1d6b43; }
@media (prefers-color-scheme: dark) { :root { --page: #14181c; --card: #1c2228; --ink: #e6eaee; --soft: #9aa6b1;
  --line: #323a42; --leak: #ff7d9c; --problem: #ff9d66; --warning: #e5bd4f; --note: #a9b6c2; --bar: #6fb1e0;
  --fine: #6fcf9b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0 0 .6rem; } p { margin: .3rem 0; }
.soft, figcaption, .lines { color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin-top: 1rem; }
.card.leak { border-left: 4px solid var(--leak); } .card.problem { border-left: 4px solid var(--problem); }
.card.warning { border-left: 4px solid var(--warning); } .card.note { border-left: 4px solid var(--line); }
.verdict { font-weight: 600; margin-top: .8rem; }
.verdict.bad { color: var(--leak); } .verdict.fine { color: var(--fine); }
.word { font-weight: 600; margin-right: .4rem; }
.word.leak { color: var(--leak); } .word.problem { color: var(--problem); }
.word.warning { color: var(--warning); } .word.note { color: var(--note); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums; } tr.part td { color: var(--soft); }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .35rem .7rem; align-items: center;
  font-size: .9rem; }
.track { position: relative; height: .8rem; background: var(--line); border-radius: 2px; }
.track i { display: block; height: 100%; background: var(--bar); border-radius: 2px; }
.track b { position: absolute; top: -.2rem; bottom: -.2rem; width: 2px; background: var(--leak); }
.cases { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: .7rem; }
.case { border: 1px solid var(--line); border-radius: 6px; padding: .5rem; max-width: 100%; }
.pictures { display: flex; flex-wrap: wrap; gap: .5rem; }
figure { margin: 0; width: 8rem; } figcaption { font-size: .75rem; line-height: 1.3; margin-top: .2rem; }
img { display: block; width: 8rem; height: 8rem; object-fit: fill; background: #000; border-radius: 3px; }
.lines { margin: .6rem 0 0; padding-left: 1.1rem; }
@media (max-width: 30rem) { table { font-size: .8rem; } th, td { padding-right: .35rem; } .card { padding: .8rem; } }
"""


def check_target(file: Path | None) -> None:
    """Refuses a page that could not be written, before any work is done for it.

    Raises:
        DatasetError: if the file is a folder, or lies in a folder that does not exist.
    """
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        got = "a folder" if file.is_dir() else f"no folder {file.parent}"
        raise DatasetError(f"--html {file}: expected a file in a folder that exists, got {got}. Name another file.")


def write_page(audit: Audit, file: Path) -> None:
    """Writes the page.

    Args:
        audit: what it shows.
        file: where it shall lie.

    Raises:
        DatasetError: if the file cannot be written.

    Side effects:
        Replaces the file.
    """
    try:
        file.write_text(data_page(audit), encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DatasetError(f"--html {file}: expected a file that can be written, got: {reason}.") from error


def data_page(audit: Audit) -> str:
    """Returns the page, under 5 MB whatever was found."""
    pictures = _Pictures(audit)
    title = f"Data check of {escape(audit.dataset.root.name)}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>{title}</h1>",
            *_head(audit),
            '<div class="two">',
            *_counts_card(audit),
            *_shortcut_card(audit),
            "</div>",
            *(line for finding in audit.findings for line in _finding_card(finding, pictures)),
            "</main></body></html>\n",
        ]
    )


class _Pictures:
    """Thumbnails of a data set as JPEG in base64, until the page holds as many as it may."""

    def __init__(self, audit: Audit) -> None:
        self._root = audit.dataset.root
        manifest = audit.dataset.manifest
        self._sizes = dict(
            zip(manifest["path"], zip(manifest["width_px"], manifest["height_px"], strict=True), strict=True)
        )
        self._made: dict[str, str] = {}
        self._left = MAX_THUMBNAIL_BYTES

    def figure(self, path: str) -> str:
        """Returns the thumbnail with its name below; the name alone where there can be none."""
        width, height = self._sizes[path]
        source = self._source(path)
        picture = f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{source}">' if source else ""
        return f"<figure>{picture}<figcaption>{_short(path)}<br>{width} × {height} px</figcaption></figure>"

    def _source(self, path: str) -> str:
        if path not in self._made:
            self._made[path] = self._encoded(path)
        source = self._made[path]
        if len(source) > self._left:
            return ""
        self._left -= len(source)
        return source

    def _encoded(self, path: str) -> str:
        try:
            gray = read_gray(self._root / path, THUMBNAIL_PX)
        except ImageError:
            return ""
        buffer = io.BytesIO()
        Image.fromarray(gray).save(buffer, "JPEG", quality=JPEG_QUALITY)
        return base64.b64encode(buffer.getvalue()).decode("ascii")


def _head(audit: Audit) -> Iterator[str]:
    manifest = audit.dataset.manifest
    of = f"{counted(len(manifest), 'image')} of {counted(manifest['group'].nunique(), 'patient')}"
    yield f'<p class="soft">{escape(str(audit.dataset.root))}<br>{of}, digest {audit.dataset.digest[:12]}</p>'
    if audit.leaks:
        yield '<p class="verdict bad">Leak: test images or their patients are also outside of test/.</p>'
    elif (manifest["split"] == "test").any():
        nameless = sum(finding.count for finding in audit.findings if finding.kind == "patients-unknown")
        but = f", but the patients of {counted(nameless, 'image')} are not known" if nameless else ""
        yield f'<p class="verdict fine">No leak between test/ and the other folders was found{but}.</p>'
    counts = {severity: sum(finding.severity == severity for finding in audit.findings) for severity in SEVERITIES}
    words = (
        f'<span class="word {severity}">{counted(number, severity)}</span>({_MEANING[severity]})'
        for severity, number in counts.items()
        if number
    )
    yield f'<p class="soft">{"; ".join(words)}. Pictures are squashed to squares, as models see them.</p>'


def _counts_card(audit: Audit) -> Iterator[str]:
    yield '<section class="card"><h2>Images and patients</h2><div class="wide"><table>'
    yield '<tr><th>split</th><th>class</th><th class="number">images</th><th class="number">patients</th>'
    yield '<th class="number">published</th></tr>'
    for count in audit.counts:
        numbers = (f"{count.images:,}", f"{count.patients:,}", "" if count.official is None else f"{count.official:,}")
        cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
        name = escape(count.subtype or count.class_name)
        row = ' class="part"' if count.subtype else ""
        yield f"<tr{row}><td>{'' if count.subtype else count.split}</td><td>{name}</td>{cells}</tr>"
    yield "</table></div></section>"


def _shortcut_card(audit: Audit) -> Iterator[str]:
    yield '<section class="card"><h2>What files alone tell about the label</h2>'
    shortcut = audit.shortcut
    if shortcut.auc is None:
        yield f"<p>{escape(shortcut.reason)}</p></section>"
        return
    yield '<div class="bars">'
    yield from _bars({"all of these": shortcut.auc, **shortcut.alone})
    yield "</div>"
    yield (
        f'<p class="soft">Cross-validated AUC on {counted(shortcut.images, "image")} of train/ and val/, patients '
        f"apart. A bar begins at 0.5, which is chance; from the mark at {TELLING_AUC} on the files give the label away."
        "</p></section>"
    )


def _bars(areas: Mapping[str, float]) -> Iterator[str]:
    for name, auc in areas.items():
        filled = 200 * max(0.0, auc - 0.5)
        mark = 200 * (TELLING_AUC - 0.5)
        yield f"<span>{escape(name)}</span>"
        yield f'<span class="track"><i style="width:{filled:.0f}%"></i><b style="left:{mark:.0f}%"></b></span>'
        yield f'<span class="number">{auc:.3f}</span>'


def _finding_card(finding: Finding, pictures: _Pictures) -> Iterator[str]:
    word = f'<span class="word {finding.severity}">{finding.severity}</span>'
    yield f'<section class="card {finding.severity}"><p>{word}{escape(finding.text)}</p>'
    pictured = [case for case in finding.cases[: _CASES[finding.severity]] if case.paths]
    if pictured:
        yield '<div class="cases">'
        yield from (_case(case, pictures) for case in pictured)
        yield "</div>"
    yield from _list(finding.cases[len(pictured) :])
    yield "</section>"


def _case(case: Case, pictures: _Pictures) -> str:
    figures = "".join(pictures.figure(path) for path in case.paths[:_FILES])
    more = f"and {len(case.paths) - _FILES} more files" if len(case.paths) > _FILES else ""
    words = " ".join(filter(None, (_short(case.remark), more)))
    below = f'<p class="soft">{words}</p>' if words else ""
    return f'<div class="case"><div class="pictures">{figures}</div>{below}</div>'


def _list(cases: tuple[Case, ...]) -> Iterator[str]:
    """What has no picture, as lines."""
    if cases:
        yield '<ul class="lines">'
        yield from _items(case for case in cases[:_LINES])
        if len(cases) > _LINES:
            yield f"<li>and {len(cases) - _LINES:,} more; --json lists all</li>"
        yield "</ul>"


def _items(cases: Iterable[Case]) -> Iterator[str]:
    for case in cases:
        files = ", ".join(case.paths[:_FILES])
        yield f"<li>{_short(': '.join(filter(None, (files, case.remark))))}</li>"


def _short(text: str) -> str:
    """Returns text safe inside HTML, its end cut off where it is very long."""
    return escape(text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…")
