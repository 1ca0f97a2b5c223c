"""What a model card is made from: everything that is known of a model which is about to be registered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pneumo_core.classifier import ClassifierSettings
from pneumo_core.composition import Count
from pneumo_core.evaluation_report import EvaluationReport
from pneumo_core.intervals import Interval
from pneumo_core.operating_point import OperatingPoint
from tuning.models.gate import Check, Rivalry

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
class CardFacts:
    """All that a model card says. What is None, empty or not there is not known, and left out or said to be unknown.

    Attributes:
        name: of the model in the registry.
        program: version of this program.
        written_at: date, in UTC.
        settings: of the classifier.
        origin: where its weights come from, in words.
        is_refit: whether it was trained on the validation images too, and their scores are of other models.
        configs: trial → configuration of its training; several for a model that is put together from several.
        trained_values: how many numbers were trained.
        operating_point: threshold and temperature, and how they were chosen.
        validation: report of the scores that chose them.
        data: the images.
        search: how it was chosen.
        test: None if the test folder was not opened.
        approval: by a policy.
        rivalry: with the former champion.
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
    configs: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    trained_values: int | None = None
    operating_point: OperatingPoint | None = None
    validation: EvaluationReport | None = None
    data: DataFacts | None = None
    search: SearchFacts | None = None
    test: ScoreFacts | None = None
    approval: Approval | None = None
    rivalry: Rivalry | None = None
    warnings: Sequence[str] = ()
    lineage: Mapping[str, str] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    panel: Path | None = None
