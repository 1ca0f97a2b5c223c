"""The commands: one JSON document, one line for an error, the exit codes that scripts rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pneumo_core.errors import ConfigError
from tuning.arguments import parse_classes, parse_duration, parse_size
from tuning.cli import app
from tuning.record import StudyRecord
from tuning.store import Store

Finished = tuple[Store, StudyRecord, dict[str, object]]
COMMANDS = [
    "run",
    "resume",
    "confirm",
    "sync",
    "status",
    "list",
    "leaderboard",
    "compare",
    "ui",
    "promote",
    "predict",
    "serve",
    "evaluate",
    "export",
    "registry",
    "rollback",
    "cache",
    "cache list",
    "doctor",
    "gc",
    "cache clear",
    "spaces",
    "spaces show",
    "spaces check",
    "spaces narrow",
    "policies",
    "policies show",
    "policies check",
    "data",
    "data fetch",
    "data demo",
    "data ledger",
    "data check",
]


def _tune(*words: object, store: Path | None = None) -> Result:
    environment = {"TUNE_STORE": str(store)} if store else {}
    inline = ["--workers", "0"] if words[:1] in (("run",), ("resume",)) and "--help" not in words else []
    return CliRunner(env=environment).invoke(app, [*map(str, words), *inline], prog_name="tune")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(command: str) -> None:
    """`--help` explains each command, and shows a line to begin with; a group lists its commands."""
    result = _tune(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage: tune" in result.output
    assert f"Example: tune {command} ".strip() in result.output or "COMMAND [ARGS]" in result.output


def test_help_shows_brackets_as_they_are_typed() -> None:
    """`pip install 'pneumo-tune[onnx]'` is no markup."""
    assert "pneumo-tune[onnx]" in _tune("export", "--help").output


def test_help_imports_nothing_slow() -> None:
    """`tune --help` starts neither TensorFlow nor MLflow nor anything else that takes seconds."""
    code = (
        "import sys; from tuning.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "slow = {'tensorflow', 'keras', 'keras_tuner', 'mlflow', 'optuna', 'sklearn', 'pandas', 'matplotlib'}\n"
        "print('SLOW', sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "SLOW []"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As `head`: no word about it, and the exit code of a process that SIGPIPE ends."""
    reader, writer = os.pipe()
    os.close(reader)
    code = "from tuning.cli import main; main()"
    command = [sys.executable, "-c", code, "policies", "show", "default"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("command", [["list"], ["leaderboard", "first"], ["spaces"]])
def test_commands_that_need_no_tensorflow_do_not_import_it(finished: Finished, command: list[str]) -> None:
    """Reading results takes no 11 seconds of imports."""
    code = (
        "import sys; from tuning.cli import app\n"
        f"try: app({command!r})\n"
        "except SystemExit: pass\n"
        "print('SLOW', sorted({'tensorflow', 'keras', 'mlflow'} & set(sys.modules)))"
    )
    environment = os.environ | {"TUNE_STORE": str(finished[0].root)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert done.stdout.splitlines()[-1] == "SLOW []"


def test_run_prints_one_json_document(tmp_path: Path, tiny_space: Path, phantoms: Path) -> None:
    """Progress goes to stderr, the result alone to stdout."""
    result = _tune(
        "run", "--space", tiny_space, "--data", phantoms, "--trials", 2, "--no-plots", "--json",
        "--set", "head_units=4", "--set", "learning_rate=1e-3", store=tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["study"] == "tiny-1"
    assert set(document["best"]["params"]) == {"dropout", "unfrozen_layers", "backbone_lr_fraction"}
    assert "t0001" in result.stderr
    board = json.loads(_tune("leaderboard", "tiny-1", "--json", store=tmp_path).stdout)
    keys = ["trial", "status", "score", "interval", "confirmed", "metrics", "intervals", "params"]
    keys += ["run_id", "duration_s", "reason", "rank", "baseline", "gain", "gain_of"]
    assert [list(row) for row in board] == [keys] * 2
    assert board[0]["score"] == document["best"]["score"] >= board[1]["score"]
    assert board[0]["run_id"] == document["best"]["run_id"]


def test_leaderboard_and_list_are_tables_for_people(finished: Finished) -> None:
    """Names, scores and parameters stand in them."""
    store, record, _ = finished
    best = record.best()
    assert best is not None
    table = _tune("leaderboard", "first", "--top", 2, store=store.root).stdout
    assert best.trial in table
    assert f"{best.score:.4f}" in table
    assert "learning rate" in table
    listing = _tune("list", store=store.root).stdout
    assert "first" in listing
    assert "finished" in listing
    assert json.loads(_tune("list", "--json", store=store.root).stdout)[0]["study"] == "first"


def test_a_narrow_terminal_still_shows_trial_score_and_parameters(finished: Finished) -> None:
    """At 80 columns nothing is cut to an ellipsis; parameters share a column."""
    store, record, _ = finished
    result = CliRunner(env={"TUNE_STORE": str(store.root), "COLUMNS": "80"}).invoke(app, ["leaderboard", "first"])
    assert max(map(len, result.stdout.splitlines())) <= 80
    for trial in record.trials.values():
        assert trial.trial in result.stdout
        assert f"{trial.score:.4f}" in result.stdout
    assert "head_units=8" in result.stdout
    assert "…" not in result.stdout


def test_dry_run_prints_the_plan(tiny_space: Path, phantoms: Path, tmp_path: Path) -> None:
    """What would be searched, from where, on which images; nothing is written."""
    words = ("run", "--space", tiny_space, "--data", phantoms, "--set", "head_units=8", "--dry-run")
    text = _tune(*words, store=tmp_path / "s")
    assert "4 trials by tpe" in text.stdout
    assert "search learning_rate" in text.stdout
    assert "frozen layers over the images at 32 px, up to block4, block5 average" in text.stdout
    assert "4 trials and what comes before them: about" in text.stdout
    assert "a trial; " in text.stdout.splitlines()[-1]
    assert json.loads(_tune(*words, "--json", store=tmp_path / "s").stdout)["trials"] == 4
    assert not (tmp_path / "s").exists()


def test_spaces_are_listed_shown_and_checked(tiny_space: Path) -> None:
    """Shipped spaces by name, own ones by path."""
    listing = _tune("spaces").stdout
    assert all(name in listing for name in ("vgg16", "notebook", "enhanced", "demo"))
    assert _tune("spaces", "show", "vgg16").stdout.startswith("# yaml-language-server")
    assert json.loads(_tune("spaces", "show", "vgg16", "--json").stdout)["name"] == "vgg16"
    assert "5 searched parameters, endless configurations" in _tune("spaces", "check", tiny_space).stdout


BAD_INPUT = [
    (["run", "--space", "vgg61", "--data", "demo"], "did you mean vgg16"),
    (["run", "--space", "TINY", "--data", "/nonexistent"], "/nonexistent"),
    (["run", "--space", "TINY", "--data", "DATA", "--set", "dropuot=0.5"], "did you mean dropout"),
    (["run", "--space", "TINY", "--data", "DATA", "--set", "dropout=2"], "dropout: expected a number from 0 up to 1"),
    (["run", "--space", "TINY", "--data", "DATA", "--set", "stop_after=2"], "set by Hyperband alone"),
    (["run", "--space", "TINY", "--data", "DATA", "--set", "dropout"], "expected key=value"),
    (["run", "--space", "TINY", "--data", "DATA", "--time", "soon"], "expected a duration"),
    (["run", "--space", "TINY", "--data", "DATA", "--algorithm", "magic"], "tpe"),
    (["run", "--space", "TINY", "--data", "DATA", "--algorithm", "grid"], "grid"),
    (["run", "--space", "TINY", "--data", "DATA", "--classes", "A"], "expected two folder names"),
    (["run", "--space", "TINY", "--data", "DATA", "--classes", "A,B"], "--classes"),
    (["run", "--space", "TINY", "--data", "DATA", "--study", "../x"], "expected a name of letters"),
    (["run", "--space", "TINY", "--data", "DATA", "--store", "FILE"], "cannot be written"),
    (["run", "--space", "TINY", "--data", "DATA", "--set", "weights=/no/such.h5"], "is not a file"),
    (["leaderboard", "nothing"], "study nothing: not found"),
    (["ui", "nothing"], "expected a folder that `tune run` has written to"),
    (["ui", "nothing", "--store", "HERE"], "study nothing: not found"),
    (["list", "--store", "FILE"], "expected a folder"),
    (["spaces", "check", "/no/such.yaml"], "/no/such.yaml"),
]


@pytest.mark.parametrize(("words", "message"), BAD_INPUT, ids=[" ".join(words[-2:]) for words, _ in BAD_INPUT])
def test_bad_input_is_one_line_and_exit_2(
    words: list[str], message: str, tmp_path: Path, tiny_space: Path, phantoms: Path
) -> None:
    """No traceback, nothing on stdout, no study left behind."""
    (tmp_path / "file").write_text("")
    places = {"TINY": tiny_space, "DATA": phantoms, "FILE": tmp_path / "file", "HERE": tmp_path}
    result = _tune(*(places.get(word, word) for word in words), store=tmp_path / "store")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "store" / "studies").glob("*"))


def test_all_mistakes_of_a_space_are_told_with_their_lines(tmp_path: Path) -> None:
    """A user mends a file once, not once for each mistake."""
    path = tmp_path / "wrong.yaml"
    path.write_text(
        "name: wrong\ntrials: 0\nfixed: {image_sise: 64}\nparameters:\n"
        "  dropout: {type: float, min: 0.6, max: 0.2}\n  head_units: {type: choice, values: [64, 5000]}\n"
    )
    result = _tune("spaces", "check", path)
    assert result.exit_code == 2
    for line, words in ((2, "trials"), (3, "did you mean image_size"), (5, "max"), (6, "5000")):
        assert any(f"wrong.yaml:{line}:" in told and words in told for told in result.stderr.splitlines()), words


def test_a_failed_search_exits_1_and_still_prints_its_document(
    tmp_path: Path, wild_space: Path, phantoms: Path
) -> None:
    """All trials failed: the work failed, which is not bad input."""
    result = _tune("run", "--space", wild_space, "--data", phantoms, "--no-plots", "--json", store=tmp_path)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["trials"] == {"completed": 0, "failed": 1}
    assert "no trial completed" in result.stderr
    (row,) = json.loads(_tune("leaderboard", "wild-1", "--json", store=tmp_path).stdout)
    assert "learning rate too high" in row["reason"]
    assert f"t0001 failed: {row['reason']}" in _tune("leaderboard", "wild-1", store=tmp_path).stdout


def test_unreadable_images_are_named_and_can_be_skipped(tmp_path: Path, tiny_space: Path, phantoms: Path) -> None:
    """Refused by default with the file's name; left out on request, and said so."""
    import shutil

    data = tmp_path / "data"
    shutil.copytree(phantoms, data)
    (data / "train" / "NORMAL" / "IM-9999-0001.jpeg").write_text("not an image")
    words = ("run", "--space", tiny_space, "--data", data, "--trials", 1, "--no-plots")
    refused = _tune(*words, store=tmp_path / "store")
    assert refused.exit_code == 2
    assert "IM-9999-0001.jpeg" in refused.stderr
    assert "--skip-unreadable" in refused.stderr
    accepted = _tune(*words, "--skip-unreadable", store=tmp_path / "store")
    assert accepted.exit_code == 0
    assert "IM-9999-0001.jpeg" in accepted.stderr


def test_other_class_names_are_carried_through(tmp_path: Path, tiny_space: Path, phantoms: Path) -> None:
    """Folders may be called otherwise; the record and the report use their names."""
    import shutil

    data = tmp_path / "data"
    for old, new in (("NORMAL", "healthy"), ("PNEUMONIA", "ill")):
        for image in sorted((phantoms / "train" / old).iterdir()):
            (data / new).mkdir(parents=True, exist_ok=True)
            shutil.copy(image, data / new)
    result = _tune(
        "run",
        "--space",
        tiny_space,
        "--data",
        data,
        "--trials",
        1,
        "--no-plots",
        "--classes",
        "healthy,ill",
        store=tmp_path / "s",
    )
    assert result.exit_code == 0, result.stderr
    reports = (tmp_path / "s" / "artifacts").rglob("report.md")  # of the study and of its trial
    assert any("true healthy" in report.read_text() for report in reports)


def test_the_cache_is_listed_and_cleared(tmp_path: Path, tiny_space: Path, phantoms: Path) -> None:
    """What a study left in it is shown; after clearing nothing is."""
    words = ("run", "--space", tiny_space, "--data", phantoms, "--trials", 1, "--no-plots", "--cache", tmp_path / "c")
    assert _tune(*words, store=tmp_path / "s").exit_code == 0
    assert not (tmp_path / "s" / "cache").exists()
    (row,) = json.loads(_tune("cache", "list", "--cache", tmp_path / "c", "--json").stdout)
    assert row["about"]["image_size"] == 32
    assert row["entry"][:12] in _tune("cache", "list", "--cache", tmp_path / "c").stdout
    assert "MB freed" in _tune("cache", "clear", "--cache", tmp_path / "c").stdout
    assert json.loads(_tune("cache", "list", "--cache", tmp_path / "c", "--json").stdout) == []


def test_demo_data_can_be_written_anywhere(tmp_path: Path) -> None:
    """`tune data demo DIR` makes a data set and prints where it lies."""
    result = _tune("data", "demo", tmp_path / "mine", "--patients", 12)
    assert result.exit_code == 0
    assert Path(result.stdout.strip()) == tmp_path / "mine" / "chest_xray"
    assert _tune("data", "demo", tmp_path / "mine", "--patients", 12).exit_code == 2


def test_demo_data_in_the_store_follows_its_options(tmp_path: Path) -> None:
    """Seed and number count without a folder too, and what an interrupted run left behind is no obstacle."""
    (tmp_path / "data" / "demo-3-12").mkdir(parents=True)
    result = _tune("data", "demo", "--seed", 3, "--patients", 12, store=tmp_path)
    assert result.exit_code == 0, result.stderr
    assert Path(result.stdout.strip()) == tmp_path / "data" / "demo-3-12" / "chest_xray"
    assert _tune("data", "demo", "--seed", 3, "--patients", 12, store=tmp_path).stdout == result.stdout


def test_demo_data_where_none_can_be_is_one_line(tmp_path: Path) -> None:
    """A file in the way ends in a sentence."""
    (tmp_path / "file").write_text("")
    result = _tune("data", "demo", tmp_path / "file" / "x", "--patients", 12)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1m5s", 65)])
def test_durations_are_read(text: str, seconds: int) -> None:
    """As people write them."""
    assert parse_duration("--time", text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "0h0m", "5", "h", "1x", "-1s", "1.5h"])
def test_other_durations_are_refused(text: str) -> None:
    """A bare number could mean anything."""
    with pytest.raises(ConfigError):
        parse_duration("--time", text)


@pytest.mark.parametrize("text", ["A", "A,A", "A,B,C", ",B"])
def test_classes_are_two_different_names(text: str) -> None:
    """Anything else is a slip."""
    with pytest.raises(ConfigError):
        parse_classes(text)


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500_000_000), ("1.5 tb", 1_500_000_000_000), ("20GB", 20 * 10**9), ("none", None)]
)
def test_sizes_are_read(text: str, size: int | None) -> None:
    """Powers of a thousand, as disks are sold; `none` for no limit."""
    assert parse_size("--cache-budget", text) == size


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "20 GiB", "many"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """With the forms that are known."""
    with pytest.raises(ConfigError, match=r"500MB, 20GB or 1\.5TB"):
        parse_size("--cache-budget", text)
