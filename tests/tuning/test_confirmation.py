"""The leaders of a search are trained again, and ranked by means over seeds and folds, with ties and optimism named."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_scores import made_table
from mlflow import MlflowClient
from rich.console import Console
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from synthetic import write_study

from pneumo_core.errors import ConfigError, DatasetError, DivergedError, StudyError
from pneumo_core.evaluation_report import evaluate
from search_spaces import Confirmation
from tuning import confirmation, leaderboard
from tuning import trial as trial_module
from tuning.analysis.gain import gain_over
from tuning.api import confirm_study, resume_study, run_study
from tuning.confirmation import expected_optimism, expected_s, leaders, retrainings
from tuning.events import EpochEnded, StudyStarted, TrialCompleted, TrialStarted
from tuning.leaderboard_table import leaderboard_table
from tuning.moved_store import repair_moved
from tuning.ranking import load_record, objective_of
from tuning.record import StudyRecord, TrialRecord
from tuning.standings import leaderboard_rows, make_leaderboard
from tuning.store import Store

HEADS = """\
name: heads
trials: 3
epochs: 2
fixed: {weights: random, image_size: 32, pixel_scaling: unit, pooling: average, batch_size: 16}
parameters:
  head_units: {type: choice, values: [4, 8, 16], ordered: true}
  learning_rate: {type: float, min: 1.0e-3, max: 1.0e-2, log: true}
confirm: {top: 2, seeds: 2}
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space of heads, whose trials take a fraction of a second."""
    path = tmp_path_factory.mktemp("space") / "heads.yaml"
    path.write_text(HEADS)
    return path


@pytest.fixture(scope="module")
def confirmed(
    tmp_path_factory: pytest.TempPathFactory, space: Path, phantoms: Path
) -> tuple[Store, StudyRecord, dict[str, Any]]:
    """A finished and confirmed study of three trials: its store, record and summary. Not to be changed."""
    root = tmp_path_factory.mktemp("store")
    result = run_study(str(space), phantoms, study="s", store=root, workers=0, plots=False, progress=False)
    return Store.at(root), load_record(Store.at(root), "s"), result.summary()


@pytest.fixture
def copied(confirmed: tuple[Store, StudyRecord, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of that study's store, to be changed."""
    shutil.copytree(confirmed[0].root, tmp_path / "store")
    repair_moved(Store.at(tmp_path / "store"))
    return tmp_path / "store"


def _scores(store: Store, run: str) -> pd.DataFrame:
    return pd.read_csv(store.studies / "s" / "confirmation" / f"{run}.csv")


def _mean_auc(table: pd.DataFrame) -> float:
    of_folds = [roc_auc_score(rows["label"], rows["logit"]) for _, rows in table.groupby("fold")]
    return float(np.mean(of_folds))


def test_a_space_of_heads_is_scored_in_five_folds(confirmed: tuple[Store, StudyRecord, dict[str, Any]]) -> None:
    """Every image is scored once, by a model that saw none of its patient; the score is the mean over the folds."""
    _, record, summary = confirmed
    assert record.started.folds == summary["folds"] == 5
    client = MlflowClient(record.started.tracking_uri)
    split = pd.read_csv(client.download_artifacts(record.run_id or "", "split.csv")).set_index("path")
    assert split.groupby("group")["fold"].nunique().max() == 1
    for trial in record.searched:
        scores = pd.read_csv(client.download_artifacts(trial.run_id or "", "scores.csv"))
        assert sorted(scores["path"]) == sorted(split.index)
        assert (split.loc[scores["path"], "fold"].to_numpy() == scores["fold"].to_numpy()).all()
        assert trial.score == pytest.approx(_mean_auc(scores), abs=1e-12)


def test_leaders_are_trained_again_with_seeds_of_their_own(
    confirmed: tuple[Store, StudyRecord, dict[str, Any]],
) -> None:
    """Two leaders, two seeds that the search did not use, nothing else changed; each is a run of its own in MLflow."""
    _, record, _ = confirmed
    best = [trial.trial for trial in sorted(record.searched, key=lambda trial: -(trial.score or 0))][:2]
    assert sorted(run.trial for run in record.confirming) == sorted(
        f"{trial}-f5-32px-s{seed}" for trial in best for seed in (1, 2)
    )
    for run in record.confirming:
        leader = record.trials[run.confirms]
        changed = {name for name, value in run.config.items() if value != leader.config[name]}
        assert changed == {"seed"}
        assert run.folds == 5
        tags = MlflowClient(record.started.tracking_uri).get_run(run.run_id or "").data.tags
        assert (tags["pneumo.kind"], tags["pneumo.confirms"]) == ("confirmation", leader.trial)


