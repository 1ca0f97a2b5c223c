"""The view of a study in MLflow: short to address, the same at every call, and about this study alone."""

from __future__ import annotations

import base64
import json
import urllib.parse
import zlib
from typing import Any

import pytest
from synthetic import write_study

from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store
from tuning.ui_view import compare_url, is_touched, run_url, saved_view, view_tag, view_url

BASE = "http://127.0.0.1:5000"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    """Of a made-up study of 500 trials."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    write_study(store, trials=500)
    return load_record(store, "made")


def _state(value: str) -> dict[str, Any]:
    packed = json.loads(value)["state"]
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed.removeprefix("deflate;"))))
    return state


def test_parallel_coordinates_are_of_the_searched_parameters_and_end_with_the_objective(record: StudyRecord) -> None:
    """MLflow colours the lines by the last axis, which is that of the metric."""
    first = _state(saved_view(record, 0.0))["compareRunCharts"][0]
    assert first["type"] == "PARALLEL"
    assert first["selectedParams"] == record.started.parameters
    assert first["selectedMetrics"] == ["val_roc_auc"]


def test_the_view_lists_the_trials_of_the_search_alone_best_first(record: StudyRecord) -> None:
    """Neither another study of the space nor trainings that confirm; and all of them are drawn, not the latest ten."""
    state = _state(saved_view(record, 0.0))
    assert "tags.`pneumo.study_id` = 'id-of-made'" in state["searchFilter"]
    assert "tags.`pneumo.kind` = 'trial'" in state["searchFilter"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val_roc_auc`", False)
    assert state["runsHiddenMode"] == "SHOW_ALL"


def test_every_chart_stands_in_a_section_and_has_a_key_of_its_own(record: StudyRecord) -> None:
    """MLflow drops charts without a section, and draws one of those with the same key."""
    state = _state(saved_view(record, 0.0))
    charts, sections = state["compareRunCharts"], {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in charts} == sections
    assert len({chart["uuid"] for chart in charts}) == len(charts)


def test_the_view_is_the_same_at_every_call_and_fits_a_tag(record: StudyRecord) -> None:
    """So that it is written once; MLflow's tags of experiments end at 20,000 characters."""
    assert saved_view(record, 5.0) == saved_view(record, 5.0)
    assert len(saved_view(record, 5.0)) < 5000
    assert view_tag(record) == "mlflow.sharedViewState.study-id-of-made"


def test_a_view_that_somebody_changed_is_told_from_ours(record: StudyRecord) -> None:
    """MLflow's page notes the time of a change; what is no view at all may be replaced."""
    ours = json.loads(saved_view(record, 5.0))
    assert not is_touched(json.dumps(ours))
    assert is_touched(json.dumps(ours | {"updatedAt": 6000}))
    assert not is_touched("nonsense")


def test_the_address_does_not_grow_with_the_trials(record: StudyRecord) -> None:
    """It names the view; the comparison without a view names a hundred runs at most, the best first."""
    assert len(view_url(BASE, record, "1")) < 200
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(compare_url(BASE, record, "1")).fragment.partition("?")[2])
    runs = json.loads(query["runs"][0])
    best = record.best()
    assert best is not None
    assert len(runs) == 100
    assert runs[0] == best.run_id
    assert f"/#/experiments/1/runs/{record.run_id}" in run_url(BASE, record, "1")
