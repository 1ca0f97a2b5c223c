"""The part of the scores that is shown, and small things that all charts share."""

from __future__ import annotations

import numpy as np

from tuning.analysis.charts.style import LEADER_COLOURS, SCORE_COLOURS, metric_label, score_range, sideways


def test_a_few_hopeless_scores_do_not_stretch_the_axis() -> None:
    """One at 0.5 would press the others, which differ by 0.02, into a line."""
    scores = [0.5, 0.96, 0.97, 0.975, 0.98]
    shown = score_range(scores, "max")
    assert shown.clipped
    assert shown.low > 0.9
    assert shown.is_outside(scores).tolist() == [True, False, False, False, False]
    assert shown.inside([0.5])[0] == shown.low


def test_scores_on_the_better_side_are_never_left_out() -> None:
    """However far the best one is from the others, in both directions."""
    assert not score_range([0.5, 0.5, 0.5, 0.51, 0.99], "max").is_outside([0.99]).any()
    assert not score_range([0.9, 0.9, 0.9, 0.89, 0.01], "min").is_outside([0.01]).any()
    assert score_range([0.2, 0.21, 0.22, 0.23, 9.0], "min").is_outside([9.0]).all()


def test_a_range_always_has_an_extent() -> None:
    """One score, equal scores, none at all, and those that are no numbers."""
    for scores in ([0.9], [0.9, 0.9], [0.0], [], [float("nan")]):
        shown = score_range(scores, "max")
        assert shown.low < shown.high


def test_trials_are_spread_evenly_and_always_alike() -> None:
    """By their number alone, so a chart of the same study looks the same tomorrow."""
    places = np.sort([sideways(number) for number in range(1, 201)])
    assert -0.5 <= places[0] <= places[-1] <= 0.5
    assert np.diff(places).max() < 0.02


def test_colours_of_lines_read_on_white_and_on_dark_ground() -> None:
    """A contrast of 2.9 or more with both grounds of the page (WCAG asks for 3); scores' better end, of 1.9."""
    for ground in ("#ffffff", "#1c2228"):
        assert min(_contrast(_rgb(colour), _rgb(ground)) for colour in LEADER_COLOURS) >= 2.9
        assert _contrast(SCORE_COLOURS(1.0)[:3], _rgb(ground)) >= 1.9


def test_metrics_have_their_names_in_words() -> None:
    """As reports have them."""
    assert metric_label("val_roc_auc") == "validation ROC AUC"
    assert metric_label("val_sensitivity") == "validation sensitivity"


def _rgb(text: str) -> tuple[float, ...]:
    return tuple(int(text[place : place + 2], 16) / 255 for place in (1, 3, 5))


def _contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """After https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: tuple[float, ...]) -> float:
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
