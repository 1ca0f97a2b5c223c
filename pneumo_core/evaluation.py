"""Scores and what is computed from them.

A scored set of images is one table, a row for each image: path, group (the patient), subtype, label (0 or 1), fold
(that it was scored in, 0 in a hold-out), logit and probability (of the positive class). Every metric comes from such a
table and from nothing else.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special
from sklearn import metrics as sk

from pneumo_core.calibration import expected_calibration_error
from pneumo_core.classifier import DEFAULT_THRESHOLD
from pneumo_core.metric_names import METRIC_NAMES
from pneumo_core.scores import Scores, read_scores

SCORE_COLUMNS = ("path", "group", "subtype", "label", "fold", "logit", "probability")

_FLOAT32_STEP = 2.0**-24  # a probability in float32 that is nearer to 1 is 1


def score_table(manifest: pd.DataFrame, logits: np.ndarray, fold: np.ndarray | int = 0) -> pd.DataFrame:
    """Joins images and their scores.

    Args:
        manifest: rows with the columns path, group, subtype and label.
        logits: (N,) finite or not, in the order of the rows.
        fold: (N,) that each image was scored in.
    """
    table = manifest[["path", "group", "subtype", "label"]].reset_index(drop=True)
    logits = np.asarray(logits, dtype=np.float64)
    return table.assign(fold=fold, logit=logits, probability=special.expit(logits))


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Returns the logits (N,) of probabilities (N,) in [0, 1] from a model in float32; 0 and 1 become finite ones."""
    return np.asarray(special.logit(np.clip(probabilities, _FLOAT32_STEP, 1 - _FLOAT32_STEP)))


def compute_metrics(scores: pd.DataFrame, threshold: float = DEFAULT_THRESHOLD) -> dict[str, float]:
    """Computes every metric of a score table.

    Args:
        scores: as made by `score_table`, with both classes.
        threshold: images with at least this probability are called positive.

    Returns:
        `METRIC_NAMES` → value. `ppv` (`npv`) is NaN where nothing was called positive (negative). `pr_auc` is average
        precision, `loss` binary cross-entropy in nats, `ece` as in `pneumo_core.calibration`. Where the table has
        several folds, each value is the mean over the folds that define it, for each fold has a model of its own; only
        `ece` is of all folds together, for a fold's images, spread over the bins, measure noise.

    Raises:
        PneumoError: if a probability is not a number in [0, 1], or a class is missing, be it in one fold.
    """
    table = read_scores(scores)
    of_folds = [_metrics(table, rows, threshold) for rows in table.fold_rows()]
    together = {"ece": expected_calibration_error(table.labels, table.probabilities)}
    return {
        name: together[name] if name in together else _mean([metrics[name] for metrics in of_folds])
        for name in METRIC_NAMES
    }


def _metrics(table: Scores, rows: np.ndarray, threshold: float) -> dict[str, float]:
    labels, probabilities, ranking = table.labels[rows], table.probabilities[rows], table.ranking[rows]
    called = (probabilities >= threshold).astype(int)
    return {
        "roc_auc": float(sk.roc_auc_score(labels, ranking)),
        "pr_auc": float(sk.average_precision_score(labels, ranking)),
        "accuracy": float(sk.accuracy_score(labels, called)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(labels, called)),
        "f1": float(sk.f1_score(labels, called, zero_division=0)),
        "sensitivity": float(sk.recall_score(labels, called, pos_label=1)),
        "specificity": float(sk.recall_score(labels, called, pos_label=0)),
        "ppv": float(sk.precision_score(labels, called, pos_label=1, zero_division=np.nan)),
        "npv": float(sk.precision_score(labels, called, pos_label=0, zero_division=np.nan)),
        "brier": float(sk.brier_score_loss(labels, probabilities)),
        "loss": float(sk.log_loss(labels, probabilities, labels=[0, 1])),
    }


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def confusion_counts(scores: pd.DataFrame, threshold: float = DEFAULT_THRESHOLD) -> np.ndarray:
    """Returns (2, 2) counts: rows true negative and positive class, columns called negative and positive."""
    table = read_scores(scores)
    return np.asarray(sk.confusion_matrix(table.labels, table.probabilities >= threshold, labels=[0, 1]))


def text_report(scores: pd.DataFrame, class_names: tuple[str, str], threshold: float = DEFAULT_THRESHOLD) -> str:
    """Returns scikit-learn's classification report and the confusion matrix as text."""
    table = read_scores(scores)
    labels, probabilities = table.labels, table.probabilities
    report = sk.classification_report(
        labels, probabilities >= threshold, labels=[0, 1], target_names=list(class_names), digits=4, zero_division=0
    )
    counts = pd.DataFrame(
        confusion_counts(scores, threshold),
        index=[f"true {name}" for name in class_names],
        columns=[f"called {name}" for name in class_names],
    )
    return f"{len(labels)} images, threshold {threshold:g}\n\n{report}\n{counts.to_string()}\n"
