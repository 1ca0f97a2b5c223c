"""Adam, RMSprop and SGD as TensorFlow's fused kernels: one pass over memory for each variable and step.

The formulas are those of `keras.optimizers`, which needs a pass for each of their terms; on a dense head that is most
of a step. A test compares the two. Rates are inputs, so that one compiled step serves every trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_BETA_1, _BETA_2, _RHO, _MOMENTUM, _EPSILON = 0.9, 0.999, 0.9, 0.9, 1e-7  # the defaults of keras.optimizers
_SLOTS = {"adam": 2, "rmsprop": 2, "sgd": 1}


class FusedOptimizer:
    """Updates some variables by their gradients.

    Args:
        name: `adam`, `rmsprop` or `sgd` (with momentum 0.9), as in `TrialConfig`.
        variables: Keras variables, always the same.
        decays: whether weight decay is applied at all.
    """

    def __init__(self, name: str, variables: Sequence[Any], *, decays: bool) -> None:
        self.variables, self._name, self._decays = list(variables), name, decays
        self._step = tf.Variable(0.0, trainable=False)
        self._slots = [
            [tf.Variable(tf.zeros(variable.shape), trainable=False) for _ in range(_SLOTS[name])]
            for variable in self.variables
        ]

    @property
    def state(self) -> list[tf.Variable]:
        """The number of steps, and all that is remembered of past gradients."""
        return [self._step, *(slot for slots in self._slots for slot in slots)]

    def reset(self) -> None:
        """Forgets all steps.

        Side effects:
            Sets the state to zero.
        """
        for variable in self.state:
            variable.assign(np.zeros(variable.shape, np.float32))

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor, weight_decay: tf.Tensor) -> None:
        """Makes one step.

        Args:
            gradients: one for each variable.
            learning_rate: ().
            weight_decay: (), decoupled, on kernels only: each loses this fraction of itself times the learning rate.

        Side effects:
            Changes variables and state.
        """
        self._step.assign_add(1.0)
        for variable, slots, gradient in zip(self.variables, self._slots, gradients, strict=True):
            if self._decays and variable.name == "kernel":
                variable.value.assign_sub(variable.value * (weight_decay * learning_rate))
            self._update(variable.value.handle, [slot.handle for slot in slots], gradient, learning_rate)

    def _update(self, variable: Any, slots: list[Any], gradient: tf.Tensor, learning_rate: tf.Tensor) -> None:
        if self._name == "adam":
            tf.raw_ops.ResourceApplyAdam(
                var=variable,
                m=slots[0],
                v=slots[1],
                beta1_power=tf.pow(_BETA_1, self._step),
                beta2_power=tf.pow(_BETA_2, self._step),
                lr=learning_rate,
                beta1=_BETA_1,
                beta2=_BETA_2,
                epsilon=_EPSILON,
                grad=gradient,
            )
        elif self._name == "rmsprop":
            tf.raw_ops.ResourceApplyRMSProp(
                var=variable,
                ms=slots[0],
                mom=slots[1],
                lr=learning_rate,
                rho=_RHO,
                momentum=0.0,
                epsilon=_EPSILON,
                grad=gradient,
            )
        else:
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable, accum=slots[0], lr=learning_rate, grad=gradient, momentum=_MOMENTUM
            )
