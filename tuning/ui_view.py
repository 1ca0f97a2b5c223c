"""How MLflow's page of runs shows a study: its trials, best first, in parallel coordinates and other charts.

The page takes all that from a *saved view*, a tag of the experiment, whose key is part of the address. So the address
is short, however many trials there are, and the view stands in MLflow's own menu of saved views. The format is that of
MLflow 3.17's page (`ExperimentPageUIState` and the envelope of saved views in its scripts); it is documented nowhere.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
import zlib
from typing import Any

from tuning.record import StudyRecord

_KEY_PREFIX = "mlflow.sharedViewState."
_MOST_SCATTERS = 8
_MOST_COMPARED = 100  # runs in an address; about as long as servers and browsers take
_MACHINE_LEARNING = {"workflowType": "machine_learning"}  # else the menu is that for chat bots


def view_tag(record: StudyRecord) -> str:
    """Returns the name of the experiment's tag that holds a study's view."""
    return _KEY_PREFIX + _key(record)


def saved_view(record: StudyRecord, begun_at: float) -> str:
    """Returns the value of that tag; the same whenever it is asked for.

    Args:
        record: of the study.
        begun_at: when it began, in seconds since 1970.
    """
    at = round(begun_at * 1000)
    state = json.dumps(_view(record), separators=(",", ":"), sort_keys=True)
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode())).decode("ascii")
    return json.dumps({"name": f"Study {record.started.study}", "createdAt": at, "updatedAt": at, "state": packed})


def is_touched(value: str) -> bool:
    """Returns whether somebody changed a saved view in MLflow, which then is theirs."""
    try:
        envelope = json.loads(value)
        return bool(envelope["updatedAt"] != envelope["createdAt"])
    except (ValueError, KeyError, TypeError):
        return False


def view_url(base_url: str, record: StudyRecord, experiment: str) -> str:
    """Returns the address of a study's trials as its saved view shows them.

    Args:
        base_url: of MLflow.
        record: of the study.
        experiment: id of the experiment that holds its runs.
    """
    query = {"viewStateShareKey": _key(record), "compareRunsMode": "CHART"} | _MACHINE_LEARNING
    return f"{base_url}/#/experiments/{experiment}/runs?{urllib.parse.urlencode(query)}"


def compare_url(base_url: str, record: StudyRecord, experiment: str) -> str:
    """Returns the address of MLflow's comparison of a study's best trials, which needs no saved view.

    Args:
        base_url: of MLflow.
        record: of the study.
        experiment: id of the experiment that holds its runs.
    """
    runs = [trial.run_id for trial in record.ranked() if trial.status == "completed" and trial.run_id]
    lists = {"runs": runs[:_MOST_COMPARED], "experiments": [experiment]}
    query = {name: json.dumps(values, separators=(",", ":")) for name, values in lists.items()}
    return f"{base_url}/#/compare-runs?{urllib.parse.urlencode(query)}"


def run_url(base_url: str, record: StudyRecord, experiment: str) -> str:
    """Returns the address of the study's own run, with its description and files."""
    return f"{base_url}/#/experiments/{experiment}/runs/{record.run_id}?{urllib.parse.urlencode(_MACHINE_LEARNING)}"


def _key(record: StudyRecord) -> str:
    return f"study-{record.started.study_id or record.run_id}"


def _view(record: StudyRecord) -> dict[str, Any]:
    started = record.started
    objective, searched = started.objective, started.parameters
    return {
        "searchFilter": f"tags.`pneumo.study_id` = '{started.study_id}' AND tags.`pneumo.kind` = 'trial'",
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": started.direction == "min",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [f"metrics.`{objective}`", *(f"params.`{name}`" for name in searched)],
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,  # else the sections are sorted by name
        "hideEmptyCharts": True,
        "compareRunSections": [
            _section("parameters", f"Parameters, coloured by {objective}", 1, 420),
            _section("curves", "While they were trained", 2, 360),
            _section("scatters", f"{objective} by each parameter", 3, 320),
        ],
        "compareRunCharts": [
            _chart("PARALLEL", "parameters", "all", selectedParams=searched, selectedMetrics=[objective]),
            *(_curve(name) for name in dict.fromkeys(["val_loss", objective])),
            *(_scatter(name, objective) for name in searched[:_MOST_SCATTERS]),
        ],
    }


def _section(uuid: str, name: str, columns: int, height_px: int) -> dict[str, Any]:
    layout = {"columns": columns, "cardHeight": height_px}
    return {"uuid": uuid, "name": name, "display": True, "isReordered": True, "isGenerated": False} | layout


def _chart(kind: str, section: str, name: str, **settings: Any) -> dict[str, Any]:
    place = {"uuid": f"{section}-{name}", "metricSectionId": section}
    return {"type": kind, "deleted": False, "isGenerated": False, "runsCountToCompare": 100} | place | settings


def _curve(metric: str) -> dict[str, Any]:
    key = f"epoch/{metric}"
    scales = {"xAxisScaleType": "linear", "scaleType": "linear", "range": {}, "yAxisKey": "metric"}
    x_axis = {"xAxisKey": "step", "selectedXAxisMetricKey": "", "useGlobalXaxisKey": True}
    smoothing = {"lineSmoothness": 0, "useGlobalLineSmoothing": True, "ignoreOutliers": False, "yAxisExpressions": []}
    metrics = {"metricKey": key, "selectedMetricKeys": [key], "displayName": f"{metric} by epoch"}
    return _chart("LINE", "curves", metric, **metrics, **scales, **x_axis, **smoothing)


def _scatter(parameter: str, objective: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": parameter, "type": "PARAM"}, "yaxis": {"key": objective, "type": "METRIC"}}
    return _chart("SCATTER", "scatters", parameter, displayName=parameter, **axes)
