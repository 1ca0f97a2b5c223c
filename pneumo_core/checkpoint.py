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
from pneumo_core.training import FoldState, TrainingState

_PROGRAM, _BEST, _LOGITS = "program", "best", "logits"


def write_checkpoint(state: TrainingState, path: Path) -> None:
    """Writes a state, to be read by `read_checkpoint`.

    Raises:
        OSError: if the disk refuses; what was there before stays.

    Side effects:
        Creates or replaces the file, and its folder.
    """
    control = {name: value for name, value in vars(state.control).items() if name != "config"}
    identity = _identity(state.control.config)
    plain = {"control": control, "history": state.history, "identity": identity, "folds": len(state.folds)}
    arrays = {"plain": np.frombuffer(json.dumps(plain).encode(), np.uint8)}
    for number, fold in enumerate(state.folds):
        arrays |= {f"{number}/{_PROGRAM}/{name}": array for name, array in fold.program.items()}
        arrays |= {f"{number}/{_BEST}/{name}": array for name, array in fold.best_weights.items()}
        arrays[f"{number}/{_LOGITS}"] = fold.best_logits
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


def read_checkpoint(path: Path, config: TrialConfig, folds: int = 1) -> TrainingState | None:
    """Reads the state of a training of a configuration.

    Args:
        path: of the file.
        config: whose training is to go on; `stop_after` may have been another.
        folds: that it is trained in.

    Returns:
        None if there is no such file, or it is damaged, or of another configuration: the training begins anew then,
        with the same result.
    """
    try:
        arrays = read_weights(path)
        plain = json.loads(arrays["plain"].tobytes())
        if (plain["identity"], plain["folds"]) != (_identity(config), folds):
            return None
        control = TrainingControl(config)
        for name, value in plain["control"].items():
            setattr(control, name, value)
        return TrainingState(control, plain["history"], tuple(_fold(arrays, number) for number in range(folds)))
    except (WeightsError, ValueError, KeyError):
        return None


def _fold(arrays: dict[str, np.ndarray], number: int) -> FoldState:
    program, best = (_under(f"{number}/{part}/", arrays) for part in (_PROGRAM, _BEST))
    return FoldState(program, arrays[f"{number}/{_LOGITS}"], best)


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _identity(config: TrialConfig) -> str:
    return dataclasses.replace(config, stop_after=0).digest()
