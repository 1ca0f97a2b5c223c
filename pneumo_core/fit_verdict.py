"""Over- and underfitting, in words, from the metrics of a training's epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDE_GAP = 0.05
"""Training accuracy less validation accuracy, over which a model knows its training images better than others."""

LOW_ACCURACY = 0.8
"""Training accuracy under which a model has not even learnt its training images; 74 % of Kaggle's are pneumonia."""

RISE, FALL = 0.10, 0.02
"""Shares of a validation loss: of a rise after the best epoch, and of a fall in the last one, that are worth a word."""


def fit_in_words(history: Sequence[Mapping[str, float]], best_epoch: int) -> str:
    """Says whether a training over- or underfitted, with the numbers it says so by.

    The gap is one of accuracies. Losses cannot be compared: the training loss is one of training mode, with dropout,
    class weights and label smoothing, the validation loss is without. Training accuracy is of training mode too, so a
    gap is rather larger than it looks.

    Args:
        history: metrics of each epoch: loss, accuracy, val_loss, val_accuracy.
        best_epoch: index of the epoch whose weights were kept.

    Returns:
        One line that begins with `overfitting`, `underfitting` or `no sign of over- or underfitting`.

    Raises:
        ValueError: if there is no such epoch.
    """
    if not 0 <= best_epoch < len(history):
        raise ValueError(f"best_epoch: expected an index into {len(history)} epochs, got {best_epoch}.")
    best, last = history[best_epoch], history[-1]
    gap = best["accuracy"] - best["val_accuracy"]
    accuracies = (
        f"accuracy in epoch {best_epoch + 1} is {best['accuracy']:.3f} in training (with dropout) and "
        f"{best['val_accuracy']:.3f} in validation, a gap of {gap:+.3f}"
    )
    later = _later(best, last, len(history) - 1 - best_epoch)
    if gap > WIDE_GAP:
        return f"overfitting: {accuracies}{later}"
    if best["accuracy"] < LOW_ACCURACY:
        return f"underfitting: {accuracies}; training accuracy stays under {LOW_ACCURACY:g}{later}"
    if best_epoch == len(history) - 1 and len(history) > 1:
        before = history[-2]["val_loss"]
        if last["val_loss"] < (1 - FALL) * before:
            return (
                f"underfitting: {accuracies}; validation loss still fell when training ended, from {before:.3f} to "
                f"{last['val_loss']:.3f} in the last epoch"
            )
    return f"no sign of over- or underfitting: {accuracies}{later}"


def _later(best: Mapping[str, float], last: Mapping[str, float], epochs: int) -> str:
    """What would have come of the epochs after the best, whose weights were not kept."""
    if last["val_loss"] <= (1 + RISE) * best["val_loss"] or last["loss"] >= best["loss"]:
        return ""
    return (
        f"; {epochs} more epoch{'s' if epochs > 1 else ''} did overfit (validation loss {best['val_loss']:.3f} to "
        f"{last['val_loss']:.3f}, training loss {best['loss']:.3f} to {last['loss']:.3f}), and were not kept"
    )
