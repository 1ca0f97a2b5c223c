"""What a model card is made from: everything that is known of a model which is about to be registered."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pneumo_core.classifier import ClassifierSettings
from pneumo_core.composition import OFFICIAL, Count, composition, deviations
from pneumo_core.evaluation_report import EvaluationReport
from pneumo_core.intervals import Interval
from pneumo_core.operating_point import OperatingPoint
from tuning.confirmed import confirmation_sentences
from tuning.models.gate import Check
from tuning.models.ledger import SPENT_AFTER, ScoredTest
from tuning.protocol import images_in_words
from tuning.record import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from pneumo_core.dataset import Dataset
    from tuning.models.assembly import Assembly

PANEL_FILE = "grad_cam.png"

Source = Literal["published", "synthetic", "unknown"]
"""Whose images these are: of the Kaggle data set (Kermany et al. 2018), drawn by this program, or somebody's."""


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """The images of a study.

    Attributes:
        folder: its name, without the path.
        source: whose they are.
        digest: of all images.
        split_digest: of who trains and who is scored.
        counts: images and patients by split, class and kind.
        left_out: how many files could not be used.
        protocol: how trials were scored, in words.
    """

    folder: str
    source: Source
    digest: str
    split_digest: str
    counts: Sequence[Count]
    left_out: int
    protocol: str


@dataclasses.dataclass(frozen=True)
class SearchFacts:
    """How the model was chosen.

    Attributes:
        study: its name.
        trial: the chosen one.
        space: name of the search space.
        algorithm: that chose what was tried.
        objective: that trials were ranked by, and `max` or `min`.
        trials: how many completed, failed, were pruned.
        searched: parameter → the values that it could have, in words.
        sentences: what the confirmation came to, and by how much a search flatters.
        confirmed: metric → interval, over the seeds and folds of the confirmation; empty without one.
    """

    study: str
    trial: str
    space: str
    algorithm: str
    objective: str
    trials: Mapping[str, int]
    searched: Mapping[str, str]
    sentences: Sequence[str]
    confirmed: Mapping[str, Interval]


