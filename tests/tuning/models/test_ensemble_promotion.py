"""Confirmed leaders leave as one model, through the same doors as a single one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from scipy.special import expit, logit

from pneumo_core.backbone import BackboneWeights
from pneumo_core.config import TrialConfig
from pneumo_core.errors import ConfigError, PneumoError, PromotionError, StudyError
from pneumo_core.images import read_images
from pneumo_core.operating_point import OperatingPoint, fit_operating_point
from tuning.api import run_study
from tuning.models import promotion as promotion_module
from tuning.models.ensemble import choose_ensemble
from tuning.models.ledger import Ledger
from tuning.models.promotion import PromotionResult, promote
from tuning.models.whole_ensemble import put_together
from tuning.models.whole_model import WholeModel, confirming_run
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store

SPACE = """\
name: vote
trials: 3
epochs: 8
fixed:
  {weights: random, activation_precision: float32, image_size: 32, pooling: average, batch_size: 16, head_units: 16,
   learning_rate: 3.0e-3, learning_rate_schedule: cosine}
parameters:
  dropout: {type: choice, values: [0.0, 0.2]}
  pixel_scaling: {type: choice, values: [unit, caffe]}
start_with:
  - {dropout: 0.0, pixel_scaling: unit}
  - {dropout: 0.2, pixel_scaling: unit}
  - {dropout: 0.0, pixel_scaling: caffe}
confirm: {top: 3, seeds: 2, folds: 2}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, phantoms: Path) -> tuple[Store, StudyRecord]:
    """A study in two folds with three confirmed leaders."""
    root = tmp_path_factory.mktemp("store")
    (root / "vote.yaml").write_text(SPACE)
    run_study(
        str(root / "vote.yaml"), phantoms, study="v", folds=2, store=root, workers=0, plots=False,
        progress=False,
    )  # fmt: skip
    return Store.at(root), load_record(Store.at(root), "v")


@pytest.fixture(scope="module")
def promoted(study: tuple[Store, StudyRecord]) -> PromotionResult:
    """A soft vote of all three."""
    return promote(study[0], "v", ensemble=3, policy="demo")


def _folder(record: StudyRecord) -> Path:
    mlflow.set_tracking_uri(record.started.tracking_uri)
    return Path(mlflow.artifacts.download_artifacts("models:/vote@champion"))


def test_the_leaders_are_taken_in_the_order_of_their_confirmation(
    study: tuple[Store, StudyRecord], promoted: PromotionResult
) -> None:
    """The result, the version's tags and its configuration name them; it belongs to the study's run."""
    _, record = study
    leaders = [place.trial for place in record.places]
    assert promoted.promoted
    assert promoted.confirmed
    assert promoted.trial == ",".join(leaders)
    assert promoted.ensemble == f"soft of {', '.join(leaders)}"
    assert promoted.origin.count("refit on all") == 3
    version = MlflowClient(record.started.tracking_uri).get_model_version_by_alias("vote", "champion")
    assert version.run_id == promoted.run_id == record.run_id
    assert (version.tags["pneumo.trial"], version.tags["pneumo.ensemble"]) == (promoted.trial, promoted.ensemble)
    kept = json.loads((_folder(record) / "config.json").read_text())
    assert kept["vote"] == "soft"
    assert [member["trial"] for member in kept["members"]] == leaders
    confirming = [confirming_run(record, record.trials[leader]).config for leader in leaders]
    assert [member["config"] for member in kept["members"]] == confirming


def _out_of_fold(store: Store, record: StudyRecord) -> list[list[pd.DataFrame]]:
    """Each leader's out-of-fold scores, a table for each seed."""
    folder = store.studies / "v/confirmation"
    return [[pd.read_csv(folder / f"{run}.csv").sort_values("path") for run in place.runs] for place in record.places]


def test_the_operating_point_is_that_of_what_models_say_together_of_images_they_had_not_seen(
    study: tuple[Store, StudyRecord], promoted: PromotionResult
) -> None:
    """First seeds with first seeds, second with second, each member at its own temperature."""
    leaders = _out_of_fold(*study)
    temperatures = [fit_operating_point(tables).temperature for tables in leaders]
    together = []
    for tables in zip(*leaders, strict=True):
        each = [expit(table["logit"].to_numpy() / own) for table, own in zip(tables, temperatures, strict=True)]
        mean = np.mean(each, axis=0)
        together.append(tables[0].assign(probability=mean, logit=logit(mean)))
    expected = fit_operating_point(together)
    assert promoted.operating_point["threshold"] == pytest.approx(expected.threshold, abs=1e-9)
    assert promoted.operating_point["temperature"] == pytest.approx(expected.temperature, rel=1e-6)
    settings = json.loads((_folder(study[1]) / "classifier.json").read_text())
    assert settings["threshold"] == promoted.operating_point["threshold"]


