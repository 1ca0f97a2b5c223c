"""What a study will cost, from one timed batch of each kind of work: nothing is trained, nothing is kept."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumo_core.activation_store import ActivationKey, entry_bytes
from pneumo_core.activations import compiled
from pneumo_core.backbone import Cut, build_prefixes
from pneumo_core.config import TrialConfig
from pneumo_core.program import program_key
from search_spaces import Confirmation, SearchSpace
from tuning.confirmation import confirming_folds
from tuning.rehearsal import FORESEEN_TRIALS, foreseen, trial_count
from tuning.trial import memory_errors
from tuning.trial_data import Pass, TrialData, passes_of

_TIMED_IMAGES = 64
_ARTIFACT_BYTES = 600_000  # plots, scores, history, report and MLflow's rows, next to the trained weights
_BETWEEN_TRIALS_S = 0.3


@dataclasses.dataclass(frozen=True)
class PassCost:
    """Images through frozen layers, once.

    Attributes:
        image_size: side of the images, in px.
        preprocessing: of the images, as in `pad, gaussian, clahe`.
        augmentation: empty for the images as they are; else distortion, seed and number of the variant.
        cuts: what is kept: `block5 average`, `block4`, ...
        bytes: that this takes on disk.
        cached: whether it is there already.
        duration_s: of the pass; 0 if cached.
    """

    image_size: int
    preprocessing: str
    augmentation: str
    cuts: list[str]
    bytes: int
    cached: bool
    duration_s: float


def study_cost(
    space: SearchSpace,
    data: TrialData,
    cache: Path,
    folds: int = 1,
    confirm: Confirmation | None = None,
    workers: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Estimates time and disk of a study from its foreseeable trials.

    Args:
        space: what is searched.
        data: the images.
        cache: folder of activations, which need not exist.
        folds: that a trial is trained in.
        confirm: how the leaders are confirmed; None for not at all.
        workers: that train side by side, each as fast as this process with its number of threads.
        clock: in seconds.

    Returns:
        `passes` (see `PassCost`), `trial_s` (median, min and max over the foreseeable trials, if none stops early),
        `study_s` (with the passes and the confirmation), `workers`, `confirm` (None; or `trainings`, `folds` of each,
        and `s` for all of them), `live_augmentation` (None; or seconds that it takes of a trial, and those of one pass
        for a kept variant), `disk` (bytes of activations to come, of each trial, free).
    """
    # Hyperband's first trials are its shortest, so all of its trials are looked at.
    configs = foreseen(space, space.trials if space.algorithm == "hyperband" else FORESEEN_TRIALS)
    timer = _Timer(data, clock)
    confirm = confirm or Confirmation(top=0)
    sized = _at_size(configs, confirm)
    passes = _passes([*configs, *sized], data, timer)
    trials = [timer.trial_s(config, folds) for config in configs]
    count = trial_count(space)
    confirming = _confirming_cost(sized or configs, confirm, folds, timer, count, workers)
    missing = sum(cost.bytes for cost in passes if not cost.cached)
    return {
        "passes": [dataclasses.asdict(cost) for cost in passes],
        "trial_s": {"median": statistics.median(trials), "min": min(trials), "max": max(trials)},
        "study_s": sum(cost.duration_s for cost in passes)
        + statistics.mean(trials) * _rounds(count, workers)
        + (confirming["s"] if confirming else 0.0),
        "workers": workers,
        "confirm": confirming,
        "live_augmentation": _live_cost(configs, data, timer, folds),
        "disk": {
            "activations": missing,
            "trial": max(timer.weight_bytes(config) for config in configs) + _ARTIFACT_BYTES,
            "free": shutil.disk_usage(next(path for path in (cache, *cache.parents) if path.exists())).free,
        },
    }


def _passes(configs: Sequence[TrialConfig], data: TrialData, timer: _Timer) -> list[PassCost]:
    """Everything the cache is asked for, joined to passes: what is there already, and what one pass brings."""
    groups: dict[tuple[object, ...], dict[ActivationKey, tuple[Pass, int]]] = {}
    for wanted in (wanted for config in configs for wanted in passes_of(config)):
        key, shape = data.entry(wanted)
        group = (*wanted.identity, data.is_cached(wanted))
        groups.setdefault(group, {})[key] = (wanted, entry_bytes(key, shape))
    return [
        _pass_cost(list(entries.values()), data, timer, cached=bool(group[-1])) for group, entries in groups.items()
    ]


def _pass_cost(entries: list[tuple[Pass, int]], data: TrialData, timer: _Timer, *, cached: bool) -> PassCost:
    first, cuts = entries[0][0], [Cut.of(wanted.config) for wanted, _ in entries]
    return PassCost(
        image_size=first.config.image_size,
        preprocessing=str(first.config.preprocessing),
        augmentation=first.augmentation,
        cuts=[f"block{cut.blocks} average" if cut.pooled else f"block{cut.blocks}" for cut in sorted(cuts)],
        bytes=sum(size for _, size in entries),
        cached=cached,
        duration_s=0.0 if cached else len(data.pool) * timer.image_s(first.config, cuts),
    )


