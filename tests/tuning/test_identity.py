"""What makes a study another study is found, and said in a line each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pneumo_core
from tuning import identity
from tuning.events import StudyStarted
from tuning.identity import code_digests, differences

BEFORE = StudyStarted(
    study="s", space="tiny", space_digest="", objective="val_roc_auc", direction="max", algorithm="tpe", trials=4,
    seed=0,
    definition={
        "name": "tiny", "description": "x", "trials": 4, "fixed": {"epochs": 2},
        "parameters": [{"name": "dropout", "min": 0.0, "max": 0.5}],
    },
    parameters=["dropout"], data="/data", data_root="/data", data_digest="d" * 64, split_digest="e" * 64,
    class_names=["NORMAL", "PNEUMONIA"], images={"training": 8, "validation": 2}, commit="c",
    versions={"tensorflow": "2.21.0", "mlflow": "3.17"}, threads=2, tracking_uri="sqlite:////x",
    code={"pneumo_core/program.py": "0", "tuning/trial.py": "0"},
)  # fmt: skip


def test_code_that_determines_a_trial_is_digested_and_what_only_shows_it_is_not() -> None:
    """A resume must not be refused for a new colour in a plot, nor go on with another optimizer."""
    names = code_digests().keys()
    assert {
        "pneumo_core/program.py",
        "pneumo_core/optimizers.py",
        "search_spaces/schema.py",
        "tuning/oracles.py",
    } <= names
    assert not {"pneumo_core/plots.py", "tuning/progress.py", "tuning/cli.py", "tuning/launch.py"} & names


def test_a_changed_file_changes_its_digest(tmp_path: Path) -> None:
    """By content, whatever its date."""
    copy = tmp_path / "schedule.py"
    copy.write_bytes((Path(pneumo_core.__file__).parent / "schedule.py").read_bytes())
    original = identity._digest(copy)
    copy.write_text(copy.read_text() + "# another\n")
    assert identity._digest(copy) != original
    assert code_digests()["pneumo_core/schedule.py"] == original


def test_nothing_changed_is_no_difference() -> None:
    """A moved folder, another number of trials and another commit do not matter."""
    now = dataclasses.replace(
        BEFORE,
        data_root="/elsewhere",
        commit="other",
        trials=99,
        definition={**BEFORE.definition, "trials": 99, "description": "reworded"},
    )
    assert differences(BEFORE, now) == []


def test_every_kind_of_change_has_its_line() -> None:
    """Data, a parameter of the space, a file of the program, a package, the number of threads."""
    parameters = [{**BEFORE.definition["parameters"][0], "max": 0.9}]
    now = dataclasses.replace(
        BEFORE,
        data_digest="f" * 64,
        images={"training": 5, "validation": 1},
        definition={**BEFORE.definition, "fixed": {"epochs": 3}, "parameters": parameters},
        code={"pneumo_core/program.py": "1", "tuning/new.py": "2"},
        versions={**BEFORE.versions, "tensorflow": "9.9"},
        threads=7,
    )
    assert differences(BEFORE, now) == [
        f"data: /data had 8 training and 2 validation images, digest {'d' * 12}; /data has 5 training and 1 validation "
        f"images, digest {'f' * 12}",
        "space: dropout max was 0.5, is 0.9",
        "space: fixed.epochs was 2, is 3",
        "code: pneumo_core/program.py was changed",
        "code: tuning/new.py was added",
        "code: tuning/trial.py was removed",
        "package: tensorflow was 2.21.0, is 9.9",
        "setting: threads was 2, is 7",
    ]
