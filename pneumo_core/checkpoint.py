"""A training's state as a file: whole or not there, and never taken for that of another configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np

from pneumo_core.config import TrialConfig
from pneumo_core.durability import flush
from pneumo_core.errors import WeightsError
from pneumo_core.model import read_weights, write_weights
from pneumo_core.schedule import TrainingControl
from pneumo_core.training import TrainingState

_PROGRAM, _BEST = "program/", "best/"


def write_checkpoint(state: TrainingState, path: Path) -> None:
    """Writes a state, to be read by `read_checkpoint`.

    Raises:
        OSError: if the disk refuses; what was there before stays.

    Side effects:
        Creates or replaces the file, and its folder.
    """
    control = {name: value for name, value in vars(state.control).items() if name != "config"}
    plain = {"control": control, "history": state.history, "identity": _identity(state.control.config)}
    arrays = {
        **{_PROGRAM + name: array for name, array in state.program.items()},
        **{_BEST + name: array for name, array in state.best_weights.items()},
        "logits": state.best_logits,
        "plain": np.frombuffer(json.dumps(plain).encode(), np.uint8),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz")
    try:
        write_weights(arrays, unfinished)
        flush(unfinished)
        unfinished.replace(path)
        flush(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def read_checkpoint(path: Path, config: TrialConfig) -> TrainingState | None:
    """Reads the state of a training of a configuration.

    Args:
        path: of the file.
        config: whose training is to go on; `stop_after` may have been another.

    Returns:
        None if there is no such file, or it is damaged, or of another configuration: the training begins anew then,
        with the same result.
    """
    try:
        arrays = read_weights(path)
        plain = json.loads(arrays["plain"].tobytes())
        if plain["identity"] != _identity(config):
            return None
        control = TrainingControl(config)
        for name, value in plain["control"].items():
            setattr(control, name, value)
        return TrainingState(
            control, plain["history"], _under(_PROGRAM, arrays), _under(_BEST, arrays), arrays["logits"]
        )
    except (WeightsError, ValueError, KeyError):
        return None


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _identity(config: TrialConfig) -> str:
    return dataclasses.replace(config, stop_after=0).digest()
