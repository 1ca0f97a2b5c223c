"""Space files: what they may hold, and that everything wrong with one is told at once, with its line."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces import FloatParameter, SearchSpace, SpaceError, find_space, load_space, read_scalar

Check = dict[str, Callable[[object], str | None]]

VALID = """\
name: mine
description: Two parameters.
objective: val_pr_auc
direction: max
algorithm: random
trials: 7
epochs: 3
seed: 5
fixed: {image_size: 64, weights: random, batch_normalization: true}
parameters:
  unfrozen_layers: {type: choice, values: [0, 3], ordered: true}
  learning_rate: {type: float, min: 1e-4, max: 3.0e-3, log: true, default: 1e-3}
  backbone_lr_fraction:
    type: float
    min: 0.01
    max: 0.1
    when: {unfrozen_layers: [3]}
  patience: {type: int, min: 1, max: 9, step: 2}
start_with:
  - {unfrozen_layers: 3, image_size: 64}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes a space file."""

    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
        return path

    return write_file


def problems_of(path: Path, check: Check | None = None) -> list[str]:
    """The problems of a file as `line: message`."""
    with pytest.raises(SpaceError) as caught:
        load_space(path, check=check)
    assert all(problem.startswith(f"{path}") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}").removeprefix(":") for problem in caught.value.problems]


def fraction(value: object) -> str | None:
    """A setting that takes fractions."""
    legal = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
    return None if legal else f"dropout: expected a fraction, got {value!r}"


def whole(value: object) -> str | None:
    """A setting that takes whole numbers."""
    return None if isinstance(value, int) and not isinstance(value, bool) else f"units: expected whole, got {value!r}"


def word(value: object) -> str | None:
    """A setting that takes one of two words."""
    return None if value in ("adam", "sgd") else f"optimizer: expected adam or sgd, got {value!r}"


CHECK: Check = {"dropout": fraction, "units": whole, "optimizer": word, "epochs": whole}


def test_valid_file_becomes_a_space(write: Callable[[str], Path]) -> None:
    """Every key arrives where it belongs, `epochs` among the fixed settings."""
    space = load_space(write(VALID))
    assert (space.name, space.objective, space.algorithm) == ("mine", "val_pr_auc", "random")
    assert (space.trials, space.seed) == (7, 5)
    assert space.fixed == {"image_size": 64, "weights": "random", "batch_normalization": True, "epochs": 3}
    rate = space.parameters[1]
    assert isinstance(rate, FloatParameter)
    assert (rate.min, rate.max, rate.log, rate.default) == (1e-4, 3e-3, True, 1e-3)
    assert space.complete(space.start_with[0]) == {
        "unfrozen_layers": 3,
        "learning_rate": 1e-3,
        "backbone_lr_fraction": 0.01,
        "patience": 1,
    }


def test_defaults_of_a_short_file(write: Callable[[str], Path]) -> None:
    """A name is all that a file must hold."""
    assert load_space(write("name: mine")) == SearchSpace(name="mine")


def test_byte_order_mark_is_no_problem(write: Callable[[bytes], Path]) -> None:
    """Some Windows editors put one in front."""
    assert load_space(write(b"\xef\xbb\xbfname: mine\r\ntrials: 3\r\n")).trials == 3


def test_all_problems_come_at_once_in_the_order_of_lines(write: Callable[[str], Path]) -> None:
    """A mistake in one part hides none in another."""
    path = write("""\
        nam: mine
        direction: maximise
        algorithm: gird
        trials: 0
        trials: 3
        fixed:
          dropout: 1.5
          unit: 3
        parameters:
          units: {type: choice, values: [64, 64]}
          optimizer: {type: choise, values: [adam]}
          epochs:
            type: int
            min: 9
            max: 3
            stp: 2
            when: {optimiser: [adam]}
        start_with:
          - {epochs: x, dropouts: 0.5}
        """)
    found = problems_of(path, CHECK)
    assert [int(problem.split(":")[0]) for problem in found] == [1, 1, 2, 3, 4, 5, 7, 8, 10, 11, 15, 16, 17, 19, 19]
    text = "\n".join(found)
    for expected in (
        "nam: unknown key; did you mean name?",
        "name is missing",
        "direction: expected max or min, got 'maximise'",
        "algorithm: expected tpe, random, grid, bayesian or hyperband, got 'gird'",
        "trials: expected at least 1, got 0",
        "trials: given twice, first on line 4",
        "dropout: expected a fraction, got 1.5",
        "unit: no such setting; did you mean units?",
        "parameters.units.values: must differ, got more than once: 64",
        "parameters.optimizer.type: no such type; did you mean choice?",
        "parameters.epochs.max: must lie above min (9), got 3",
        "parameters.epochs.stp: unknown key; did you mean step?",
        "parameters.epochs.when.optimiser: no such parameter; did you mean optimizer?",
        "units: expected whole, got 'x'",
        "start_with[0].dropouts: is neither searched nor fixed; did you mean dropout?",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ("fixed: [a]", 2, "fixed: expected a mapping (name: value), got a list"),
        ("fixed: {a: [1]}", 2, "fixed.a: expected a word, a number, or true or false, got a list"),
        ("fixed:\n  a:", 3, "fixed.a: expected a word, a number, or true or false, got nothing"),
        ("fixed: {seed: 3}", 2, "fixed.seed: belongs to the top level"),
        ("epochs: 3\nfixed: {epochs: 4}", 3, "fixed.epochs: given twice, also on line 2"),
        ("trials: '7'", 2, "trials: expected a whole number, got '7'"),
        ("trials: true", 2, "trials: expected a whole number, got true"),
        ("seed: -1", 2, "seed: expected at least 0, got -1"),
        ("parameters: [a]", 2, "parameters: expected a mapping (name: {type: …}), got a list"),
        ("parameters: {a: 3}", 2, "parameters.a: expected a mapping (type: …"),
        ("parameters: {a: {min: 3}}", 2, "parameters.a: type is missing; one of float, int, choice"),
        ("parameters: {a: {type: int, min: 3}}", 2, "parameters.a: max is missing"),
        ("parameters: {a: {name: b, type: int, min: 3, max: 4}}", 2, "parameters.a.name: unknown key"),
        ("parameters: {a: {type: choice, values: [1], nam: b}}", 2, "unknown key; known are when, type, values"),
        ("parameters: {a: {type: float, min: '0.1', max: 1}}", 2, "parameters.a.min: expected a number, got '0.1'"),
        ("parameters: {a: {type: choice, values: []}}", 2, "expected at least one value, got an empty list"),
        ("parameters: {a: {type: choice, values: adam}}", 2, "expected a list ([a, b], or a line with a dash"),
        ("parameters: {seed: {type: int, min: 0, max: 4}}", 2, "parameters.seed: cannot be searched"),
        ("start_with: {a: 1}", 2, "start_with: expected a list"),
        ("start_with:\n  - 3", 3, "start_with[0]: expected a mapping (name: value), got 3"),
        ("1: 3", 2, "1: unknown key"),
        ("? [a]\n: b", 2, "a key must be a word"),
        ("<<: {trials: 3}", 2, "<<: unknown key"),
        ("fixed: {a: .inf}", 2, "fixed.a: expected a finite number, got .inf"),
        ("fixed: {a: 1e999}", 2, "fixed.a: expected a finite number, got 1e999"),
        ("fixed: {a: 12345678901234567890}", 2, "fixed.a: expected a number of at most 18 digits, got one of 20"),
    ],
)
def test_wrong_shapes_are_told(write: Callable[[str], Path], lines: str, line: int, message: str) -> None:
    """Whatever has the wrong shape is named once, with its line, and without pydantic's vocabulary."""
    found = problems_of(write(f"name: mine\n{lines}\n"))
    assert len(found) == 1
    assert found[0].startswith(f"{line}: ")
    assert message in found[0]


