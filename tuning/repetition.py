"""A training done once more: for as many epochs and at the learning rates that another one came to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pneumo_core.config import TrialConfig
from pneumo_core.model import standardize_features
from pneumo_core.program import TrainingProgram
from pneumo_core.training import refit
from tuning.trial_data import TrialData


def repeated(config: TrialConfig, data: TrialData, rates: Sequence[float], rows: np.ndarray) -> TrainingProgram:
    """Trains a configuration on some images; nothing is validated.

    Args:
        config: of the training that came to the learning rates.
        data: the images of its study.
        rates: of each epoch.
        rows: of the pool, whose images train.

    Returns:
        The program, whose trainee has been trained. The next training of the same shapes may take it over.

    Raises:
        DivergedError: if a loss is no longer a finite number.
    """
    examples = data.training_examples(config, rows)
    program = data.program(config, examples.feed)
    moments = data.moments(config, program, rows)
    if moments is not None:
        standardize_features(program.trainee, moments)
    refit(config, program, examples, rates)
    return program
