"""Studies of any number of trials that nobody trained: a journal whose scores are a function of the configuration."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumo_core.config import TrialConfig
from search_spaces import ChoiceParameter, FloatParameter, Parameter, SearchSpace, load_space
from tuning.events import (
    AttemptStarted,
    EpochEnded,
    Event,
    RunLinked,
    StudyEnded,
    StudyStarted,
    TrialCompleted,
    TrialFailed,
    TrialStarted,
)
from tuning.journal import FORMAT_VERSION
from tuning.store import Store, StudyFolder

Surface = Callable[[Mapping[str, Any]], float]
"""The score of a configuration, by the values of its active parameters."""

SPACE = """\
name: synthetic
trials: 100
epochs: 3
confirm: {top: 0}
fixed: {weights: random, image_size: 32}
parameters:
  head_units: {type: choice, values: [64, 128, 256, 512], ordered: true}
  dropout: {type: float, min: 0.0, max: 0.6, step: 0.1}
  unfrozen_layers: {type: choice, values: [0, 1, 2], ordered: true}
  backbone_lr_fraction: {type: float, min: 0.01, max: 0.1, log: true, when: {unfrozen_layers: [1, 2]}}
  learning_rate: {type: float, min: 1.0e-4, max: 1.0e-2, log: true}
  class_weighting: {type: choice, values: [none, balanced, sqrt]}
start_with:
  - {head_units: 512, dropout: 0.5, unfrozen_layers: 0, learning_rate: 1.0e-3, class_weighting: balanced}
"""


def hill(values: Mapping[str, Any]) -> float:
    """Mostly the learning rate (best at 5e-4), then dropout (best at 0), a little the head; the rest does nothing."""
    rate = math.log10(values["learning_rate"] / 5e-4)
    return 0.97 - 0.06 * rate**2 - 0.05 * values["dropout"] ** 2 + 0.002 * math.log2(values["head_units"] / 64)


def synthetic_space(text: str = SPACE) -> SearchSpace:
    """Reads a space; that of `SPACE` if no other is given."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "space.yaml").write_text(text)
        return load_space(path)


def write_study(
    store: Store,
    name: str = "made",
    *,
    trials: int = 100,
    surface: Surface = hill,
    space: SearchSpace | None = None,
    noise: float = 0.002,
    failed: float = 0.02,
    pruned: float = 0.05,
    ended: bool = True,
    seed: int = 0,
) -> StudyFolder:
    """Writes a study's journal, its trials drawn at random, the known configurations first.

    Args:
        store: where; made if need be.
        name: of the study.
        trials: how many, all over.
        surface: scores them.
        space: searched; that of `SPACE` if None.
        noise: standard deviation that is added to scores.
        failed: share of the trials that fail.
        pruned: share of those that end early.
        ended: whether the study is over; else its process seems to have died.
        seed: of all draws.

    Side effects:
        Writes the study's folder; no run of it is in any MLflow.
    """
    space = space or synthetic_space()
    rng = np.random.default_rng(seed)
    folder = StudyFolder(store.studies / name)
    folder.root.mkdir(parents=True)
    clock = _Clock()
    known = [dict(space.complete(entry)) for entry in space.start_with]
    with folder.journal.open("w") as file:

        def append(event: Event) -> None:
            head = {"v": FORMAT_VERSION, "at": clock.at, "event": event.kind}
            file.write(json.dumps(head | dataclasses.asdict(event), separators=(",", ":")) + "\n")

        append(_started(store, space, name, trials))
        append(RunLinked("", f"{0:032x}"))
        for number in range(1, trials + 1):
            values = known.pop(0) if known else _draw(space, rng)
            for event in _trial(space, number, values, surface(values) + noise * rng.normal(), failed, pruned, rng):
                clock.at = round(clock.at + 0.25, 3)
                append(event)
        if ended:
            append(StudyEnded("finished", "", clock.at - clock.begun))
    return folder


