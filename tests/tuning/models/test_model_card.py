"""A model card says what is known, in any browser and in any viewer of Markdown, and nothing else."""

from __future__ import annotations

import dataclasses
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from pneumo_core.classifier import ClassifierSettings
from pneumo_core.comparison import Comparison
from pneumo_core.composition import OFFICIAL, Count
from pneumo_core.evaluation_report import EvaluationReport
from pneumo_core.intervals import Interval
from pneumo_core.metric_names import METRIC_NAMES
from pneumo_core.operating_point import OperatingPoint
from tuning.document import Items, Section, Table, Text, as_markdown, as_page
from tuning.models.card_facts import Approval, CardFacts, DataFacts, ScoreFacts, SearchFacts, Source
from tuning.models.card_gathering import source_of
from tuning.models.gate import Check, Rivalry
from tuning.models.model_card import MAX_DESCRIPTION, summary, write_model_card

HOSTILE = '<script>alert("1")</script>|`*x*`[y](javascript:z)\n# H \u202eevil'


def _least(**more: object) -> CardFacts:
    settings = ClassifierSettings(64, ("NORMAL", "PNEUMONIA"), 0.4)
    return dataclasses.replace(CardFacts("m", "0.1.0", "2026-01-02", settings), **more)  # type: ignore[arg-type]


def _report(patients: int = 50, folds: int = 1) -> EvaluationReport:
    size = {"images": 70, "patients": patients}
    return EvaluationReport(
        operating_point=OperatingPoint(0.4),
        fitted_here=False,
        metrics={name: Interval(0.5 + i / 100, 0.4 + i / 100, 0.6 + i / 100) for i, name in enumerate(METRIC_NAMES)},
        uncalibrated={},
        subtype_sensitivity={"virus": Interval(0.777, 0.666, 0.888)},
        confusion=((61, 9), (8, 62)),
        sizes={"images": 140, "patients": 100, "negative": size, "positive": size, "subtypes": {"virus": size}},
        folds=folds,
        seeds=1,
        seed_deviation={},
        draws=2000,
        seed=0,
    )


def _full(
    folder: Path, class_names: tuple[str, str] = ("NORMAL", "PNEUMONIA"), source: Source = "unknown"
) -> CardFacts:
    Image.new("RGB", (30, 20), "white").save(folder / "grad_cam.png")
    name = class_names[1]
    return CardFacts(
        name="m",
        program="0.1.0",
        written_at="2026-01-02",
        settings=ClassifierSettings(64, class_names, 0.4, temperature=1.25),
        origin=f"refit of {name}",
        is_refit=True,
        configs={"t0007": {"weights": "random", "head_units": 16}},
        trained_values=1234567,
        operating_point=OperatingPoint(0.4, 1.25, "sensitivity", 0.9),
        validation=_report(folds=5),
        data=DataFacts(name, source, "d" * 64, "s" * 64, [Count("test", name, "virus", 1200, 7, None)], 3, "hold-out"),
        search=SearchFacts("st", "t0007", "sp", "tpe", "val_roc_auc, max", {"completed": 12}, {"dropout": "0 to 1"},
                           [f"confirmed: {name}"], {"roc_auc": Interval(0.911, 0.9, 0.92)}),
        test=ScoreFacts(_report(), 6, 5, False, {"high": (3, 40), "moderate": (10, 20), "low": (57, 10)}),
        rivalry=Rivalry(
            "m/3",
            Comparison(
                {"roc_auc": Interval(0.05, -0.01, 0.11), "sensitivity_virus": Interval(0.25, 0.2, 0.3)}, {}, 9, 9
            ),
        ),
        approval=Approval("strict", [Check("sensitivity", "0.6", "at least 0.9", False), Check("auc", "1", "0", True)],
                          f"because {name}"),
        warnings=(f"beware of {name}",),
        lineage={"pneumo.study": "st", "pneumo.weights_digest": "w" * 64},
        versions={"keras": "3.1"},
        panel=folder / "grad_cam.png",
    )  # fmt: skip


def _written(folder: Path, facts: CardFacts) -> tuple[str, str]:
    write_model_card(folder, facts)
    return (folder / "model_card.md").read_text(), (folder / "model_card.html").read_text()


