"""How often 95 % intervals contain the true value, in many simulated studies; printed as the tables of the documents.

python tests/pneumo_core/interval_coverage.py [--simulations 2000] [--draws 500] [--folds 1] [--processes 2]
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from simulated_scores import World

from pneumo_core.intervals import Bootstrap, bootstrap_metrics, paired_auc_difference, wilson
from pneumo_core.scores import Scores
from pneumo_core.seeds import generator
from pneumo_core.weighted_metrics import WeightedMetrics

AUCS, PATIENTS = (0.85, 0.97), (150, 600)
PREVALENCES = (0.3, 0.7)
RIVAL = {0.85: 0.83, 0.97: 0.96}
"""The other model's true AUC, for paired differences."""


class Case(NamedTuple):
    """Studies of one kind."""

    auc: float
    patients: int
    folds: int = 1
    draws: int = 500
    seed: int = 0


class Ends(NamedTuple):
    """What came of one interval: where the truth lay, and the interval's width."""

    too_high: bool
    too_low: bool
    width: float


def one_study(case: Case, number: int) -> dict[str, Ends]:
    """Draws one study, and compares every interval with the truth; the prevalence is drawn too."""
    rng = generator(case.seed, "coverage", round(100 * case.auc), case.patients, case.folds, number)
    world = World(case.auc, rng.uniform(*PREVALENCES))
    (table,) = world.tables(case.patients, rng, case.folds)
    truth = world.truth()
    bootstrap = bootstrap_metrics([table], world.point, case.draws, seed=number)
    ends = {name: _ends(truth[name], one.low, one.high) for name, one in bootstrap.intervals().items()}
    for method, (low, high) in alternatives(bootstrap, table, world).items():
        ends[f"roc_auc by {method}"] = _ends(case.auc, low, high)
    pair = [_frame(one) for one in world.tables(case.patients, rng, case.folds, RIVAL[case.auc])]
    difference = paired_auc_difference(pair[0], pair[1], draws=case.draws, seed=number)
    ends["paired AUC difference"] = _ends(case.auc - RIVAL[case.auc], difference.low, difference.high)
    return ends


def alternatives(bootstrap: Bootstrap, table: Scores, world: World) -> dict[str, tuple[float, float]]:
    """Intervals of the ROC AUC that were not chosen, from the same draws."""
    draws, value = bootstrap.draws[:, 0], float(bootstrap.by_table[0, 0])
    low, high = np.quantile(draws, [0.025, 0.975])
    quantile = bootstrap.patients.quantile(bootstrap.patients.smaller_class())
    reach = quantile * draws.std(ddof=1)
    same = wilson(value, float(draws.std(ddof=1)), quantile, bootstrap.patients.smaller_class())
    found = {
        "Wilson": (same.low, same.high),
        "percentile": (low, high),
        "basic": (2 * value - high, 2 * value - low),
        "BCa": _bca(bootstrap, table, world),
    }
    if 0 < value < 1:
        scale = reach / (value * (1 - value))
        middle = np.log(value / (1 - value))
        found["logit, delta method"] = (1 / (1 + np.exp(scale - middle)), 1 / (1 + np.exp(-scale - middle)))
    return {**found, "t": (value - reach, value + reach)}


def _bca(bootstrap: Bootstrap, table: Scores, world: World) -> tuple[float, float]:
    """Efron 1987, the acceleration from leaving out each patient."""
    draws, value = bootstrap.draws[:, 0], bootstrap.by_table[0, 0]
    without = (1 - np.eye(len(bootstrap.patients.classes)))[:, table.patients]
    left = WeightedMetrics(table, world.point)(without)[:, 0]
    deviation = left.mean() - left
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5 + 1e-300)
    share = np.clip(((draws < value).mean() + (draws <= value).mean()) / 2, 1e-3, 1 - 1e-3)
    bias = stats.norm.ppf(share)
    ends = bias + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(draws, stats.norm.cdf(bias + ends / (1 - acceleration * ends)))
    return float(low), float(high)


def coverage(case: Case, simulations: int, processes: int = 2) -> pd.DataFrame:
    """Simulates studies.

    Returns:
        A row for each metric: covered, too_low (the truth lay below the interval), too_high, width (mean).
    """
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        studies = pool.starmap(one_study, [(case, number) for number in range(simulations)], chunksize=25)
    return pd.DataFrame({name: _summary(studies, name) for name in studies[0]}).T


def _summary(studies: list[dict[str, Ends]], name: str) -> Mapping[str, float]:
    ends = np.array([study[name] for study in studies if name in study], dtype=float)
    too_high, too_low, width = ends.mean(axis=0)
    return {"covered": 1 - too_high - too_low, "too_low": too_low, "too_high": too_high, "width": width}


def _ends(truth: float, low: float, high: float) -> Ends:
    return Ends(truth > high, truth < low, high - low)


def _frame(scores: Scores) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": scores.labels,
            "probability": scores.probabilities,
            "logit": scores.logits,
            "group": scores.patients,
            "fold": scores.folds,
        }
    )


def _cell(row: pd.Series) -> str:
    return f"{100 * row['covered']:.1f} ({100 * row['too_low']:.1f} + {100 * row['too_high']:.1f})"


def main() -> None:
    """Prints one table: a row for each metric, a column for each case; misses below and above in brackets."""
    parser = argparse.ArgumentParser(description=__doc__, prog=Path(__file__).name)
    for name, default in (("simulations", 2000), ("draws", 500), ("folds", 1), ("processes", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    cases = [Case(auc, patients, options.folds, options.draws) for auc in AUCS for patients in PATIENTS]
    columns = {
        f"AUC {case.auc}, {case.patients}": coverage(case, options.simulations, options.processes).apply(_cell, axis=1)
        for case in cases
    }
    table = pd.DataFrame(columns)
    print("| metric | " + " | ".join(table.columns) + " |\n|" + " --- |" * (len(cases) + 1))
    for name, row in table.iterrows():
        print(f"| {name} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