PARENTS = """\
name: mine
parameters:
  mode: {type: choice, values: [a, b]}
  rate: {type: float, min: 0, max: 1}
"""


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("{mod: [a]}", "when.mod: no such parameter; did you mean mode?"),
        ("{later: [1]}", "when.later: must be declared before child"),
        ("{child: [1]}", "when.child: must be declared before child"),
        ("{rate: [0.5]}", "when.rate: is a float; a condition needs a choice or an int"),
        ("{mode: [a, c]}", "when.mode[1]: expected one of 'a', 'b', got 'c'"),
        ("{mode: []}", "when.mode: expected at least one value, got an empty list"),
        ("{mode: a}", "when.mode: expected a list"),
        ("{size: [64]}", "when.size: is fixed, so the condition decides nothing"),
    ],
)
def test_conditions_that_cannot_be_meant(write: Callable[[str], Path], when: str, message: str) -> None:
    """A condition names a parameter declared before, and values that it can take."""
    child = f"  child: {{type: int, min: 0, max: 3, when: {when}}}\n  later: {{type: int, min: 0, max: 3}}\n"
    found = problems_of(write(PARENTS + child + "fixed: {size: 64}\n"))
    assert len(found) == 1
    assert found[0].startswith("5: ")
    assert message in found[0]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("[{mode: c}]", "start_with[0].mode: expected one of 'a', 'b', got 'c'"),
        ("[{rate: 1.5}]", "start_with[0].rate: expected a number from 0.0 to 1.0, got 1.5"),
        ("[{mood: a}]", "start_with[0].mood: is neither searched nor fixed; did you mean mode?"),
        ("[{size: 65}]", "start_with[0].size: is fixed at 64, got 65"),
        ("[{mode: a}, {rate: 0}]", "start_with[1]: is the same configuration as start_with[0]"),
    ],
)
def test_starting_points_that_cannot_be_tried(write: Callable[[str], Path], entries: str, message: str) -> None:
    """A known configuration lies within the space, and comes once."""
    found = problems_of(write(f"{PARENTS}fixed: {{size: 64}}\nstart_with: {entries}\n"))
    assert len(found) == 1
    assert message in found[0]