@dataclasses.dataclass(frozen=True)
class ScoreFacts:
    """The test folder, and what the model came to there.

    Attributes:
        report: of its scores.
        openings: how often these images were opened by now.
        spent_after: how many openings a test set bears.
        reused: whether scores of an earlier opening were read.
        bands: band → images of the negative and of the positive class in it.
    """

    report: EvaluationReport
    openings: int
    spent_after: int
    reused: bool
    bands: Mapping[str, tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Approval:
    """What a policy said of a model.

    Attributes:
        policy: its name; empty if none was asked.
        checks: of its requirements.
        forced: why the model is registered although it does not fulfil them; empty if it is not so.
    """

    policy: str
    checks: Sequence[Check]
    forced: str = ""


@dataclasses.dataclass(frozen=True)
class Rival:
    """The version that held the alias before.

    Attributes:
        champion: name and version.
        differences: metric → interval of the new model less the champion, on the same test images.
        obstacle: why the two were not compared; empty if they were.
    """

    champion: str
    differences: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    obstacle: str = ""


@dataclasses.dataclass(frozen=True)
class CardFacts:
    """All that a model card says. What is None, empty or not there is not known, and left out or said to be unknown.

    Attributes:
        name: of the model in the registry.
        program: version of this program.
        written_at: date, in UTC.
        settings: of the classifier.
        origin: where its weights come from, in words.
        is_refit: whether it was trained on the validation images too, and their scores are of other models.
        config: of the training.
        trained_values: how many numbers that training changed.
        operating_point: threshold and temperature, and how they were chosen.
        validation: report of the scores that chose them.
        data: the images.
        search: how it was chosen.
        test: None if the test folder was not opened.
        approval: by a policy.
        rival: the former champion.
        warnings: sentences that nobody should miss.
        lineage: tags of the version.
        versions: of packages, by name.
        panel: PNG file of the Grad-CAM panel.
    """

    name: str
    program: str
    written_at: str
    settings: ClassifierSettings
    origin: str = ""
    is_refit: bool = False
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trained_values: int | None = None
    operating_point: OperatingPoint | None = None
    validation: EvaluationReport | None = None
    data: DataFacts | None = None
    search: SearchFacts | None = None
    test: ScoreFacts | None = None
    approval: Approval | None = None
    rival: Rival | None = None
    warnings: Sequence[str] = ()
    lineage: Mapping[str, str] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    panel: Path | None = None


def facts_of(
    assembly: Assembly,
    record: StudyRecord,
    trial: TrialRecord,
    name: str,
    lineage: Mapping[str, str],
    approval: Approval | None = None,
    rival: Rival | None = None,
) -> CardFacts:
    """Gathers what is known of a model that is built and, if it may be, scored on the test folder.

    Args:
        assembly: the model.
        record: of its study.
        trial: whose model it is.
        name: in the registry.
        lineage: tags of the version.
        approval: by a policy.
        rival: the former champion.
    """
    whole, panel = assembly.whole, assembly.folder / PANEL_FILE
    return CardFacts(
        name=name,
        program=importlib.metadata.version("pneumo-tune"),
        written_at=time.strftime("%Y-%m-%d", time.gmtime()),
        settings=assembly.settings,
        origin=whole.origin,
        is_refit=whole.own is not None,
        config=whole.config.to_mapping() | {"weights": Path(whole.config.weights).name},
        trained_values=sum(array.size for array in whole.arrays.values()),
        operating_point=whole.operating_point,
        validation=assembly.validation_report,
        data=_data(record, assembly.dataset),
        search=_search(record, trial),
        test=_test(assembly),
        approval=approval,
        rival=rival,
        warnings=tuple(assembly.warnings),
        lineage=lineage,
        versions=record.identity.versions,
        panel=panel if panel.is_file() else None,
    )


def _data(record: StudyRecord, dataset: Dataset) -> DataFacts:
    counts, identity = composition(dataset), record.identity
    return DataFacts(
        folder=dataset.root.name,
        source=source_of(record.started.data, counts),
        digest=dataset.digest,
        split_digest=identity.split_digest,
        counts=counts,
        left_out=len(dataset.skipped),
        protocol=f"{images_in_words(identity)}, for every trial alike; no patient on two sides",
    )


def source_of(given: str, counts: Sequence[Count]) -> Source:
    """Returns whose images these are.

    Only what was fetched as the published set, or has all of its counts, is called so: file names can be imitated.

    Args:
        given: as `--data`.
        counts: of the images.
    """
    whole = {(count.split, count.class_name, count.subtype) for count in counts} >= set(OFFICIAL)
    if given == "kaggle" or (whole and not deviations(counts)):
        return "published"
    return "synthetic" if given == "demo" else "unknown"


def _search(record: StudyRecord, trial: TrialRecord) -> SearchFacts:
    started, place = record.started, trial.confirmed
    metrics = place.metrics if place else {}
    return SearchFacts(
        study=started.study,
        trial=trial.trial,
        space=started.space,
        algorithm=started.algorithm,
        objective=f"{started.objective}, {started.direction}",
        trials=record.counts(),
        searched={each["name"]: _values(each) for each in record.identity.definition.get("parameters", [])},
        sentences=confirmation_sentences(record),
        confirmed={name.removeprefix("val_"): _interval(*numbers) for name, numbers in metrics.items()},
    )


def _interval(*numbers: float | None) -> Interval:
    return Interval(*(float("nan") if number is None else number for number in numbers))


def _values(parameter: Mapping[str, Any]) -> str:
    """The values of a parameter of a space's definition, in words."""
    if "values" in parameter:
        return ", ".join(str(value) for value in parameter["values"])
    step = f" in steps of {parameter['step']:g}" if parameter.get("step") else ""
    return f"{parameter['min']:g} to {parameter['max']:g}{step}{', logarithmic' if parameter.get('log') else ''}"


def _test(assembly: Assembly) -> ScoreFacts | None:
    scored, report = assembly.test, assembly.test_report
    if scored is None or report is None:
        return None
    return ScoreFacts(report, scored.openings, SPENT_AFTER, scored.reused, _bands(scored, assembly.settings))


def _bands(scored: ScoredTest, settings: ClassifierSettings) -> dict[str, tuple[int, int]]:
    bands, labels = scored.table["probability"].map(settings.bands.of), scored.table["label"]
    return {
        band: (int(((bands == band) & (labels == 0)).sum()), int(((bands == band) & (labels == 1)).sum()))
        for band in ("high", "moderate", "low")
    }
