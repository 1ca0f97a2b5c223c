"""Charts within pages: colours of the page, names that do not clash, the same text every time."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure

from tuning.analysis.charts.style import INK, new_figure
from tuning.analysis.charts.svg import themed_svg


def figure(slope: float = 1.0, *, dense: bool = False) -> Figure:
    """Returns a figure with text, clipped lines, and pixels if it is dense."""
    made = new_figure(2.0)
    axis = made.subplots()
    axis.plot([0, 1], [0, slope], color=INK, marker="o")
    axis.scatter(np.linspace(0, 1, 50), np.linspace(0, 1, 50) ** 2, rasterized=dense)
    axis.set_xlabel("epochs & <trials>")
    return made


def test_text_and_lines_take_the_colours_of_the_page() -> None:
    """With the light ones where a page has none; nothing black or white is left, which one ground would swallow."""
    text = themed_svg(figure())
    assert f"var(--ink,{INK})" in text
    assert not re.search(r"(?:fill|stroke): #(?:000000|ffffff|1a2026)", text)


def test_text_stays_text() -> None:
    """It can be searched for, read aloud and copied, and is well-formed whatever it says."""
    root = ElementTree.fromstring(themed_svg(figure(), title='a "title" & more'))  # noqa: S314
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "epochs & <trials>" in texts
    assert root.get("role") == "img"
    assert root.get("aria-label") == root[0].text == 'a "title" & more'


def test_the_same_figure_gives_the_same_text() -> None:
    """No dates, no random names."""
    assert themed_svg(figure()) == themed_svg(figure())


def test_charts_of_one_page_share_no_names() -> None:
    """A clip path of one would cut the other. Every name that is referred to is there."""
    one, other = themed_svg(figure(1.0)), themed_svg(figure(2.0))
    names = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert names[0]
    assert not names[0] & names[1]
    for text, known in zip((one, other), names, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) == known


def test_dense_layers_are_pictures_within() -> None:
    """And decode, with the text around them still text."""
    text = themed_svg(figure(dense=True))
    assert text.count("data:image/png;base64,") == 1
    assert "epochs &amp; &lt;trials&gt;" in text