def test_the_ranking_is_by_the_mean_over_seeds_and_folds(
    confirmed: tuple[Store, StudyRecord, dict[str, Any]],
) -> None:
    """Computed again from the stored scores; the interval encloses it; the best in record and JSON is the first."""
    store, record, summary = confirmed
    means = {
        leader: np.mean([_mean_auc(_scores(store, run.trial)) for run in record.confirming if run.confirms == leader])
        for leader in {run.confirms for run in record.confirming}
    }
    ranking = summary["confirmed"]["ranking"]
    assert [place["trial"] for place in ranking] == sorted(means, key=lambda leader: -means[leader])
    for place in ranking:
        assert place["score"] == pytest.approx(means[place["trial"]], abs=1e-12)
        assert place["interval"][0] < place["score"] < place["interval"][1]
        low, high = place["difference_to_first"][1:]
        assert place["tied_with_first"] == (place["rank"] > 1 and low <= 0 <= high)
    assert summary["best"]["trial"] == record.confirmed.best == ranking[0]["trial"]  # type: ignore[union-attr]
    assert summary["best"]["confirmed"] is True
    assert summary["confirmed"]["compared"] == 3


def test_leaderboard_and_mlflow_show_what_was_confirmed(
    confirmed: tuple[Store, StudyRecord, dict[str, Any]],
) -> None:
    """Confirmed trials first, with mean and interval; the retrainings are no rows; metrics on trial and study."""
    store, record, summary = confirmed
    rows = leaderboard_rows(record)
    assert [row["trial"] for row in rows][:2] == [place["trial"] for place in summary["confirmed"]["ranking"]]
    assert len(rows) == len(leaderboard("s", store.root)) == 3
    assert [row["confirmed"] is not None for row in rows] == [True, True, False]
    first = rows[0]["confirmed"]
    client = MlflowClient(record.started.tracking_uri)
    of_trial, of_study = (client.get_run(run or "").data for run in (rows[0]["run_id"], record.run_id))
    assert of_trial.metrics["confirmed_val_roc_auc"] == of_study.metrics["confirmed_val_roc_auc"] == first["score"]
    assert of_trial.metrics["confirmed_val_roc_auc_low"] == first["interval"][0]
    assert of_trial.tags["pneumo.confirmed_rank"] == "1"
    assert of_study.tags["pneumo.confirmed_best"] == rows[0]["trial"]
    assert of_study.metrics["observed_optimism"] == record.confirmed.observed_optimism  # type: ignore[union-attr]


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_leaderboard_has_room_for_parameters(
    confirmed: tuple[Store, StudyRecord, dict[str, Any]], width: int
) -> None:
    """Scores stay whole, and parameters are not folded to a column of single letters, though confirmation adds two."""
    _, record, _ = confirmed
    file = io.StringIO()
    Console(file=file, width=width).print(leaderboard_table(make_leaderboard(record), width=width))
    shown = file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    assert all(f"head_units={trial.params['head_units']}" in shown for trial in record.ranked())
    assert all(f"{trial.score:.4f}" in shown for trial in record.ranked())
    assert "…" not in shown


def test_a_study_without_confirmation_says_so(space: Path, phantoms: Path, tmp_path: Path) -> None:
    """`--no-confirm`: nothing is trained again, and the best is not called confirmed."""
    result = run_study(
        str(space), phantoms, study="s", store=tmp_path, workers=0, plots=False, confirm=False, progress=False
    )
    assert not result.record.confirming
    assert result.summary()["confirmed"] is None
    assert result.summary()["best"]["confirmed"] is False  # type: ignore[index]


