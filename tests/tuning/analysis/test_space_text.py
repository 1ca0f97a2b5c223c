"""A space written as text is read back as it was, whatever its values look like."""

from __future__ import annotations

from pathlib import Path

from synthetic import synthetic_space

from search_spaces import SearchSpace, load_space
from tuning.analysis.space_text import space_text

ODD = """\
name: odd
description: "A colon: a # sign, and 'quotes'."
objective: val_loss
direction: min
algorithm: random
confirm: {top: 2, seeds: 1, folds: 3, image_size: 64}
fixed: {weights: "a folder/with spaces #1.h5", optimizer: 'yes', weight_decay: 1.0e-7, batch_normalization: true}
parameters:
  epochs: {type: int, min: 1, max: 100, log: true, default: 10}
  pooling: {type: choice, values: ['true', '1', 'off', flatten], default: off}
  dropout: {type: float, min: 0.1, max: 0.5, step: 0.1, when: {pooling: [flatten, '1']}}
start_with:
  - {epochs: 5, pooling: '1', dropout: 0.3}
"""


def test_the_loader_reads_back_what_was_written(tmp_path: Path) -> None:
    """Words that look like numbers or flags stay words; small numbers stay numbers; nothing is lost."""
    space: SearchSpace = synthetic_space(ODD.replace("default: off", "default: 'off'"))
    (path := tmp_path / "odd.yaml").write_text(space_text(space, {"dropout": "why " * 60}, ["# a comment"]))
    assert load_space(path) == space
    assert max(map(len, path.read_text().splitlines())) <= 130
