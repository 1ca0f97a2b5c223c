"""Promotes, registers, rolls back or mends in processes that kill themselves at a given moment.

python promoter.py LOG [--tensorflow]

Reads a request from each line of stdin, as JSON, and answers with the status of the process that did it. These are
forks of this one, which has imported everything and made a registration elsewhere, so that they need not: it takes many
seconds, a fork none. Of TensorFlow nothing was used, which would not bear a fork.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

HEAVY = ("tensorflow", "keras", "scipy.stats", "tuning.models.assembly", "tuning.models.whole_model")
LIGHT = ("mlflow", "mlflow.pyfunc", "tuning.cli", "tuning.models.promotion", "tuning.models.rollback")
WRITES = (
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "log_batch",
    "create_registered_model",
    "create_model_version",
    "set_registered_model_tag",
    "set_registered_model_alias",
    "delete_logged_model",
    "delete_logged_model_tag",
    "delete_model_version",
    "delete_model_version_tag",
    "delete_registered_model",
    "delete_registered_model_tag",
)
"""Methods of MLflow's client that change something."""


class Promoter:
    """This file as a process, from the outside.

    Args:
        log: file for what its forks say.
        words: for its command line.
    """

    def __init__(self, log: Path, *words: str) -> None:
        command = [sys.executable, __file__, str(log), *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._log = log

    def ask(self, do: str, **request: Any) -> int:
        """Returns the exit status of the process that did it; -9 if it killed itself."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": do} | request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @property
    def said(self) -> str:
        """What its forks printed."""
        return self._log.read_text() if self._log.exists() else ""

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Serves until stdin ends."""
    log, answers = sys.argv[1], os.fdopen(os.dup(1), "w")
    for name in (*LIGHT, *(HEAVY if "--tensorflow" in sys.argv else ())):
        importlib.import_module(name)
    _become(log)
    _warm_up()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_do(json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def _become(log: str) -> None:
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)


def _warm_up() -> None:
    """Uses what MLflow and SQLAlchemy prepare at their first use, on a store of its own."""
    from mlflow import MlflowClient

    from tuning.models.registry import Registry
    from tuning.store import Store

    with tempfile.TemporaryDirectory() as root:
        client = MlflowClient(Registry(Store.at(root)).uri)
        run_id = client.create_run(client.create_experiment("e", Path(root, "artifacts").as_uri())).info.run_id
        Path(root, "model").mkdir()
        for times in range(2):
            _register(root, "m", run_id, f"{root}/model", f"time {times}", step=0)
        _roll_back(root, "m", step=0)


def _do(request: dict[str, Any]) -> int:
    try:
        return int(globals()[f"_{request.pop('do')}"](**request) or 0)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1


def _tune(words: list[str], at: str, after: str = "", times: int = 1, late: bool = False) -> None:
    """Runs the command; dies when `at` is called, or has ended if late, for the so manieth time since `after` was."""
    from tuning.cli import main as tune

    count = _Countdown(times, armed=not after)
    if after:
        _wrap(after, before=count.arm)
    if at:
        _wrap(at, **{"after" if late else "before": count.step})
    sys.argv = ["tune", *words]
    tune()


def _at_once(words: list[list[str]]) -> int:
    """Runs commands side by side; returns the highest of their statuses."""
    children = []
    for command in words:
        children.append(os.fork())
        if children[-1] == 0:
            os._exit(_do({"do": "tune", "words": command, "at": ""}))
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def _register(store: str, name: str, run_id: str, folder: str, reason: str, step: int) -> None:
    """Registers a folder as champion, and dies before the so manieth call that writes; 0 for never."""
    from tuning.models.registry import Change, Registry
    from tuning.models.workbench import workbench
    from tuning.store import Store

    registry = Registry(Store.at(store))
    with workbench(Store.at(store)):
        registry.mend()
        _die_at_write(step)
        change, metrics = Change(reason), {"test_roc_auc": 0.9}
        registry.register(Path(folder), name, "champion", run_id=run_id, metrics=metrics, tags={}, change=change)


def _upload(at_file: int, **request: Any) -> None:
    """Registers, and dies at the so manieth file that is uploaded."""
    count = _Countdown(at_file, armed=False)
    _wrap("mlflow:MlflowClient.log_model_artifacts", before=count.arm)
    _wrap("shutil:copyfile", before=count.step)
    _register(step=0, **request)


def _mend(store: str, step: int) -> None:
    """Mends, and dies before the so manieth call that writes."""
    from tuning.models.registry import Registry
    from tuning.models.workbench import workbench
    from tuning.store import Store

    registry = Registry(Store.at(store))
    with workbench(Store.at(store)):
        _die_at_write(step)
        registry.mend()


def _roll_back(store: str, name: str, step: int) -> None:
    """Rolls back, and dies before the so manieth call that writes."""
    from tuning.models.rollback import roll_back
    from tuning.store import Store

    _die_at_write(step)
    roll_back(Store.at(store), name, "it was tried")


class _Countdown:
    """Kills the process at the last step."""

    def __init__(self, steps: int, *, armed: bool) -> None:
        self._left, self._armed = steps, armed

    def arm(self) -> None:
        self._armed = True

    def step(self) -> None:
        if self._armed:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _die_at_write(step: int) -> None:
    count = _Countdown(step, armed=step > 0)
    for name in WRITES if step else ():
        _wrap(f"mlflow:MlflowClient.{name}", before=count.step)


def _wrap(target: str, before: Any = None, after: Any = None) -> None:
    """Puts a call before or after that of a function, named as `module:attribute`."""
    where, _, name = target.rpartition(":" if "." not in target.partition(":")[2] else ".")
    owner = pkgutil.resolve_name(where)
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        if before:
            before()
        result = function(*arguments, **options)
        if after:
            after()
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    main()
