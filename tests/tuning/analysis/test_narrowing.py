"""A narrowed space is one that loads, keeps the baseline within reach, and says why it is as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made import record_of, sampled
from synthetic import synthetic_space
from test_advice import SPACE, _importances

from pneumo_core.errors import StudyError
from search_spaces import SearchSpace, builtin_spaces, load_space
from tuning.analysis.importance import Importances
from tuning.analysis.narrowing import narrowed
from tuning.spaces import open_space

NONE = Importances((), 0, "", "too few.", ())
ALL = tuple(parameter.name for parameter in SPACE.parameters)


def _peak(values: Mapping[str, Any]) -> float:
    """Best at a learning rate of 4e-4, without class weights, with as many units as there are."""
    rate = math.log10(values["learning_rate"] / 4e-4)
    return 0.9 - 3 * rate**2 + 0.002 * values["head_units"] - 2 * (values["class_weighting"] == "sqrt")


def _read(text: str, folder: Path) -> SearchSpace:
    (folder / "narrow.yaml").write_text(text)
    return open_space(str(folder / "narrow.yaml"))


def _by_name(space: SearchSpace) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in space.parameters}


def test_narrows_around_the_leaders(tmp_path: Path) -> None:
    """Ranges are cut with a margin, lists go on at an edge, choices that no leader has go, the baseline stays."""
    record = sampled(SPACE, _peak, 400)
    found = narrowed(record, _importances(record, ALL))
    space = _by_name(found.space)
    assert 1e-4 < space["learning_rate"].min < 4e-4
    assert 1e-3 <= space["learning_rate"].max < 1e-2  # 1e-3 is the baseline's
    assert space["head_units"].values[-1] == 1024
    assert space["class_weighting"].values == ("none", "balanced")
    assert found.space.name == "synthetic-narrow"
    assert dict(found.space.start_with[0]) == SPACE.complete(SPACE.start_with[0])
    assert found.space.start_with[1] == {k: v for k, v in record.ranked()[0].params.items() if v is not None}
    assert _read(found.text(), tmp_path) == found.space
    assert "# no leader has sqrt (tried" in found.text()
    assert "at the high end; 1024 is new" in found.text()


def test_dead_parameters_are_fixed_unless_one_that_matters_depends_on_them(tmp_path: Path) -> None:
    """As the baseline has them; a parent's value decides whether its child can do anything at all."""
    record = sampled(SPACE, _peak, 150)
    found = narrowed(record, _importances(record, ("learning_rate", "backbone_lr_fraction")))
    assert found.space.fixed["class_weighting"] == "balanced"
    assert found.space.fixed["dropout"] == 0.5
    assert set(_by_name(found.space)) == {"learning_rate", "backbone_lr_fraction", "unfrozen_layers"}
    alone = narrowed(record, _importances(record, ("learning_rate",)))
    assert alone.space.fixed["unfrozen_layers"] == 0
    assert "backbone_lr_fraction" not in alone.space.fixed  # where it can do nothing
    assert _read(alone.text(), tmp_path) == alone.space


def test_a_condition_follows_its_narrowed_parent() -> None:
    """A value that is new at a list's end counts as its neighbour; one that is gone leaves the condition."""
    record = sampled(SPACE, lambda values: float(values["unfrozen_layers"]), 100)
    space = _by_name(narrowed(record, _importances(record, ALL)).space)
    assert space["unfrozen_layers"].values == (0, 1, 2, 3)  # 0 is the baseline's
    assert space["backbone_lr_fraction"].when == {"unfrozen_layers": (1, 2, 3)}


def test_narrowing_again_goes_on(tmp_path: Path) -> None:
    """The same study gives the same file; a study of the narrowed space narrows it further, under the next name."""
    record = sampled(SPACE, _peak, 100)
    first = narrowed(record, NONE)
    assert first.text() == narrowed(record, NONE).text()
    assert "is not known: too few." in first.space.description
    again = narrowed(sampled(first.space, _peak, 60), NONE)
    assert again.space.name == "synthetic-narrow2"
    assert _read(again.text(), tmp_path) == again.space


@pytest.mark.parametrize("name", ["demo", "enhanced", "vgg16"])
def test_shipped_spaces_can_be_narrowed(name: str, tmp_path: Path) -> None:
    """Whatever they hold, the text is read back as the same space."""
    space = load_space(builtin_spaces()[name])
    record = sampled(space, lambda values: -abs(values.get("dropout", 0.3) - 0.3), 40)
    found = narrowed(record, NONE)
    assert _read(found.text(), tmp_path) == found.space


def test_refuses_too_few_leaders() -> None:
    """Two trials are no ground for narrowing anything."""
    with pytest.raises(StudyError, match="at least 3 completed trials"):
        narrowed(sampled(SPACE, _peak, 2), NONE)
    with pytest.raises(StudyError, match="got 0"):
        narrowed(record_of(synthetic_space(), []), NONE)


def test_a_choice_that_few_leaders_may_lack_by_chance_stays() -> None:
    """Three leaders without one of three values say nothing against it."""
    record = sampled(SPACE, _peak, 100)
    few = _by_name(narrowed(record, _importances(record, ALL), top=3).space)
    assert set(few["class_weighting"].values) == {"none", "balanced", "sqrt"}


def test_equal_scores_have_no_leaders() -> None:
    """The first trials of a study are not its best, and chance is called chance."""
    with pytest.raises(StudyError, match="have the same score"):
        narrowed(sampled(SPACE, lambda values: 0.9, 30), NONE)
    record = sampled(SPACE, _peak, 30)
    assert "by chance" in narrowed(record, _importances(record, ())).space.description
