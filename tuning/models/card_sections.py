"""What a model card says, section by section.

After Mitchell et al. 2019 (Model Cards for Model Reporting), with what fits of CLAIM 2024, TRIPOD+AI 2024 and STARD-AI
2025. A section that nothing is known for is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pneumo_core.classifier import RECOMMENDATIONS
from tuning.document import Block, Items, Picture, Section, Table, Text
from tuning.models.card_facts import CardFacts, DataFacts, SearchFacts
from tuning.models.card_results import judgement, results, small_groups

RESEARCH_ONLY = (
    "For research. Not a medical device; not to be used to diagnose, to treat, or to decide who is looked at."
)

_PAIR = ("", "")
_OF_DATA = {
    "published": [
        "Chest X-ray images of Kermany et al. 2018 (Mendeley Data, doi:10.17632/rscbjbr9sj, CC BY 4.0; on Kaggle as "
        "paultimothymooney/chest-xray-pneumonia): anterior-posterior radiographs from routine care of children of one "
        "to five years, Guangzhou Women and Children's Medical Center. Two physicians graded them; a third checked the "
        "evaluation set. Age, sex and device of a patient are not published, so no result is given by them.",
        "Cite: Kermany et al. 2018, Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning, "
        "Cell 172(5).",
    ],
    "synthetic": ["Drawings by this program, not radiographs: the model knows nothing of any patient."],
    "unknown": [
        "A folder of its user. Whose images these are, from which devices, who labelled them and under which licence "
        "is not known to this program; say it before the model is passed on."
    ],
}


def sections(facts: CardFacts) -> list[Section]:
    """Returns the card's sections, those without content left out."""
    parts = [
        Section("What it is", [*_identity(facts)]),
        Section("Intended use", [*_use(facts)]),
        Section("Results", [*results(facts)]),
        Section("Promotion", [*judgement(facts)]),
        Section("Operating point", [*_operation(facts)]),
        Section("What its scores depend on", [*_panel(facts)]),
        Section("Limits and warnings", [*_limits(facts)]),
        Section("Data", [*_data(facts.data, facts.settings.class_names)] if facts.data else []),
        Section("How it was chosen", [*_search(facts.search)] if facts.search else []),
        Section("How it was made", [*_configuration(facts)]),
        Section("Ethics and law", [*_ethics(facts)]),
        Section("Lineage", [*_lineage(facts)]),
    ]
    return [part for part in parts if part.blocks]


def _identity(facts: CardFacts) -> Iterator[Block]:
    negative, positive = facts.settings.class_names
    yield Text(RESEARCH_ONLY, "bad")
    size = facts.settings.image_size
    chosen = [("trial", f"{facts.search.trial} of study {facts.search.study}")] if facts.search else []
    rows = [
        ("model", facts.name),
        *chosen,
        ("task", f"tells {positive} (positive) from {negative} in one frontal chest radiograph"),
        ("input", f"an image file, made a square of {size} × {size} gray pixels"),
        ("output", f"probability of {positive}, the class that is called, a recommendation"),
        ("weights", facts.origin or "of unknown origin"),
        ("made by", f"pneumo-tune {facts.program}, on {facts.written_at}"),
    ]
    yield Table(_PAIR, rows)


def _use(facts: CardFacts) -> Iterator[Block]:
    yield Text("Made to compare training recipes, and to study where such models fail. Not made for:")
    published = facts.data is not None and facts.data.source == "published"
    others = "Children older or younger than one to five years, and adults" if published else "Patients of other ages"
    yield Items(
        [
            "Diagnosis, triage, screening or treatment: how it serves patients was never studied.",
            f"{others}; other hospitals, devices and ways of taking the image than those of the training images.",
            "Lateral views, CT, photographs of films or screens, anything but one frontal chest radiograph: it gives a "
            "probability for whatever decodes as an image.",
            "Other findings: tuberculosis, effusion, heart failure or a tumour are neither looked for nor told apart.",
        ]
    )


def _operation(facts: CardFacts) -> Iterator[Block]:
    settings, point = facts.settings, facts.operating_point
    (negative, positive), bands = settings.class_names, settings.bands
    temperature = "unknown" if settings.temperature is None else f"{settings.temperature:.4g}, applied inside the model"
    rule = f", {point.in_words().partition('; ')[0].partition(', ')[2]}" if point else ""
    limits = settings.limits
    yield Table(
        _PAIR,
        [
            ("threshold", f"{settings.called_from:.4g}{rule}"),
            ("temperature", temperature),
            ("formats", ", ".join(limits.formats)),
            ("largest image", f"{limits.largest_pixels:,} px, {limits.largest_side_px:,} px a side, "
             f"{limits.largest_bytes:,} bytes"),
            ("smallest side", f"{limits.smallest_side_px} px"),
        ],
    )  # fmt: skip
    ranges = {
        "high": f"from {bands.high_from:.4g}",
        "moderate": f"{bands.moderate_from:.4g} to {bands.high_from:.4g}",
        "low": f"below {bands.moderate_from:.4g}",
    }
    found = facts.test.bands if facts.test else {}
    seen = [f"{name} in test" for name in (negative, positive)] if found else []
    rows = [
        (band, ranges[band], text.format(positive=positive.capitalize(), negative=negative.lower()),
         *(f"{count:,}" for count in found.get(band, ())))
        for band, text in RECOMMENDATIONS.items()
    ]  # fmt: skip
    yield Table(("band", f"probability of {positive}", "recommendation", *seen), rows)
    yield Text(
        f"The bands word how far {positive} is suspected, not how sure the call is: LOW CONFIDENCE means little "
        f"suspicion of {positive}. The threshold, which makes the call, always lies in the moderate band."
    )