def test_the_test_folder_is_scored_with_the_model_that_leaves(
    study: tuple[Store, StudyRecord], promoted: PromotionResult, phantoms: Path
) -> None:
    """Its two faces agree with the table; the ledger names the members; the panel is drawn."""
    store, record = study
    folder = _folder(record)
    table = pd.read_csv(folder / "test_scores.csv")
    pixels = read_images(phantoms, table["path"].tolist(), 32).astype(np.float32)
    model = mlflow.keras.load_model("models:/vote@champion")
    np.testing.assert_allclose(np.asarray(model(pixels))[:, 0], table["probability"], atol=1e-5)
    face = mlflow.pyfunc.load_model("models:/vote@champion")
    images = pd.DataFrame({"image": [(phantoms / path).read_bytes() for path in table["path"][:3]]})
    np.testing.assert_allclose(face.predict(images)["probability"], table["probability"][:3], atol=1e-5)
    assert {entry.trial for entry in Ledger(store).entries()} == {promoted.trial}
    assert (folder / "grad_cam.png").stat().st_size > 10_000
    assert not any(name.startswith("confirmed_") for name in promoted.metrics)


def test_a_majority_is_called_from_one_half_on(study: tuple[Store, StudyRecord]) -> None:
    """Whatever rule chose the members' thresholds; built and checked against the refits."""
    result = promote(study[0], "v", ensemble=3, vote="hard", threshold_rule="youden", dry_run=True)
    assert (result.operating_point["threshold"], result.operating_point["rule"]) == (0.5, "given")
    assert str(result.ensemble).startswith("hard of ")
    leaders = _out_of_fold(*study)
    points = [fit_operating_point(tables, "youden") for tables in leaders]
    calls = [
        np.concatenate([expit(table["logit"] / point.temperature) >= point.threshold for table in tables])
        for tables, point in zip(leaders, points, strict=True)
    ]
    labels = np.concatenate([table["label"] for table in leaders[0]])
    positive = labels == 1
    folds = np.concatenate([table["fold"] + 10 * seed for seed, table in enumerate(leaders[0])])
    majority = np.sum(calls, axis=0) >= 2
    shares = [majority[positive & (folds == fold)].mean() for fold in np.unique(folds)]
    assert result.metrics["val_sensitivity"] == pytest.approx(np.mean(shares), abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"ensemble": 4},
            StudyError,
            "expected 4 confirmed trials for an ensemble, but only .* `tune confirm v --top 4`",
        ),
        ({"ensemble": 1}, ConfigError, "expected 2 to 9 members, got 1"),
        ({"ensemble": 10}, ConfigError, "expected 2 to 9 members, got 10"),
        ({"ensemble": 2, "vote": "hard"}, ConfigError, "expected an odd number of members"),
        ({"ensemble": 3, "vote": "loud"}, ConfigError, "expected soft or hard, got loud"),
        ({"ensemble": 3, "trial": "t0001"}, ConfigError, "either a trial or an ensemble"),
        ({"vote": "hard"}, ConfigError, "add `--ensemble 3`"),
    ],
)
def test_impossible_ensembles_are_refused_in_a_line(
    study: tuple[Store, StudyRecord], arguments: dict[str, object], error: type[PneumoError], message: str
) -> None:
    """As bad input, before anything is read or built."""
    with pytest.raises(error, match=message) as refused:
        promote(study[0], "v", **arguments)  # type: ignore[arg-type]
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def test_members_that_see_other_pixels_are_refused(
    study: tuple[Store, StudyRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model has one size and one preprocessing; the members are named with what they have."""
    real = promotion_module.load_record

    def enlarged(store: Store, name: str) -> StudyRecord:
        record = real(store, name)
        second = record.trials[record.places[1].trial]
        confirming_run(record, second).config["image_size"] = 64
        return record

    monkeypatch.setattr(promotion_module, "load_record", enlarged)
    with pytest.raises(StudyError, match=r"have to agree in image_size; here it is t\d+ 32, t\d+ 64"):
        promote(study[0], "v", ensemble=2, dry_run=True)


def test_what_never_came_to_mlflow_is_named(study: tuple[Store, StudyRecord]) -> None:
    """With the command that brings it there."""
    record = load_record(study[0], "v")
    record.trials[record.places[0].trial].run_id = None
    with pytest.raises(StudyError, match=f"{record.places[0].trial} never came to MLflow.*tune sync v"):
        choose_ensemble(record, 2)


def _tables(shifts: tuple[float, ...], seed: int) -> list[pd.DataFrame]:
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], 20)
    paths = [f"train/{number:02d}.png" for number in range(40)]
    made = []
    for shift in shifts:
        logits = (2 * labels - 1) * 1.5 + rng.normal(size=40) + shift
        made.append(
            pd.DataFrame(
                {"path": paths, "group": paths, "subtype": "", "label": labels, "fold": 0, "logit": logits,
                 "probability": expit(logits)}
            )
        )  # fmt: skip
    return made


def _member(seed: int, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table) -> WholeModel:
    tables = [change(table) for table in _tables((0.0, 0.5), seed)]
    point = fit_operating_point(tables)
    arrays = {"head/kernel": np.full((2, 1), seed, np.float32)}
    config, weights = TrialConfig(seed=seed, activation_precision="float32"), BackboneWeights({}, "w")
    checked, own = tables[0][["path", "logit"]], tables[0][["path", "label", "logit"]]
    return WholeModel(config, weights, arrays, "somewhere", tables, point, checked, own)


def test_images_are_matched_by_path() -> None:
    """Tables in another order come to the same; of other images they are refused."""
    members, trials = [_member(seed) for seed in (1, 2, 3)], ["a", "b", "c"]
    whole = put_together(trials, members, "soft", "sensitivity", 0.9)
    turned = _member(2, lambda table: table.iloc[::-1].reset_index(drop=True))
    again = put_together(trials, [members[0], turned, members[2]], "soft", "sensitivity", 0.9)
    for of, other in zip(
        [*whole.scores, whole.checked, whole.own], [*again.scores, again.checked, again.own], strict=True
    ):
        pd.testing.assert_frame_equal(of, other)
    others = _member(2, lambda table: table.assign(path="x/" + table["path"]))
    with pytest.raises(PneumoError, match="tables of the same images"):
        put_together(trials, [members[0], others, members[2]], "soft", "sensitivity", 0.9)


def test_calls_that_rounding_could_turn_over_are_not_checked() -> None:
    """An image that lies on a member's threshold says nothing about whether the hard vote was built rightly."""
    members = [_member(seed) for seed in (1, 2, 3)]
    all_of_them = put_together("abc", members, "hard", "sensitivity", 0.9)
    assert len(all_of_them.checked) == 40
    point = members[1].operating_point
    on_edge = members[1].checked.copy()
    on_edge.loc[7, "logit"] = logit(point.threshold) * point.temperature
    edged = dataclasses.replace(members[1], checked=on_edge)
    whole = put_together("abc", [members[0], edged, members[2]], "hard", "sensitivity", 0.9)
    assert sorted(set(range(40)) - set(whole.checked.index)) == [7]
    hopeless = dataclasses.replace(edged, checked=on_edge.assign(logit=on_edge.loc[7, "logit"]))
    with pytest.raises(PromotionError, match="no call can be checked"):
        put_together("abc", [members[0], hopeless, members[2]], "hard", "sensitivity", 0.9)


def test_the_digest_is_of_all_that_decides_the_probabilities() -> None:
    """Vote, temperatures, members and their order; thresholds where they are called from."""
    members = [_member(seed) for seed in (1, 2, 3)]
    whole = put_together("abc", members, "soft", "sensitivity", 0.9)
    again = put_together("xyz", members, "soft", "sensitivity", 0.9)
    assert whole.digest() == again.digest()
    moved = dataclasses.replace(members[0].operating_point, threshold=0.123)
    called = [dataclasses.replace(members[0], operating_point=moved), *members[1:]]
    assert dataclasses.replace(whole, members=called).digest() == whole.digest()
    hard = dataclasses.replace(whole, vote="hard")
    others = [
        hard,
        dataclasses.replace(hard, members=called),
        dataclasses.replace(whole, members=members[::-1]),
        dataclasses.replace(whole, members=members[:2]),
        dataclasses.replace(whole, operating_point=OperatingPoint(whole.operating_point.threshold, 1.01)),
    ]
    assert len({whole.digest(), *(other.digest() for other in others)}) == 6
