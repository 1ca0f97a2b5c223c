"""The panel says how many cases of each kind there are, and pairs every image with its own heat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from pneumo_core.explain import sample_cases, sampled_paths
from pneumo_core.explain_plots import plot_grad_cam
from pneumo_core.plots import save

NAMES = ("NORMAL", "PNEUMONIA")
SCORES = pd.DataFrame(
    {
        "path": [f"val/X/cost_$5_{number}.jpeg" for number in range(9)],
        "group": "g",
        "subtype": ["bacteria"] * 6 + ["normal"] * 3,
        "label": [1] * 6 + [0] * 3,
        "probability": [0.9, 0.8, 0.7, 0.6, 0.2, 0.1, 0.3, 0.2, 0.1],
    }
)


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def _panel(per_kind: int = 3) -> tuple[Figure, np.ndarray, np.ndarray]:
    cases = sample_cases(SCORES, 0.5, per_kind)
    count = len(sampled_paths(cases))
    pixels = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 6, 6, 1), np.uint8)
    heat = np.linspace(0, 1, count, dtype=np.float32).reshape(-1, 1, 1) * np.ones((1, 6, 6), np.float32)
    return plot_grad_cam(cases, pixels, heat, NAMES, 0.5), pixels, heat


def test_counts_probabilities_and_the_warning_can_be_read(tmp_path: Path) -> None:
    """What is shown of how many, and that it is no diagnosis; a kind without images says so."""
    figure, _, _ = _panel()
    texts = _texts(figure)
    for sentence in (
        "true positives: 4 of 6 PNEUMONIA, 3 shown",
        "false negatives: 2 of 6 PNEUMONIA, 2 shown",
        "false positives: 0 of 3 NORMAL",
        "none",
        "no region raises it",  # the one image without heat
        "probability 0.200",
    ):
        assert sentence in texts, sentence
    assert any("no diagnosis" in text for text in texts)
    save(figure, tmp_path / "panel.png")  # also file names that look like formulas
    assert (tmp_path / "panel.png").stat().st_size > 5000


def test_every_image_lies_beside_its_own_heat() -> None:
    """In the order of the sampled cases: image, image again, heat over it."""
    figure, pixels, heat = _panel()
    drawn = [np.asarray(image.get_array()) for axis in figure.get_axes() for image in axis.get_images()]
    assert len(drawn) == 3 * len(pixels)
    for number in range(len(pixels)):
        plain, again, over = drawn[3 * number : 3 * number + 3]
        np.testing.assert_array_equal(plain, pixels[number, :, :, 0])
        np.testing.assert_array_equal(again, plain)
        np.testing.assert_array_equal(over, heat[number])


def test_images_that_are_not_those_of_the_cases_are_refused() -> None:
    """One image more than sampled cases would put a heatmap on the wrong patient."""
    cases = sample_cases(SCORES, 0.5, 3)
    count = len(sampled_paths(cases))
    for number in (count - 1, count + 1):
        with pytest.raises(ValueError, match=f"of the {count} sampled cases"):
            plot_grad_cam(cases, np.zeros((number, 6, 6, 1)), np.zeros((number, 6, 6)), NAMES, 0.5)