def _panel(facts: CardFacts) -> Iterator[Block]:
    if facts.panel is not None:
        yield Picture(facts.panel, "Grad-CAM of test images that were called rightly and wrongly, drawn by lot")
        yield Text("Where the score comes from, by the last convolution; not where the disease is, and no explanation.")


def _limits(facts: CardFacts) -> Iterator[Block]:
    random = any(config.get("weights") == "random" for config in facts.configs.values())
    untrained = ["The backbone was never trained on anything: its weights are drawn at random."] if random else []
    own = [*untrained, *facts.warnings, *small_groups(facts)]
    if own:
        yield Text("Of this model:", "warning")
        yield Items(own)
    yield Text("Of models of this kind:")
    yield Items(
        [
            "They do not carry over. A network trained on the children's radiographs of Kermany et al. had an AUC of "
            "0.95 on that hospital's test images, and of 0.54 on 383 NIH radiographs of children of the same ages "
            "(Xin, Li and Yi 2021, doi:10.1007/s10140-021-01954-x). No other hospital's images were scored for this "
            "card.",
            "They use whatever tells the classes apart: file properties, markers, borders. 'tune data check' measures "
            "how much of the label file properties alone give away.",
            "The intervals are about other patients like these, not about another hospital, and leave out what another "
            "training would change.",
        ]
    )


def _data(data: DataFacts, class_names: tuple[str, str]) -> Iterator[Block]:
    yield from (Text(sentence) for sentence in _OF_DATA[data.source])
    yield Table(
        ("folder", "class", "images", "patients, as far as known"),
        [
            (count.split, (count.subtype and f"{count.class_name}, {count.subtype}") or count.class_name,
             f"{count.images:,}", f"{count.patients:,}")
            for count in data.counts
        ],
    )  # fmt: skip
    yield Text("Images of train and val were pooled and divided anew by patient; those of test trained nothing.")
    rows = [
        ("scored by", data.protocol),
        ("read from", f"a folder named {data.folder}"),
        ("files left out", f"{data.left_out:,}"),
        ("digest of images", data.digest),
        ("digest of split", data.split_digest),
    ]
    yield Table(_PAIR, rows)


def _search(search: SearchFacts) -> Iterator[Block]:
    trials = ", ".join(f"{number} {status}" for status, number in search.trials.items())
    rows = [
        ("study", search.study),
        ("trial", search.trial),
        ("space", search.space),
        ("trials", f"{trials}; by {search.algorithm}, for {search.objective}"),
        *((f"searched: {name}", values) for name, values in search.searched.items()),
    ]
    yield Table(_PAIR, rows)
    if search.sentences:
        yield Items(search.sentences)


def _configuration(facts: CardFacts) -> Iterator[Block]:
    trained = [] if facts.trained_values is None else [("numbers trained", f"{facts.trained_values:,}")]
    weights = facts.lineage.get("pneumo.weights_digest")
    digest = [("digest of backbone weights", weights)] if weights else []
    if trained or digest:
        yield Table(_PAIR, [*trained, *digest])
    if facts.configs:
        names = dict.fromkeys(name for config in facts.configs.values() for name in config)
        rows = [(name, *(str(config.get(name, "")) for config in facts.configs.values())) for name in names]
        yield Table(_PAIR if len(facts.configs) == 1 else ("", *facts.configs), rows)


def _ethics(facts: CardFacts) -> Iterator[Block]:
    yield Items(
        [
            "Not a medical device, and not examined as one under any law (EU MDR, FDA).",
            "A missed pneumonia and a false alarm do not cost the same. The threshold does not weigh what follows for "
            "patients.",
            "Fairness was not examined: there are no results by sex, age or origin of patients.",
            "Radiographs are personal data where patients can be told from them; this card holds only those of the "
            "Grad-CAM panel." if facts.panel else "This card holds no images.",
        ]
    )  # fmt: skip


def _lineage(facts: CardFacts) -> Iterator[Block]:
    rows: Sequence[tuple[str, str]] = [(name.removeprefix("pneumo."), text) for name, text in facts.lineage.items()]
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    rows = [*rows, *([("packages of the study", versions)] if versions else [])]
    if rows:
        yield Table(_PAIR, rows)
    yield Text(
        "Written after Mitchell et al. 2019, Model Cards for Model Reporting, with items of CLAIM 2024, TRIPOD+AI 2024 "
        "and STARD-AI 2025; it does not claim to fulfil these."
    )
