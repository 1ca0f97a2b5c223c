"""From several trials to the whole model that leaves: each member's, and the vote of them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import expit

from pneumo_core.calibration import fit_temperature
from pneumo_core.config import TrialConfig
from pneumo_core.ensemble import Member, build_ensemble, vote_logits
from pneumo_core.errors import PromotionError, StudyError
from pneumo_core.operating_point import OperatingPoint, fit_operating_point
from pneumo_core.scores import read_aligned
from tuning.models.ensemble import Ensemble
from tuning.models.whole_model import WholeModel, confirming_run, is_refit, whole_model
from tuning.record import StudyRecord, TrialRecord
from tuning.trial_data import TrialData

_SHARED = ("backbone", "weights", "weights_seed", "image_size", "resize", "denoise", "contrast")
"""What the members of an ensemble cannot differ in: they see the same pixels, through the same backbone."""

_MAJORITY = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class WholeEnsemble:
    """What an ensemble is built from, and what it is to be checked against; see `WholeModel`.

    Attributes:
        trials: ids of the members.
        members: the models that vote, in their order.
        vote: see `pneumo_core.ensemble`.
        scores: tables of validation images, as members come to them together: the first seeds of all, the second, …
        operating_point: of the vote; each member has its own besides.
        checked: see `WholeModel`. Of a hard vote without images that a rounding error could turn over.
        own: see `WholeModel`.
    """

    trials: Sequence[str]
    members: Sequence[WholeModel]
    vote: str
    scores: Sequence[pd.DataFrame]
    operating_point: OperatingPoint
    checked: pd.DataFrame
    own: pd.DataFrame | None

    @property
    def config(self) -> TrialConfig:
        """Of the first member. Image size, preprocessing and backbone are those of all, the rest is not."""
        return self.members[0].config

    @property
    def agreement(self) -> float:
        """How much a probability may differ from that of the trained parts."""
        return max(member.agreement for member in self.members)

    @property
    def origin(self) -> str:
        """Where the weights come from, in words."""
        return f"{self.vote} vote of {'; '.join(member.origin for member in self.members)}"

    def build(self) -> keras.Model:
        """Returns the classifier, from gray pixels to the calibrated probability."""
        voters = [
            Member(one.config, one.weights, one.arrays, one.operating_point.temperature, one.operating_point.threshold)
            for one in self.members
        ]
        return build_ensemble(voters, self.vote, self.operating_point.temperature)

    def digest(self) -> str:
        """Returns the SHA-256 (hex) of all that decides its probabilities, the order of its members included."""
        digest = hashlib.sha256(f"{self.vote} {self.operating_point.temperature!r}\n".encode())
        for member in self.members:
            called_from = member.operating_point.threshold if self.vote == "hard" else None
            digest.update(f"{member.digest()} {called_from!r}\n".encode())
        return digest.hexdigest()

    def to_mapping(self) -> dict[str, Any]:
        """Returns the vote and each member's configuration and operating point, for JSON."""
        return {
            "vote": self.vote,
            "members": [
                {
                    "trial": trial,
                    "origin": member.origin,
                    "operating_point": member.operating_point.to_mapping(),
                    "config": member.to_mapping(),
                }
                for trial, member in zip(self.trials, self.members, strict=True)
            ],
        }


def whole_ensemble(
    record: StudyRecord,
    ensemble: Ensemble,
    data: TrialData,
    scratch: Path,
    threshold_rule: str,
    target_sensitivity: float,
    tell: Callable[[str], None] = lambda text: None,
) -> WholeEnsemble:
    """Fetches or trains the members, and fits the operating point of their vote.

    Args:
        record: see `tuning.models.whole_model.whole_model`, here and in what follows.
        ensemble: of trials of the study.
        data: likewise.
        scratch: likewise.
        threshold_rule: see `put_together`.
        target_sensitivity: likewise.
        tell: takes sentences for the user.

    Raises:
        StudyError: if the members do not fit together.
        PromotionError: see `put_together`.
        WeightsError: see `whole_model`.
        TrackingError: likewise.

    Side effects:
        Writes files to the folder.
    """
    _refuse_mixed(record, ensemble)
    members = []
    for trial in ensemble.members:
        folder = scratch / f"{trial.trial}-member"
        folder.mkdir()
        members.append(whole_model(record, trial, data, folder, threshold_rule, target_sensitivity, tell))
    return put_together(ensemble.trials, members, ensemble.vote, threshold_rule, target_sensitivity)