def test_confirming_more_trains_only_what_is_new(copied: Path) -> None:
    """Another leader and another seed: what was trained in the same way is not trained again, and counts."""
    before = {run.trial for run in load_record(Store.at(copied), "s").confirming}
    record = confirm_study("s", top=3, seeds=3, store=copied, progress=False).record
    assert before < {run.trial for run in record.confirming}
    assert len(record.confirming) == 9
    events = [json.loads(line) for line in (copied / "studies/s/journal.jsonl").read_text().splitlines()]
    started = [event["trial"] for event in events if event["event"] == "trial_started"]
    assert len(started) == len(set(started)) == 3 + 9
    assert sorted(trial.confirmed.rank for trial in record.searched if trial.confirmed) == [1, 2, 3]


def test_a_search_that_goes_on_is_confirmed_anew(copied: Path) -> None:
    """More trials make a confirmation old; the next one ranks new leaders beside those that were confirmed before."""
    old = load_record(Store.at(copied), "s").confirmed
    record = resume_study("s", trials=5, store=copied, progress=False).record
    assert record.confirmed is not None
    assert (old.compared, record.confirmed.compared) == (3, 5)  # type: ignore[union-attr]
    assert {run.confirms for run in record.confirming} <= {t.trial for t in record.searched if t.confirmed}
    with pytest.raises(StudyError, match="is finished, with 5 trials"):
        resume_study("s", store=copied, progress=False)


def test_other_images_sizes_are_confirmed_apart(copied: Path) -> None:
    """Searched at 32 px, confirmed at 48 px in two folds: other trainings, under other names."""
    record = confirm_study("s", top=1, seeds=1, folds=2, image_size=48, store=copied, progress=False).record
    assert record.confirmed is not None
    (run,) = [run for run in record.confirming if run.config["image_size"] == 48]
    assert (run.trial, run.folds) == (f"{record.confirmed.best}-f2-48px-s1", 2)
    assert record.confirmed.confirm["folds"] == 2


