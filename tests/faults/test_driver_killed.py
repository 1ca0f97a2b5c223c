"""A study whose process is killed or interrupted goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from studies import ends, plain, run_statuses, worker_pids

from pneumo_core.errors import StudyError
from tuning.launch import resume_study
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.store import Store

TUNE = Path(sys.executable).parent / "tune"


def _start(*words: object, log: Path) -> subprocess.Popen[bytes]:
    def hear_ctrl_c() -> None:  # tests that were started in the background do not, nor do their children
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with log.open("ab") as file:
        return subprocess.Popen([str(TUNE), *map(str, words)], stdout=file, stderr=file, preexec_fn=hear_ctrl_c)


def _wait_for(journal: Path, text: str) -> None:
    deadline = time.monotonic() + 120
    while not journal.exists() or text not in journal.read_text():
        assert time.monotonic() < deadline, f"{text} never came"
        time.sleep(0.01)


def test_a_study_killed_and_interrupted_ends_as_one_left_in_peace(
    space: Path, images: Path, tmp_path: Path, undisturbed: StudyRecord
) -> None:
    """SIGKILL in the first trial, Ctrl-C in the third: nothing lost, nothing twice, every digit the same."""
    store, log = Store.at(tmp_path / "store"), tmp_path / "log"
    journal = store.studies / "s" / "journal.jsonl"
    words = ("--space", space, "--data", images, "--study", "s", "--store", store.root)
    running = _start("run", *words, "--no-plots", log=log)
    _wait_for(journal, '"trial":"t0001","epoch":2')
    workers = worker_pids(running.pid)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert workers
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=10)
    assert not alive

    running = _start("resume", "s", "--store", store.root, log=log)
    _wait_for(journal, '"trial":"t0003","epoch":0')
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) == 130
    assert "tune resume s" in log.read_text()
    assert load_record(store, "s").trials["t0003"].status == "interrupted"
    statuses = run_statuses(store, "s")
    assert statuses[""] == ["KILLED"]
    assert statuses["t0003"] == ["KILLED"]
    assert (journal.parent / "checkpoints" / "t0003.1.npz").is_file()

    result = resume_study(store, "s", work={"workers": 0})
    assert plain(result.record) == plain(undisturbed)
    assert ends(store, "s") == dict.fromkeys(undisturbed.trials, 1)
    assert run_statuses(store, "s") == {trial: ["FINISHED"] for trial in ["", *undisturbed.trials]}
    assert list((journal.parent / "checkpoints").iterdir()) == []
    with pytest.raises(StudyError, match=r"is finished, with 5 trials; .* --trials"):
        resume_study(store, "s", work={"workers": 0})


def test_a_study_that_another_process_runs_is_refused(tmp_path: Path, space: Path, images: Path) -> None:
    """The holder is named by process and host; its study is not touched."""
    store = Store.at(tmp_path)
    folder = store.create_study("s", space="fragile")
    folder.journal.write_text("{}\n")
    code = f"""
import sys, time
from pathlib import Path
from tuning.store import StudyFolder
with StudyFolder(Path({str(folder.root)!r})).hold():
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    assert folder.is_held()
    with pytest.raises(StudyError, match=rf"is being run by process {holder.pid} on \S+; wait"):
        resume_study(store, "s", work={"workers": 0})
    holder.kill()
    holder.wait()
    assert not folder.is_held()