@dataclasses.dataclass
class _Clock:
    begun: float = 1_760_000_000.0
    at: float = 1_760_000_000.0


def _started(store: Store, space: SearchSpace, name: str, trials: int) -> StudyStarted:
    return StudyStarted(
        study=name,
        space=space.name,
        space_digest=space.digest(),
        definition=space.model_dump(mode="json"),
        objective=space.objective,
        direction=space.direction,
        algorithm=space.algorithm,
        trials=trials,
        seed=space.seed,
        parameters=[parameter.name for parameter in space.parameters],
        data="/somewhere/chest_xray",
        data_root="/somewhere/chest_xray",
        data_digest="d" * 64,
        split_digest="s" * 64,
        class_names=["NORMAL", "PNEUMONIA"],
        images={"training": 3654, "validation": 914},
        commit="c" * 40,
        versions={"tensorflow": "2.21.0"},
        threads=2,
        tracking_uri=f"sqlite:///{store.database}",
        study_id=f"id-of-{name}",
        space_source=space.name,
        store=str(store.root),
    )


def _trial(
    space: SearchSpace, number: int, values: dict[str, Any], score: float, failed: float, pruned: float, rng: Any
) -> list[Event]:
    trial, fate = f"t{number:04d}", rng.random()
    fate = 1.0 if number == 1 else fate  # the known configuration completes
    names = [parameter.name for parameter in space.parameters]
    base = TrialConfig.from_mapping({"seed": space.seed, **space.fixed})
    config = TrialConfig.from_mapping({**base.to_mapping(), **values}).to_mapping()
    events: list[Event] = [
        TrialStarted(trial, number, {name: values.get(name) for name in names}, config),
        RunLinked(trial, f"{number:032x}"),
        AttemptStarted(trial, 1),
    ]
    epochs = int(config["epochs"])
    loss = 1.6 - score
    shown = 1 if fate < failed + pruned else epochs
    for epoch in range(shown):
        val_loss = loss * (1.0 + 0.8 * 0.5**epoch)
        events.append(EpochEnded(trial, epoch, _epoch(val_loss, score - 0.1 * 0.5**epoch)))
    if fate < failed:
        events.append(TrialFailed(trial, "loss became nan in epoch 2", 1.5))
        return events
    is_pruned = fate < failed + pruned
    score = score - 0.05 if is_pruned else score
    metrics = {"val_roc_auc": score, "val_sensitivity": 0.95, "val_specificity": score - 0.1, "val_brier": 1 - score}
    ends: dict[str, list[float | None]] = {key: [value - 0.01, value + 0.01] for key, value in metrics.items()}
    events.append(
        TrialCompleted(trial, score, metrics, shown - 1, "w" * 64, 2.0 + number % 7, pruned=is_pruned, intervals=ends)
    )
    return events


def _epoch(val_loss: float, auc: float) -> dict[str, float]:
    return {
        "loss": val_loss * 0.9,
        "accuracy": 0.9,
        "val_loss": val_loss,
        "val_accuracy": 0.9,
        "val_roc_auc": auc,
        "learning_rate": 1e-3,
        "duration_s": 0.5,
    }


def _draw(space: SearchSpace, rng: np.random.Generator) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.holds(values):
            values[parameter.name] = _value(parameter, rng)
    return values


def _value(parameter: Parameter, rng: np.random.Generator) -> Any:
    domain = None if getattr(parameter, "log", False) else parameter.domain()
    if isinstance(parameter, ChoiceParameter) or domain is not None:
        assert domain is not None
        return domain[int(rng.integers(len(domain)))]
    low, high = float(parameter.min), float(parameter.max)
    drawn = math.exp(rng.uniform(math.log(low), math.log(high))) if parameter.log else rng.uniform(low, high)
    return drawn if isinstance(parameter, FloatParameter) else parameter.clip(round(drawn))