def test_a_leader_that_cannot_be_trained_again_has_no_place(
    space: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason is told, the next one is confirmed."""
    real = trial_module.execute_trial

    def first_diverges(config: Any, *args: Any) -> Any:
        if config.seed and config.learning_rate == max(searched, key=lambda rate: searched[rate]):
            raise DivergedError("loss became nan in epoch 1")
        result = real(config, *args)
        if not config.seed:
            searched[config.learning_rate] = result.metrics["val_roc_auc"]
        return result

    searched: dict[float, float] = {}
    monkeypatch.setattr(trial_module, "execute_trial", first_diverges)
    result = run_study(str(space), phantoms, study="s", store=tmp_path, workers=0, plots=False, progress=False)
    whole = result.record.confirmed
    assert whole is not None
    assert list(whole.left_out) == [leaders(result.record, 1)[0].trial]
    assert "loss became nan" in next(iter(whole.left_out.values()))
    assert whole.best == leaders(result.record, 2)[1].trial


def _record(confirm: dict[str, Any], folds: int = 1) -> StudyRecord:
    fields = {field.name: "" for field in dataclasses.fields(StudyStarted)}
    started = StudyStarted(**{**fields, "objective": "val_roc_auc", "direction": "max", "trials": 3, "folds": folds})  # type: ignore[arg-type]
    return StudyRecord(dataclasses.replace(started, confirm=confirm, parameters=["dropout"]))


def _tried(record: StudyRecord, trial: str, score: float, **config: Any) -> None:
    settings = {"seed": 0, "image_size": 64, "stop_after": 0} | config
    record.apply(TrialStarted(trial, len(record.trials) + 1, {}, settings))
    record.apply(EpochEnded(trial, 0, {"val_loss": 0.5, "duration_s": 10.0}))
    record.apply(TrialCompleted(trial, score, {}, 0, "", 99.0))


def test_no_configuration_leads_twice() -> None:
    """Rungs of Hyperband repeat values: only the best of them, trained longest, is a leader."""
    record = _record({})
    _tried(record, "t0001", 0.9, dropout=0.1, stop_after=1)
    _tried(record, "t0002", 0.95, dropout=0.1, stop_after=3)
    _tried(record, "t0003", 0.92, dropout=0.2)
    assert [leader.trial for leader in leaders(record, 5)] == ["t0002", "t0003"]


def test_a_hold_out_is_confirmed_in_five_folds() -> None:
    """Unless the space says otherwise; a search in folds is confirmed in as many."""
    for searched, asked, expected in ((1, None, 5), (3, None, 3), (1, 2, 2), (3, 1, 1)):
        record = _record(Confirmation(top=1, seeds=1, folds=asked).model_dump(), searched)
        _tried(record, "t0001", 0.9)
        assert [planned.folds for planned in retrainings(record)] == [expected]


def test_the_baseline_is_confirmed_beside_the_leaders(tmp_path: Path) -> None:
    """Once, whether it leads or not; else the gain over it would be that of a score that was chosen."""
    write_study(Store.at(tmp_path), trials=12)
    record = load_record(Store.at(tmp_path), "made")
    best = [trial.trial for trial in leaders(record, 12)]
    assert "t0001" not in best[:2]
    for top, asked, expected in ((2, True, [*best[:2], "t0001"]), (2, False, best[:2]), (12, True, best)):
        record.confirm = Confirmation(top=top, seeds=1, baseline=asked).model_dump()
        assert [planned.confirms for planned in retrainings(record)] == expected


@pytest.mark.parametrize(("distance", "leads"), [(0.5, False), (4.0, True)])
def test_a_baseline_is_ranked_among_the_confirmed_only_if_it_beats_a_leader(
    tmp_path: Path, distance: float, leads: bool
) -> None:
    """Else it would go before trials that scored better, as they were not confirmed."""
    write_study(Store.at(tmp_path), trials=12)
    record = load_record(Store.at(tmp_path), "made")
    record.confirm = Confirmation(top=2, seeds=1, folds=2, baseline=True).model_dump()
    searched = [trial.trial for trial in record.ranked()]
    for number, planned in enumerate(retrainings(record)):
        record.apply(TrialStarted(planned.trial, 13 + number, {}, planned.config, confirms=planned.confirms, folds=2))
        record.apply(TrialCompleted(planned.trial, 0.9, {}, 0, "", 1.0))
        table = made_table(distance if planned.confirms == "t0001" else 2.0 - 0.2 * number, seed=number, folds=2)
        table.to_csv(tmp_path / f"{planned.trial}.csv", index=False)
    for event in confirmation.conclude(record, tmp_path):
        record.apply(event)
    assert [place.trial for place in record.places] == (["t0001", *searched[:2]] if leads else [*searched[:2], "t0001"])
    others = [trial for trial in searched[2:] if trial != "t0001"]
    ranked = [trial.trial for trial in record.ranked()]
    assert ranked == (["t0001", *searched[:2], *others] if leads else searched)
    gain = gain_over(record.trials[searched[0]], record.trials["t0001"], objective_of(record))
    assert gain is not None
    assert (gain.of, gain.is_sure) == ("confirmed", not leads)


def test_the_time_that_confirming_takes_is_foreseen() -> None:
    """From what epochs took, not what came before them: 2 leaders × 3 seeds, 5 folds for one, four times the pixels."""
    record = _record(Confirmation(top=2, seeds=3, image_size=128).model_dump())
    assert expected_s(record) == 0
    _tried(record, "t0001", 0.9, dropout=0.1)
    _tried(record, "t0002", 0.8, dropout=0.2)
    assert expected_s(record) == pytest.approx(10.0 * 2 * 3 * 5 * 4)
    assert expected_s(_record({})) == 0


@pytest.mark.parametrize("compared", [2, 10, 50])
def test_expected_optimism_is_that_of_equal_configurations(compared: int) -> None:
    """Simulated: the best of n normal scores of the same mean exceeds it by as much, within 1 percent."""
    rng = np.random.default_rng(0)
    simulated = rng.normal(0, 0.0066, (100_000, compared)).max(axis=1).mean()
    half = 1.959964 * 0.0066
    leader = TrialRecord("t", 1, {}, {}, intervals={"val_roc_auc": [0.98 - half, 0.98 + half]})
    assert expected_optimism(leader, "val_roc_auc", compared) == pytest.approx(simulated, rel=0.01)
    assert expected_optimism(leader, "val_roc_auc", 1) == 0


def test_order_of_files_and_place_of_the_root_change_nothing(
    confirmed: tuple[Store, StudyRecord, dict[str, Any]], space: Path, phantoms: Path, tmp_path: Path
) -> None:
    """The same images, written in another order to another folder: same digests, splits and scores."""
    _, record, _ = confirmed
    files = list(phantoms.rglob("*.jpeg"))
    for path in np.random.default_rng(3).permutation(np.array(files, dtype=object)):
        copy = tmp_path / "elsewhere" / path.relative_to(phantoms)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    moved = run_study(
        str(space), tmp_path / "elsewhere", study="s", store=tmp_path / "m", workers=0, plots=False, progress=False
    ).record
    for name in ("data_digest", "split_digest"):
        assert getattr(moved.started, name) == getattr(record.started, name)
    assert [trial.metrics for trial in moved.trials.values()] == [trial.metrics for trial in record.trials.values()]
    assert moved.confirmed == record.confirmed


def test_an_impossible_confirmation_is_refused_before_anything_is_recorded(copied: Path) -> None:
    """More folds than patients: the journal stays as it was, the old confirmation stands, the next one works."""
    journal = copied / "studies/s/journal.jsonl"
    before = journal.read_bytes()
    with pytest.raises(DatasetError, match="To hold out a fold in 20"):
        confirm_study("s", top=1, seeds=1, folds=20, store=copied, progress=False)
    assert journal.read_bytes() == before
    with pytest.raises(ConfigError, match=r"confirmation: .*folds"):
        confirm_study("s", folds=500, store=copied, progress=False)
    again = confirm_study("s", top=2, seeds=2, store=copied, progress=False).record
    assert again.confirmed == load_record(Store.at(copied), "s").confirmed


def test_a_confirmation_that_was_left_stands_in_nobodys_way(copied: Path) -> None:
    """Out of time at once: the old one is shown, as old; another way of confirming does not finish that one first."""
    old = load_record(Store.at(copied), "s").confirmed
    left = confirm_study("s", top=3, seeds=2, folds=3, time_limit_s=1e-3, store=copied, progress=False).record
    assert left.confirmed == old
    assert left.outdated
    record = confirm_study("s", top=2, seeds=1, folds=2, store=copied, progress=False).record
    assert not record.outdated
    assert record.confirmed is not None
    assert record.confirmed.confirm["folds"] == 2
    assert not any("-f3-" in run.trial for run in record.confirming)


@pytest.mark.slow
def test_confirming_does_not_forget_how_many_trials_were_wanted(space: Path, phantoms: Path, tmp_path: Path) -> None:
    """A study that was out of time is confirmed as far as it came, and can go on afterwards."""
    run_study(
        str(space), phantoms, study="s", trials=6, time_limit_s=1e-3, confirm=False, store=tmp_path, workers=0,
        plots=False, progress=False,
    )  # fmt: skip
    with pytest.raises(StudyError, match="no completed trial"):
        confirm_study("s", store=tmp_path, progress=False)
    resume_study("s", trials=2, store=tmp_path, progress=False)
    confirmed = confirm_study("s", top=1, seeds=1, store=tmp_path, progress=False).record
    assert len(confirmed.searched) == 2
    assert confirmed.confirmed is not None
    assert len(resume_study("s", trials=3, store=tmp_path, progress=False).record.searched) == 3


@pytest.mark.slow
def test_equal_models_are_rarely_called_different() -> None:
    """Simulated: five equal leaders, two seeds each, with noise by image and by seed: in at most 5 of 50 studies."""
    rng, patients, called = np.random.default_rng(5), 200, 0
    labels = np.arange(patients) % 2
    for _ in range(50):
        base = rng.normal(size=patients) + 1.5 * labels
        places = [_place(f"t{n}", labels, base, rng) for n in range(5)]
        places.sort(key=lambda place: -place.report.metrics["roc_auc"].value)
        seeds = confirmation._seed_spread(places, "roc_auc")
        ends = [confirmation._difference(place, places, "roc_auc", seeds) for place in places[1:]]
        called += any(high < 0 for _, _, high in ends)
    assert called <= 5


def _place(trial: str, labels: np.ndarray, base: np.ndarray, rng: np.random.Generator) -> Any:
    tables = []
    for _ in range(2):
        logits = base + rng.normal(size=len(labels)) + rng.normal(scale=0.3) * labels
        table = {"path": np.arange(len(labels)).astype(str), "group": np.arange(len(labels)).astype(str)}
        tables.append(pd.DataFrame({**table, "label": labels, "logit": logits, "probability": expit(logits)}))
    return confirmation._Place(trial, [TrialRecord(trial, 1, {}, {})] * 2, tables, evaluate(tables, draws=200))
