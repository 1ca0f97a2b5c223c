"""The spaces that come with the program: sound, complete, and true to the notebook they start from."""

from __future__ import annotations

from typing import Any

import pytest

from pneumo_core.config import FIELD_NAMES, TrialConfig, value_problem
from search_spaces import SearchSpace, builtin_spaces, find_space, load_space
from search_spaces.editor_schema import SCHEMA_FILE, render

CHECK = {name: lambda value, name=name: value_problem(name, value) for name in FIELD_NAMES}
NAMES = ("demo", "enhanced", "notebook", "vgg16")
SET_BY_OTHERS = {"seed", "stop_after"}  # by the study and by Hyperband

RECIPE = {
    "pixel_scaling": "unit",
    "image_size": 224,
    "weights": "imagenet",
    "pooling": "flatten",
    "feature_scaling": "none",
    "head_units": 512,
    "dropout": 0.5,
    "second_head_units": 0,
    "batch_normalization": False,
    "unfrozen_layers": 0,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "class_weighting": "balanced",
    "batch_size": 32,
    "epochs": 10,
    "patience": 5,
    "learning_rate_schedule": "none",
}


def shipped(name: str) -> SearchSpace:
    """A shipped space, checked against the settings that exist."""
    return load_space(builtin_spaces()[name], check=CHECK)


def first_trial(space: SearchSpace) -> dict[str, Any]:
    """All settings of the configuration that is tried first."""
    known = space.start_with[0] if space.start_with else {}
    return {**space.fixed, **space.complete(known)}


def test_names_of_the_shipped_spaces() -> None:
    """Scripts and the README rely on these names."""
    assert tuple(builtin_spaces()) == NAMES
    assert find_space("vgg16") == builtin_spaces()["vgg16"]


@pytest.mark.parametrize("name", NAMES)
def test_shipped_space_loads_under_its_own_name(name: str) -> None:
    """Every name is a setting that exists, every value legal, and the file is called what the space is."""
    assert shipped(name).name == name
    assert shipped(name).description


@pytest.mark.parametrize("name", NAMES)
def test_shipped_space_leaves_nothing_to_chance(name: str) -> None:
    """Every setting is fixed or searched, so a new default elsewhere cannot change what a space means."""
    space = shipped(name)
    searched = {parameter.name for parameter in space.parameters}
    assert searched | set(space.fixed) == set(FIELD_NAMES) - SET_BY_OTHERS


@pytest.mark.parametrize("name", NAMES)
def test_first_trial_is_written_out(name: str) -> None:
    """The first row of a study is a configuration that somebody chose, not one that defaults filled in."""
    space = shipped(name)
    for entry in space.start_with:
        assert space.complete(entry) == dict(entry)
        TrialConfig.from_mapping({**space.fixed, **entry})


@pytest.mark.parametrize("name", NAMES)
def test_every_trial_uses_the_same_images(name: str) -> None:
    """Another size, scaling, augmentation or backbone would need a pass of its own over all images."""
    searched = {parameter.name for parameter in shipped(name).parameters}
    assert not searched & {"image_size", "pixel_scaling", "augmentation", "backbone", "weights", "weights_seed"}


def test_vgg16_starts_with_the_recipe_without_augmentation() -> None:
    """Every study shows what tuning gained over the notebook."""
    first = first_trial(shipped("vgg16"))
    assert first.items() >= RECIPE.items()
    assert first["augmentation"] == "none"


def test_vgg16_searches_the_five_dimensions() -> None:
    """Head units, dropout, unfrozen layers, learning rate and class weighting, and few more."""
    searched = {parameter.name for parameter in shipped("vgg16").parameters}
    assert searched >= {"head_units", "dropout", "unfrozen_layers", "learning_rate", "class_weighting"}
    assert len(searched) <= 8


def test_notebook_is_the_recipe_with_live_augmentation() -> None:
    """Nothing is searched, and augmentation is as in the notebook."""
    space = shipped("notebook")
    assert (space.parameters, space.trials, space.size()) == ((), 1, 1)
    assert first_trial(space).items() >= {**RECIPE, "augmentation": "notebook"}.items()


def test_enhanced_starts_with_the_notebooks_enhanced_model() -> None:
    """Average pooling, batch normalisation, 512 and 256 units, block 5 unfrozen, 1e-4 on a plateau, 25 epochs."""
    expected = {
        "pooling": "average",
        "head_units": 512,
        "batch_normalization": True,
        "dropout": 0.5,
        "second_head_units": 256,
        "second_dropout": 0.3,
        "unfrozen_layers": 3,
        "backbone_lr_fraction": 1.0,
        "learning_rate": 1e-4,
        "learning_rate_schedule": "plateau",
        "patience": 5,
        "epochs": 25,
    }
    assert first_trial(shipped("enhanced")).items() >= expected.items()


def test_demo_is_small_and_needs_no_download() -> None:
    """The demo runs offline within minutes, and has the trials that it promises."""
    space = shipped("demo")
    first = first_trial(space)
    assert (first["weights"], first["image_size"], first["pooling"]) == ("random", 64, "average")
    assert space.trials >= 6
    assert first["epochs"] <= 6


def test_overrides_leave_a_sound_space() -> None:
    """`--set unfrozen_layers=0` takes the backbone's learning rate with it."""
    space = shipped("vgg16").with_fixed({"weights": "random", "image_size": 64, "epochs": 2, "unfrozen_layers": 0})
    assert "backbone_lr_fraction" not in {parameter.name for parameter in space.parameters}
    assert len(space.start_with) == 1


@pytest.mark.parametrize("name", NAMES)
def test_file_points_editors_to_the_schema(name: str) -> None:
    """Completion works in an editor as soon as the file is opened."""
    assert builtin_spaces()[name].read_text().startswith("# yaml-language-server: $schema=space.schema.json\n")


def test_schema_is_in_sync_with_the_models() -> None:
    """`python -m search_spaces.editor_schema` was run after the last change to the models."""
    assert SCHEMA_FILE.read_text(encoding="utf-8") == render()
