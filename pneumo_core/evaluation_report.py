"""All that is said about a model's scores: metrics with intervals at the operating point, and of how many images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pneumo_core.calibration import calibrated
from pneumo_core.intervals import DRAWS, LEVEL, Interval, bootstrap_metrics
from pneumo_core.metric_names import METRIC_NAMES
from pneumo_core.operating_point import OperatingPoint, fit_operating_point
from pneumo_core.scores import Scores, read_aligned
from pneumo_core.weighted_metrics import UNCALIBRATED

_PREFIX = "sensitivity_"
METRIC_LABELS = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "ppv": "PPV",
    "npv": "NPV",
    "brier": "Brier score",
    "ece": "ECE",
    "loss": "log loss (nats)",
}
"""Metrics as people read them; one that is not among them is called by its name."""


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """What `evaluate` says of a score table, or of those of several seeds.

    Attributes:
        operating_point: threshold and temperature.
        fitted_here: whether these were fitted on the scores that are reported, which flatters them.
        metrics: `METRIC_NAMES` → interval, of calibrated probabilities and calls at the threshold.
        uncalibrated: brier, ece and loss → interval, before the temperature was applied.
        subtype_sensitivity: kind of positive image → interval of the sensitivity; empty where there is one kind.
        confusion: counts over all folds and seeds: ((true negative, false positive), (false negative, true positive)).
        sizes: numbers of images and patients: in all, by label, by subtype.
        folds: how many folds the values are means over.
        seeds: how many score tables they are means over.
        seed_deviation: metric → standard deviation over the seeds; empty where there is one.
        draws: how often patients were drawn.
        seed: of the draws.
        level: share of such intervals that contain the truth.
    """

    operating_point: OperatingPoint
    fitted_here: bool
    metrics: dict[str, Interval]
    uncalibrated: dict[str, Interval]
    subtype_sensitivity: dict[str, Interval]
    confusion: tuple[tuple[int, int], tuple[int, int]]
    sizes: dict[str, Any]
    folds: int
    seeds: int
    seed_deviation: dict[str, float]
    draws: int
    seed: int
    level: float = LEVEL

    def to_mapping(self) -> dict[str, Any]:
        """Returns the report for JSON: no NaN, but None."""
        intervals = ("metrics", "uncalibrated", "subtype_sensitivity")
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain |= {group: {name: one.to_mapping() for name, one in plain[group].items()} for group in intervals}
        plain["seed_deviation"] = {
            name: None if np.isnan(number) else number for name, number in self.seed_deviation.items()
        }
        return plain | {
            "operating_point": self.operating_point.to_mapping(),
            "confusion": [list(row) for row in self.confusion],
        }


def evaluate(
    scores: pd.DataFrame | Sequence[pd.DataFrame],
    *,
    operating_point: OperatingPoint | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> EvaluationReport:
    """Evaluates a score table, or the mean over several of the same images.

    Args:
        scores: a score table; or one for each seed.
        operating_point: as fitted on validation scores; None if these are the validation scores, to fit it here with
            the default rule and target.
        draws: how often patients are drawn for the intervals.
        seed: of the draws.

    Returns:
        The report. Its intervals take threshold and temperature, and the trained models, as given: they tell how much
        other patients would change the values, not what another training, another seed or another choice would.

    Raises:
        PneumoError: if the tables are not score tables of the same images, or a class is missing.
    """
    given = [scores] if isinstance(scores, pd.DataFrame) else list(scores)
    tables = read_aligned(given)
    point = operating_point or fit_operating_point(given)
    bootstrap = bootstrap_metrics(tables, point, draws, seed)
    intervals = bootstrap.intervals()
    spread = bootstrap.by_table.std(axis=0, ddof=1) if len(tables) > 1 else []
    return EvaluationReport(
        operating_point=point,
        fitted_here=operating_point is None,
        metrics={name: intervals[name] for name in METRIC_NAMES},
        uncalibrated={name.removeprefix("uncalibrated_"): intervals[name] for name in UNCALIBRATED},
        subtype_sensitivity={
            name.removeprefix(_PREFIX): one for name, one in intervals.items() if name.startswith(_PREFIX)
        },
        confusion=_confusion(tables, point),
        sizes=_sizes(tables[0]),
        folds=len(np.unique(tables[0].folds)),
        seeds=len(tables),
        seed_deviation={name: float(number) for name, number in zip(bootstrap.names, spread, strict=False)},
        draws=draws,
        seed=seed,
    )


def report_text(report: EvaluationReport, class_names: tuple[str, str]) -> str:
    """Returns a report as Markdown that can be read as plain text.

    Args:
        report: of whichever scores.
        class_names: of label 0 and label 1.
    """
    rows = [(METRIC_LABELS.get(name, name), one) for name, one in report.metrics.items()]
    rows += [(f"sensitivity, {name}", one) for name, one in report.subtype_sensitivity.items()]
    if report.operating_point.temperature != 1:
        rows += [(f"{METRIC_LABELS[name]}, uncalibrated", one) for name, one in report.uncalibrated.items()]
    table = ["| metric | value | low | high |", "| --- | --- | --- | --- |"]
    table += [f"| {name} | {_number(one.value)} | {_number(one.low)} | {_number(one.high)} |" for name, one in rows]
    return "\n".join(
        [_heading(report, class_names), "", *table, "", _counts(report, class_names), "", _caution(report)]
    )


def _heading(report: EvaluationReport, class_names: tuple[str, str]) -> str:
    sizes = report.sizes
    parts = [
        f"{sizes[key]['images']} {name} ({sizes[key]['patients']} patients)"
        for key, name in zip(("negative", "positive"), class_names, strict=True)
    ]
    kinds = [
        f"{name} {size['images']}" for name, size in sizes["subtypes"].items() if name in report.subtype_sensitivity
    ]
    of_kinds = f"; of these {', '.join(kinds)}" if kinds else ""
    return (
        f"{sizes['images']} images of {sizes['patients']} patients: {', '.join(parts)}{of_kinds}.\n"
        f"Positive means {class_names[1]}. {report.operating_point.in_words().capitalize()}."
    )


def _counts(report: EvaluationReport, class_names: tuple[str, str]) -> str:
    lines = [f"| | called {class_names[0]} | called {class_names[1]} |", "| --- | --- | --- |"]
    lines += [f"| true {name} | {row[0]} | {row[1]} |" for name, row in zip(class_names, report.confusion, strict=True)]
    return "\n".join(lines)


def _caution(report: EvaluationReport) -> str:
    sentences = [
        f"Intervals of {report.level:.0%} from {report.draws} draws of patients; they take the trained model, "
        "threshold and temperature as given. PPV and NPV hold for the share of positive images here.",
        "The ECE of a sample is larger than the true one, and its interval too narrow (docs/evaluation.md).",
    ]
    if report.folds > 1:
        sentences.append(f"Values are means over {report.folds} folds; counts are over all of them.")
    if report.seeds > 1:
        deviation = report.seed_deviation["roc_auc"]
        sentences.append(
            f"Values are means over {report.seeds} seeds, whose ROC AUC has a standard deviation of {deviation:.4f}; "
            "counts are over all of them."
        )
    if report.fitted_here:
        sentences.append(
            "Threshold and temperature were fitted on these same scores, which flatters what depends on them."
        )
    return "\n".join(sentences) + "\n"


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.4f}"


def _confusion(tables: Sequence[Scores], point: OperatingPoint) -> tuple[tuple[int, int], tuple[int, int]]:
    counts = np.zeros((2, 2), np.int64)
    for table in tables:
        called = calibrated(table.logits, point.temperature) >= point.threshold
        np.add.at(counts, (table.labels, called.astype(int)), 1)
    (spared, alarms), (misses, hits) = counts.tolist()
    return (spared, alarms), (misses, hits)


def _sizes(table: Scores) -> dict[str, Any]:
    def size(rows: np.ndarray) -> dict[str, int]:
        return {"images": int(rows.sum()), "patients": len(np.unique(table.patients[rows]))}

    names = [str(name) for name in np.unique(table.subtypes) if name]
    return {
        **size(np.ones(len(table.labels), bool)),
        "negative": size(table.labels == 0),
        "positive": size(table.labels == 1),
        "subtypes": {name: size(table.subtypes == name) for name in names},
    }