def test_name_both_fixed_and_searched(write: Callable[[str], Path]) -> None:
    """Which of the two is meant cannot be known."""
    assert problems_of(write(f"{PARENTS}fixed:\n  rate: 0.5\n")) == [
        "6: fixed.rate: is also searched, under parameters; leave one of them out"
    ]


def test_grid_asks_for_steps(write: Callable[[str], Path]) -> None:
    """The line is that of the parameter to change, not of the algorithm."""
    found = problems_of(write(f"{PARENTS}algorithm: grid\n"))
    assert found == ["4: parameters.rate: the grid algorithm needs a finite list; give it a step"]


def test_check_sees_every_value(write: Callable[[str], Path]) -> None:
    """Fixed values, choices, ends and defaults all have to be legal, in unsound parameters too."""
    path = write("""\
        name: mine
        fixed:
          optimizer: adma
        parameters:
          dropout:
            type: float
            min: 0.5
            max: 1.5
            default: 1.2
            stp: 3
          units:
            type: choice
            values:
              - 64
              - 12.5
        """)
    assert problems_of(path, CHECK) == [
        "3: optimizer: expected adam or sgd, got 'adma'",
        "8: dropout: expected a fraction, got 1.5",
        "9: dropout: expected a fraction, got 1.2",
        "10: parameters.dropout.stp: unknown key; did you mean step?",
        "15: units: expected whole, got 12.5",
    ]


def test_float_for_a_setting_of_whole_numbers(write: Callable[[str], Path]) -> None:
    """Whole ends don't hide that what lies between them is not: that would fail in the middle of a study."""
    found = problems_of(write("name: mine\nparameters:\n  units: {type: float, min: 1, max: 4}\n"), CHECK)
    assert any("units: expected whole, got 2." in problem for problem in found)


def test_one_mistake_is_told_once(write: Callable[[str], Path]) -> None:
    """What is outside its domain is not also told to be illegal."""
    path = write("name: mine\nparameters:\n  dropout: {type: float, min: 0, max: 0.5}\nstart_with: [{dropout: 7}]\n")
    assert problems_of(path, CHECK) == ["4: start_with[0].dropout: expected a number from 0.0 to 0.5, got 7"]


def test_check_names_the_known_settings(write: Callable[[str], Path]) -> None:
    """With nothing similar, the message lists what there is."""
    found = problems_of(write("name: mine\nfixed: {zzz: 1}\nepochs: many\n"), CHECK)
    assert found == [
        "2: zzz: no such setting; known are dropout, units, optimizer, epochs",
        "3: units: expected whole, got 'many'",
    ]


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "0.0001", ".0001", "+1.0e-04"])
def test_exponents_are_numbers(text: str) -> None:
    """PyYAML takes `1e-4` for a word; people and editors don't."""
    assert read_scalar(text) == 1e-4


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("none", "none"),
        ("true", True),
        ("-3", -3),
        ("2.", 2.0),
        ("~", None),
        ("", None),
        ("e5", "e5"),
        ("1_000", "1_000"),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    """No octal, sexagesimal or date surprises; `none` is a word."""
    assert read_scalar(text) == value
    assert type(read_scalar(text)) is type(value)


@pytest.mark.parametrize("text", ["yes", "No", "on", "OFF"])
def test_words_that_readers_disagree_about_are_refused(write: Callable[[str], Path], text: str) -> None:
    """`augmentation: off` is false to one reader and a word to another; quotes settle it."""
    found = problems_of(write(f"name: mine\nparameters:\n  mode: {{type: choice, values: [none, {text}]}}\n"))
    assert found[0].startswith("3: parameters.mode.values[1]: ")
    assert f"or '{text}' in quotes for the word" in found[0]
    assert len(found) == 1
    quoted = load_space(write(f"name: mine\nfixed: {{mode: '{text}'}}\n"))
    assert quoted.fixed == {"mode": text}


