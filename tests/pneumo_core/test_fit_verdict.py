"""The words about a fit say what the numbers show."""

import pytest

from pneumo_core.fit_verdict import fit_in_words


def _epoch(loss: float, accuracy: float, val_loss: float, val_accuracy: float) -> dict[str, float]:
    return {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}


def test_a_wide_gap_is_overfitting() -> None:
    """Better by more than 0.05 on the images it was trained on."""
    text = fit_in_words([_epoch(0.1, 0.98, 0.3, 0.90)], 0)
    assert text.startswith("overfitting: ")
    assert "0.980" in text
    assert "0.900" in text
    assert "+0.080" in text


def test_a_training_that_never_learnt_its_own_images_is_underfitting() -> None:
    """Accuracy hardly over that of calling everything pneumonia."""
    assert fit_in_words([_epoch(0.5, 0.75, 0.5, 0.76)] * 3, 0).startswith("underfitting: ")


def test_a_loss_that_still_fell_at_the_end_is_underfitting() -> None:
    """The last epoch was the best, and better than the one before by more than 2 %."""
    history = [_epoch(0.4, 0.85, 0.40, 0.85), _epoch(0.3, 0.88, 0.33, 0.88)]
    text = fit_in_words(history, 1)
    assert text.startswith("underfitting: ")
    assert "from 0.400 to 0.330" in text


def test_a_good_fit_is_neither_even_if_epochs_after_the_best_overfit() -> None:
    """They were not kept; the sentence says so, with the losses."""
    history = [_epoch(0.3, 0.90, 0.30, 0.90), _epoch(0.2, 0.93, 0.25, 0.91), _epoch(0.1, 0.97, 0.35, 0.90)]
    text = fit_in_words(history, 1)
    assert text.startswith("no sign of over- or underfitting: ")
    assert "1 more epoch did overfit (validation loss 0.250 to 0.350" in text
    assert "did overfit" not in fit_in_words(history[:2], 1)


def test_an_epoch_that_is_not_there_is_refused() -> None:
    """Better than words about another one."""
    with pytest.raises(ValueError, match="index into 1 epochs"):
        fit_in_words([_epoch(0.3, 0.9, 0.3, 0.9)], 1)