class _Page(HTMLParser):
    """What a browser would make of a page: its elements, the files it asks for, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.asked: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_everything_that_is_known_is_on_both_cards(tmp_path: Path) -> None:
    """Metrics of all sets, kinds, counts, bands, requirements, warnings, data, search, lineage."""
    markdown, page = _written(tmp_path, _full(tmp_path))
    shown = [
        "0.500 (0.400 to 0.600)", "0.777 (0.666 to 0.888)", "0.911 (0.900 to 0.920)", "0.250 (0.200 to 0.300)",
        "0.050 (-0.010 to 0.110)", "opened 6 times and are spent", "0.4, the highest with a sensitivity of 0.9",
        "1.25, applied inside the model", "0.24 to 0.64", "LOW CONFIDENCE - Likely normal", "1,234,567", "1,200",
        "1 of 2 requirements fulfilled; not: sensitivity", "because PNEUMONIA", "beware of PNEUMONIA", "64,000,000 px",
        "d" * 64, "s" * 64, "w" * 64, "12 completed; by tpe", "confirmed: PNEUMONIA", "keras 3.1", "2026-01-02",
        "Not a medical device", "0.54 on 383 NIH radiographs", "weights are drawn at random", "of other trainings",
    ]  # fmt: skip
    text = _Page(page).text
    assert [words for words in shown if words not in markdown] == []
    assert [words for words in shown if words not in text] == []
    assert "| true NORMAL | 70 | 50 | 61 | 9 |" in markdown
    assert "| sensitivity, virus | 0.777 (0.666 to 0.888) | 0.250 (0.200 to 0.300) |" in markdown
    assert "| high | from 0.64 | HIGH CONFIDENCE - Pneumonia likely | 3 | 40 |" in markdown


def test_nothing_is_invented_where_nothing_is_known(tmp_path: Path) -> None:
    """No numbers of scores, no data set, no approval; the least facts make a card all the same."""
    for text in _written(tmp_path, _least()):
        assert "No result is known" in text
        assert "of unknown origin" in text
        assert not re.search(r"ROC AUC|Kermany et al. 2018|CC BY|requirements|digest|random", text)
        assert "nan" not in text.lower().replace("guangzhou", "")
        assert not re.search(r"\bNone\b", text)
    assert "Not scored on a test folder" in summary(_least())


def test_what_is_undefined_is_called_so(tmp_path: Path) -> None:
    """NaN of a metric, or of its interval, never looks like a number."""
    report = dataclasses.replace(_report(), metrics={"roc_auc": Interval(math.nan, math.nan, math.nan),
                                                     "ppv": Interval(0.5, math.nan, math.nan)})  # fmt: skip
    markdown, _ = _written(tmp_path, _least(validation=report))
    assert "| ROC AUC | undefined |" in markdown
    assert "| PPV | 0.500 |" in markdown
    assert "how it does on new patients is not known" in markdown


@pytest.mark.parametrize(
    ("given", "changed", "source"),
    [("kaggle", 1, "published"), ("folder", 0, "published"), ("folder", 1, "unknown"), ("demo", 1, "synthetic")],
)
def test_only_the_published_set_is_called_so(tmp_path: Path, given: str, changed: int, source: str) -> None:
    """Fetched as such, or with all of its counts; another folder has no licence, no citation and no children."""
    counts = [Count(*key, number - changed, 1, number) for key, number in OFFICIAL.items()]
    assert source_of(given, counts) == source
    assert source_of(given, counts[:-1]) == (
        "published" if given == "kaggle" else "synthetic" if given == "demo" else "unknown"
    )
    markdown, _ = _written(tmp_path, _full(tmp_path, source=source_of(given, counts)))
    assert ("CC BY 4.0" in markdown) == (source == "published")
    assert ("not radiographs" in markdown) == (source == "synthetic")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """In the page no element and no attribute comes of them; in Markdown neither markup, nor columns, nor headings."""
    facts = _full(tmp_path, (HOSTILE, HOSTILE))
    markdown, html = _written(tmp_path, facts)
    page, plain = _Page(html), _Page(_written(tmp_path, _full(tmp_path))[1])
    assert sorted(set(page.elements)) == sorted(set(plain.elements))
    assert len(page.elements) == len(plain.elements)
    assert '<script>alert("1")</script>|`*x*`[y](javascript:z) # H evil' in page.text
    for text in (markdown, summary(facts)):
        assert "<script" not in text
        assert not re.search(r"(?<!\\)[`|*\[]x?\*?y?\]?\(javascript", text)
        assert "\u202e" not in text
    headings = [line for line in markdown.splitlines() if line.startswith("#")]
    assert all("H evil" not in line for line in headings)
    rows = [line for line in markdown.splitlines() if line.startswith("| true")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_the_page_asks_for_nothing_else(tmp_path: Path) -> None:
    """Styles and the panel are inside; it follows the reader's light or dark, and a phone's width."""
    _, html = _written(tmp_path, _full(tmp_path))
    assert len(_Page(html).asked) == 1
    assert _Page(html).asked[0].startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import|https?://", html)
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html


def test_a_champion_that_was_not_compared_is_said_to_be_so(tmp_path: Path) -> None:
    """With the reason, and without a table of differences."""
    markdown, _ = _written(
        tmp_path, _least(validation=_report(), rivalry=Rivalry("m/3", obstacle="its files are gone"))
    )
    assert "Not compared with m/3, which it replaces: its files are gone." in markdown
    assert "difference to" not in markdown


def test_a_model_that_fulfils_its_policy_is_said_to(tmp_path: Path) -> None:
    """Without a word of force; one that no requirement was held against is not called fulfilling."""
    passed = _least(approval=Approval("strict", [Check("auc", "1", "0.5", True)]))
    assert "Policy strict: 1 of 1 requirements fulfilled." in _written(tmp_path, passed)[0]
    assert "force" not in summary(passed)
    assert "Policy loose: no requirement was checked." in summary(_least(approval=Approval("loose", [])))


def test_configurations_of_several_trials_stand_side_by_side(tmp_path: Path) -> None:
    """For a model that is put together from several: a column for each."""
    configs = {"t0001": {"head_units": 16, "dropout": 0.1}, "t0002": {"head_units": 32, "dropout": 0.2}}
    markdown, _ = _written(tmp_path, _least(configs=configs))
    assert "|  | t0001 | t0002 |" in markdown
    assert "| head_units | 16 | 32 |" in markdown


def test_few_patients_are_named(tmp_path: Path) -> None:
    """What rests on less than thirty patients is said to be hardly known."""
    markdown, _ = _written(tmp_path, _least(validation=_report(patients=29)))
    assert "validation: patients are few (29 NORMAL, 29 PNEUMONIA, 29 virus)" in markdown
    assert "patients are few" not in _written(tmp_path, _least(validation=_report(patients=30)))[0]


def test_the_description_fits_into_the_registry(tmp_path: Path) -> None:
    """Whatever is to be said; what does not fit is on the card, and the warning on top is always there."""
    facts = dataclasses.replace(_full(tmp_path), warnings=tuple(f"{number}: {'x' * 700}" for number in range(20)))
    text = summary(facts)
    assert len(text) <= MAX_DESCRIPTION
    assert text.startswith("**For research.")
    assert "ROC AUC 0.500 (0.400 to 0.600)" in text
    assert "Policy strict: 1 of 2 requirements fulfilled" in text
    assert text.count("x" * 500) > 3


def test_markdown_and_page_have_the_same_words() -> None:
    """One source, two forms: paragraphs, lists, tables; what looks like markup is shown as it is."""
    awkward = ["1. one", "- dash", "# no heading", "a_b _c_ *d*", "5 < 6 & 7 > 6", "~~gone~~"]
    section = Section("S", [Text("t", "bad"), Items(awkward), Table(("", "h|h"), [(word, "x") for word in awkward])])
    text = _Page(as_page("T", [section])).text
    assert all(word in text for word in awkward)
    markdown = as_markdown("T", [section])
    assert markdown.splitlines()[:4] == ["# T", "", "## S", ""]
    assert r"- 1\. one" in markdown
    assert r"- a_b \_c\_ \*d\*" in markdown
    assert r"| 5 &lt; 6 &amp; 7 &gt; 6 | x |" in markdown
    assert r"|  | h\|h |" in markdown


def test_weights_that_were_drawn_stand_among_the_limits(tmp_path: Path) -> None:
    """Whoever reads no further than the warnings has read it; and the first lines say whose model it is."""
    text, _ = _written(tmp_path, _full(tmp_path))
    limits = text.partition("## Limits and warnings")[2].partition("\n## ")[0]
    assert "never trained on anything" in limits
    assert "| trial | t0007 of study st |" in text.partition("## Intended use")[0]