def test_booleans_among_words_are_told(write: Callable[[str], Path]) -> None:
    """`false` in a list of words is most likely a word that needs quotes."""
    found = problems_of(write("name: mine\nparameters:\n  mode: {type: choice, values: [mild, false]}\n"))
    assert len(found) == 1
    assert "got a word ('mild') and true or false (false); words that look like others need quotes" in found[0]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("- name: mine\n", 1, "expected a mapping"),
        ("name", 1, "expected a mapping"),
        ("name: mine\nfixed: {a: 1\n", 3, "not YAML"),
        ("name: mine\n\tfixed: 3\n", 2, "not YAML"),
        ("name: a\n---\nname: b\n", 2, "not YAML"),
        ("name: a\nfixed: *other\n", 2, "aliases are not read"),
        ("name: a\x00b\n", 1, "unprintable character"),
        (b"name: a\nfixed: {weights: \xff\xfe}\n", 2, "is not UTF-8 text (byte 0xff)"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", 1, "is not UTF-8 text"),
        ("name: " + "[" * 2000 + "]" * 2000, 1, "nested more than"),
        ("name: " + "[" * 100_000, 1, "nested more than"),
    ],
)
def test_files_that_are_no_spaces(
    write: Callable[[str | bytes], Path], content: str | bytes, line: int, message: str
) -> None:
    """Anything can be given as a space; what is none gets one clear sentence and no traceback."""
    found = problems_of(write(content))
    assert len(found) == 1
    assert found[0].startswith(f"{line}: ")
    assert message in found[0]


def test_billion_laughs_stay_unheard(write: Callable[[str], Path]) -> None:
    """A few lines of nested aliases would stand for gigabytes if they were followed."""
    layers = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    started = time.monotonic()
    found = problems_of(write("\n".join(["name: mine", "l0: &l0 [lol]", *layers])))
    assert time.monotonic() - started < 5
    assert "2: anchors are not read; leave &l0 out" in found
    assert any("aliases are not read; write the value again instead of *l0" in problem for problem in found)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!mine", "!!binary"])
def test_tags_make_no_objects(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    """A space file is data; a tag in it is refused and not followed."""
    monkeypatch.setattr(os, "system", lambda command: pytest.fail(f"ran {command}"))
    found = problems_of(write(f"name: mine\nfixed:\n  weights: {tag} [echo]\n  other: yes\n"))
    assert found[0] == f"3: tags are not read; leave {tag} out"
    assert found[1].startswith("4: fixed.other: yes is true or false")
    assert len(found) == 2


def test_huge_files_are_not_read(write: Callable[[str], Path]) -> None:
    """A data set given by mistake is refused before it is parsed."""
    found = problems_of(write("name: mine\n" + "# filler\n" * 40_000))
    assert found == [" is larger than 256 KiB; a space is a page of text"]


def test_missing_files_directories_and_devices(tmp_path: Path) -> None:
    """What cannot be read is told without a traceback, and an endless device is not read at all."""
    for path, message in [
        (tmp_path / "no.yaml", "no such file"),
        (tmp_path, "got a directory"),
        (Path("/dev/zero"), "device"),
    ]:
        with pytest.raises(SpaceError, match=message):
            load_space(path)


def test_unreadable_file(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason of the operating system is passed on."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(VALID)
    monkeypatch.setattr(Path, "open", refuse)  # root may read whatever chmod forbids
    with pytest.raises(SpaceError, match="cannot be read: Permission denied"):
        load_space(path)


def test_space_is_found_by_path(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A suffix or a separator makes a path, relative or not."""
    path = write(VALID)
    monkeypatch.chdir(path.parent)
    assert find_space(str(path)) == path
    assert find_space(path) == path
    assert find_space("mine.yaml") == Path("mine.yaml")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("VGG16", r"no such space; did you mean vgg16\?"),
        ("vgg61", r"no such space; did you mean vgg16\? \(shipped are demo, enhanced, notebook, vgg16\)"),
        ("resnet", "no such space; known are demo, enhanced, notebook, vgg16"),
        ("", "no such space"),
        ("demo.yaml", "no such file; the shipped space is called demo"),
        ("./nowhere", "no such file"),
        ("a\x00/b", "no such file"),
        ("x" * 5000 + "/y", "File name too long"),
        ("/", "got a directory"),
    ],
)
def test_spaces_that_are_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    """The message says what there is instead."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match=message):
        find_space(name)
