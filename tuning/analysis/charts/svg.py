"""A chart as a part of an HTML page: an inline SVG in the page's own colours, for light and dark."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import warnings
from html import escape

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from tuning.analysis.charts.style import CARD, INK, LINE, SOFT

_VARIABLES = {
    INK: "--ink",
    "#000000": "--ink",
    SOFT: "--soft",
    "#333333": "--soft",
    LINE: "--line",
    "#cccccc": "--line",
    CARD: "--card",
}
"""Variables of `tuning.document`'s pages for the colours of text, axes and ground, matplotlib's own among them."""

_PIXELS_PER_INCH = 130  # of what is drawn as pixels
_BIG = 60_000  # characters of a picture; surfaces are smaller, and their colours are to stay as they are
_SALT = "pneumo-tune"  # any text: matplotlib's names of clip paths follow from it and nothing else

_TAG = re.compile(r"<[^>]*>")
_COLOUR = re.compile("|".join(_VARIABLES))
_NAME = re.compile(r'\sid="([^"]*)"')
_REFERENCE = re.compile(r'(?:url\(#|href="#)([^")]+)')
_FONTS = re.compile(r"((?:\d+(?:\.\d+)?)px )'[^;\"]*")
_HEAD = re.compile(r'<svg[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>')
_PICTURE = re.compile(r"data:image/png;base64,\s*([^\"]+)")
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)


def themed_svg(figure: Figure, *, title: str = "") -> str:
    """Returns a figure as an SVG element to be put into a page.

    Text stays text; colours of text, axes and ground are the variables `--ink`, `--soft`, `--line` and `--card` of the
    page; the ground is transparent. All names within it begin with a digest of its content, so that several fit on
    one page. The same figure always gives the same text.

    Args:
        figure: is drawn as it stands.
        title: what it shows, for those who cannot see it.
    """
    drawn = _draw(figure)
    head = _HEAD.search(drawn)
    if head is None:  # pragma: no cover: matplotlib always writes one
        raise ValueError("matplotlib wrote an SVG without a view box.")
    body = _METADATA.sub("", drawn[head.end() : drawn.rindex("</svg>")])
    width, height = float(head[1]), float(head[2])
    prefix = "c" + hashlib.sha256((title + body).encode()).hexdigest()[:8] + "-"
    referred = set(_REFERENCE.findall(body))
    body = _TAG.sub(lambda tag: _rewritten(tag[0], prefix, referred), body)
    return f"{_opening(width, height, title)}{re.sub(chr(10) + ' *', chr(10), body).strip()}</svg>"


def _draw(figure: Figure) -> str:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": _SALT}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the page has its own fonts
        figure.savefig(buffer, format="svg", dpi=_PIXELS_PER_INCH, transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def _opening(width: float, height: float, title: str) -> str:
    """The element itself: as wide as there is room, within limits between which its text can be read (9.5 pt of it)."""
    narrowest = f"min-width:{1.15 * width:.0f}px;" if width > 420 else ""
    size = f"display:block;width:100%;{narrowest}max-width:{1.5 * width:.0f}px;height:auto;fill:var(--ink,{INK})"
    named = f' aria-label="{escape(title)}"><title>{escape(title)}</title>' if title else ">"
    box = f'viewBox="0 0 {width:g} {height:g}"'
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {namespaces} class="chart" role="img" {box} style="{size}"{named}'


def _rewritten(tag: str, prefix: str, referred: set[str]) -> str:
    """A tag with its colours as variables, its names made unique, and without names that nothing refers to."""
    if tag.startswith("<image"):
        return _PICTURE.sub(lambda picture: _smaller(picture[1]), _NAME.sub("", tag))
    tag = _NAME.sub(lambda name: f' id="{prefix}{name[1]}"' if name[1] in referred else "", tag)
    tag = _REFERENCE.sub(lambda found: found[0].removesuffix(found[1]) + prefix + found[1], tag)
    tag = _COLOUR.sub(lambda colour: f"var({_VARIABLES[colour[0]]},{colour[0]})", tag)
    return _FONTS.sub(r"\1system-ui, sans-serif", tag)


def _smaller(picture: str) -> str:
    """A picture as a data address; a big one in 256 colours: half-transparent lines make more, and hardly shrink."""
    if len(picture) < _BIG:
        return f"data:image/png;base64,{picture}"
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        few = image.convert("RGBA").quantize(256, method=Image.Quantize.FASTOCTREE)
    buffer = io.BytesIO()
    few.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
