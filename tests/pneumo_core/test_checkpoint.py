"""A checkpoint is whole, of the right configuration, or as good as not there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pneumo_core.backbone import load_backbone_weights
from pneumo_core.checkpoint import read_checkpoint, write_checkpoint
from pneumo_core.config import TrialConfig
from pneumo_core.feeds import StoredFeed
from pneumo_core.program import ProgramShelf
from pneumo_core.training import Examples, Fold, Training, TrainingOutcome, TrainingState, train

CONFIG = TrialConfig(
    head_units=4, batch_size=8, epochs=4, feature_scaling="none", learning_rate_schedule="plateau", patience=3
)
RANDOM = load_backbone_weights("random", 0)
EXAMPLES = Examples(StoredFeed(np.random.default_rng(0).normal(size=(40, 512)).astype(np.float32)), np.arange(40) % 2)


def _training(config: TrialConfig, state: TrainingState | None = None) -> Training:
    return Training(
        config, ProgramShelf().program(config, RANDOM, (512,), "float32"), [Fold(EXAMPLES, EXAMPLES)], state
    )


def _state(config: TrialConfig, epochs: int) -> TrainingState:
    training = _training(config)
    for _ in range(epochs):
        training.run_epoch()
    return training.state


def _plain(outcome: TrainingOutcome) -> list[dict[str, float]]:
    return [{**row, "duration_s": 0.0} for row in outcome.history]


def test_a_training_goes_on_from_the_file_to_the_same_end(tmp_path: Path) -> None:
    """Weights, optimizer, schedule, early stopping and best epoch all come back, to the last bit."""
    write_checkpoint(_state(CONFIG, 2), tmp_path / "sub" / "t.npz")
    state = read_checkpoint(tmp_path / "sub" / "t.npz", CONFIG)
    assert state is not None
    assert state.control.epoch == 2
    resumed, whole = train(_training(CONFIG, state)), train(_training(CONFIG))
    assert _plain(resumed) == _plain(whole)
    np.testing.assert_array_equal(resumed.validation_logits, whole.validation_logits)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["t.npz"]


def test_a_longer_training_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    """A rung of Hyperband: only `stop_after` differs, and the end is that of one long training."""
    short = dataclasses.replace(CONFIG, stop_after=1)
    write_checkpoint(_state(short, 1), tmp_path / "t.npz")
    long = dataclasses.replace(CONFIG, stop_after=3)
    state = read_checkpoint(tmp_path / "t.npz", long)
    assert state is not None
    assert _plain(train(_training(long, state))) == _plain(train(_training(long)))


@pytest.mark.parametrize("cut", [0, 10, 1000, -1])
def test_a_damaged_file_counts_as_none(tmp_path: Path, cut: int) -> None:
    """Whatever a crash of the machine leaves behind, nothing wrong is gone on from."""
    path = tmp_path / "t.npz"
    write_checkpoint(_state(CONFIG, 1), path)
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    assert read_checkpoint(path, CONFIG) is None
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    assert read_checkpoint(path, CONFIG) is None
    assert read_checkpoint(tmp_path / "absent.npz", CONFIG) is None


def test_the_state_of_another_configuration_is_not_taken(tmp_path: Path) -> None:
    """The same shapes are not enough."""
    write_checkpoint(_state(CONFIG, 1), tmp_path / "t.npz")
    assert read_checkpoint(tmp_path / "t.npz", dataclasses.replace(CONFIG, dropout=0.1)) is None


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the new state, never the old one."""
    path = tmp_path / "t.npz"
    write_checkpoint(_state(CONFIG, 1), path)
    before = path.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(_state(CONFIG, 2), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]