def put_together(
    trials: Sequence[str], members: Sequence[WholeModel], vote: str, threshold_rule: str, target_sensitivity: float
) -> WholeEnsemble:
    """Puts members together, and fits the operating point of their vote.

    An image's scores are put together as the members' models are: one of each, none of which was trained on the image.
    So the n-th seeds of all make the n-th table. A mean over the seeds first would be another, larger ensemble than the
    one that leaves.

    Args:
        trials: ids of the members.
        members: the models that vote; all scored on the same images, over the same number of seeds.
        vote: see `pneumo_core.ensemble`.
        threshold_rule: see `pneumo_core.operating_point`; for the threshold of a soft vote. Hard votes are called from
            one half on, their members as this rule chose.
        target_sensitivity: likewise.

    Raises:
        PneumoError: if the members are scored on different images.
        PromotionError: if no image of a hard vote can be checked.
    """
    points = [member.operating_point for member in members]
    of_seeds = list(zip(*(member.scores for member in members), strict=True))
    for tables in of_seeds:
        read_aligned(tables)
    scores = [_together(tables, points, vote) for tables in of_seeds]
    point = _operating_point(scores, vote, threshold_rule, target_sensitivity)
    owns = [member.own for member in members if member.own is not None]
    own = _together(owns, points, vote) if owns else None
    return WholeEnsemble(trials, members, vote, scores, point, _checked(members, vote), own)


def _operating_point(scores: Sequence[pd.DataFrame], vote: str, rule: str, target: float) -> OperatingPoint:
    if vote == "soft":
        return fit_operating_point(scores, rule, target)
    pooled = pd.concat(scores)
    temperature = fit_temperature(pooled["logit"].to_numpy(), pooled["label"].to_numpy())
    return OperatingPoint(_MAJORITY, temperature)  # dividing the logit moves nobody over one half


def _together(tables: Sequence[pd.DataFrame], points: Sequence[OperatingPoint], vote: str) -> pd.DataFrame:
    """What members come to, image by image, in the order of the first table."""
    logits = vote_logits(_calibrated(tables, points), [point.threshold for point in points], vote)
    together = tables[0].assign(logit=logits)
    return together.assign(probability=expit(logits)) if "probability" in together else together


def _calibrated(tables: Sequence[pd.DataFrame], points: Sequence[OperatingPoint]) -> np.ndarray:
    """The members' calibrated logits, (N, members)."""
    paths = tables[0]["path"]
    columns = [table.set_index("path")["logit"].loc[paths].to_numpy(dtype=np.float64) for table in tables]
    return np.stack([column / point.temperature for column, point in zip(columns, points, strict=True)], axis=1)


def _checked(members: Sequence[WholeModel], vote: str) -> pd.DataFrame:
    """What the ensemble is to be checked against; without images that rounding could turn over in a hard vote."""
    tables, points = [member.checked for member in members], [member.operating_point for member in members]
    together = _together(tables, points, vote)
    if vote == "soft":
        return together
    heights = np.abs(expit(_calibrated(tables, points)) - [point.threshold for point in points])
    sure = (heights > [member.agreement for member in members]).all(axis=1)
    if not sure.any():
        raise PromotionError("the members score all images about as high as their thresholds: no call can be checked.")
    return together[sure]


def _refuse_mixed(record: StudyRecord, ensemble: Ensemble) -> None:
    """Makes sure that members see the same pixels, and are scored in the same way."""
    facts = [_facts(record, trial) for trial in ensemble.members]
    for name in facts[0]:
        values = [fact[name] for fact in facts]
        if any(value != values[0] for value in values):
            have = ", ".join(f"{trial} {value}" for trial, value in zip(ensemble.trials, values, strict=True))
            raise StudyError(
                f"study {record.started.study}: the members of an ensemble have to agree in {name}; here it is {have}. "
                "Promote one of them (--trial), or search with it fixed."
            )


def _facts(record: StudyRecord, trial: TrialRecord) -> dict[str, object]:
    refit = is_refit(record, trial)
    config = (confirming_run(record, trial) if refit else trial).config
    runs = len(trial.confirmed.runs) if trial.confirmed and refit else 1
    return {name: config[name] for name in _SHARED} | {"whether it is refit": refit, "number of seeds": runs}