def _at_size(configs: Sequence[TrialConfig], confirm: Confirmation) -> list[TrialConfig]:
    """The foreseeable trials as they would be confirmed, if that is done at another image size."""
    size = confirm.image_size
    return [dataclasses.replace(config, image_size=size) for config in configs] if confirm.top and size else []


def _confirming_cost(
    configs: Sequence[TrialConfig], confirm: Confirmation, folds: int, timer: _Timer, trials: int, workers: int
) -> dict[str, Any] | None:
    """As if the leaders took as long as the foreseeable trials do on average."""
    if not confirm.top:
        return None
    folds, trainings = confirming_folds(confirm, folds), min(confirm.top + confirm.baseline, trials) * confirm.seeds
    each_s = statistics.mean(timer.trial_s(config, folds) for config in configs)
    return {"trainings": trainings, "folds": folds, "s": _rounds(trainings, workers) * each_s}


def _rounds(trainings: int, workers: int) -> int:
    """How many trainings one of some workers makes, if all take the same time."""
    return -(-trainings // max(workers, 1))


def _live_cost(configs: Sequence[TrialConfig], data: TrialData, timer: _Timer, folds: int) -> dict[str, float] | None:
    live = [config for config in configs if config.augments_live]
    if not live:
        return None
    image_s = timer.image_s(live[0], [Cut.of(live[0])])
    return {"trial_s": image_s * timer.images(folds)[0] * live[0].epochs_to_run, "variant_s": image_s * len(data.pool)}


class _Timer:
    """Times one batch of each kind, the second of two, so that compilation is not counted."""

    def __init__(self, data: TrialData, clock: Callable[[], float]) -> None:
        self._data, self._clock = data, clock
        self._image_s: dict[tuple[object, ...], float] = {}
        self._steps: dict[tuple[Any, ...], tuple[float, float, int]] = {}

    def image_s(self, config: TrialConfig, cuts: Sequence[Cut]) -> float:
        """Seconds for an image through the frozen layers up to the deepest cut."""
        deepest = max(cuts)
        key = (*Pass(config).identity, deepest.blocks)
        if key not in self._image_s:
            prefixes = build_prefixes(config, self._data.backbone_weights(config), [deepest])
            prefix = compiled(prefixes, _TIMED_IMAGES)
            pixels = np.zeros((_TIMED_IMAGES, config.image_size, config.image_size, 1), np.float32)
            with memory_errors(config):
                self._image_s[key] = self._timed(lambda: prefix(pixels).numpy()) / _TIMED_IMAGES
        return self._image_s[key]

    def images(self, folds: int) -> tuple[int, int]:
        """How many images an epoch trains on, over all folds, and how many it scores."""
        split = self._data.split(folds)
        return sum(len(split.training(fold)) for fold in range(folds)), len(split.scored)

    def trial_s(self, config: TrialConfig, folds: int) -> float:
        """Seconds for a training that does not stop early, activations at hand."""
        trained, scored = self.images(folds)
        with memory_errors(config):
            step_s, scored_s, _ = self._step(config)
        epoch_s = trained / config.batch_size * step_s + scored * scored_s
        if config.augments_live:
            epoch_s += trained * self.image_s(config, [Cut.of(config)])
        return epoch_s * config.epochs_to_run + _BETWEEN_TRIALS_S

    def weight_bytes(self, config: TrialConfig) -> int:
        """Size of what the configuration trains."""
        return self._step(config)[2]

    def _step(self, config: TrialConfig) -> tuple[float, float, int]:
        """Seconds for a training step and for scoring an image; bytes of trained weights."""
        shape = Cut.of(config).shape(config.image_size)
        dtype = np.dtype("float32" if config.augments_live else config.activation_precision)
        key = (*program_key(config, shape, dtype), config.batch_size)
        if key not in self._steps:
            program = self._data.programs.program(config, self._data.backbone_weights(config), shape, dtype)
            steps = 1 if config.unfrozen_layers else 16
            rows = steps * config.batch_size
            inputs, labels = np.ones((rows, *shape), dtype), np.arange(rows) % 2
            keys = np.zeros((steps, program.dropout_layers, 2), np.int32)
            step_s = self._timed(lambda: program.run(inputs, labels, np.ones(rows), keys, config.batch_size)) / steps
            scored = inputs[:_TIMED_IMAGES]
            scored_s = self._timed(lambda: program.predict(scored)) / len(scored)
            size = sum(4 * int(np.prod(variable.shape)) for variable in program.trainee.trainable_variables)
            self._steps[key] = (step_s, scored_s, size)
        return self._steps[key]

    def _timed(self, work: Callable[[], Any]) -> float:
        work()
        begun = self._clock()
        work()
        return self._clock() - begun
