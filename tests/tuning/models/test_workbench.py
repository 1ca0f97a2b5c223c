"""One promotion at a time, in a folder that nobody else's leftovers are in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tuning.models.workbench import free_workbench, store_id, workbench
from tuning.store import Store

HOLDER = """
import sys, time
from tuning.models.workbench import workbench
from tuning.store import Store
with workbench(Store.at(sys.argv[1])) as folder:
    (folder / "half").write_text("made")
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def _holder(store: Store, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(store.root), str(seconds)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout
    assert running.stdout.readline() == "held\n"
    return running


def test_another_process_is_waited_for_and_its_leftovers_are_gone(tmp_path: Path) -> None:
    """Who waits says so; who only looks is told that it is not free; the dead leave a lock that nobody holds."""
    store, said = Store.at(tmp_path), list[str]()
    running = _holder(store, 1.0)
    with free_workbench(store) as free:
        assert not free
        assert (tmp_path / "promotion" / "half").exists()
    with workbench(store, said.append) as folder:
        assert list(folder.iterdir()) == []
        assert running.wait(timeout=30) == 0
    assert said == ["waiting: another promotion or rollback of this store is under way"]
    assert not (tmp_path / "promotion").exists()
    running = _holder(store, 60)
    running.kill()
    running.wait()
    assert (tmp_path / "promotion" / "half").exists()
    with free_workbench(store) as free:
        assert free
        assert not (tmp_path / "promotion" / "half").exists()


def test_a_store_keeps_its_id_and_a_copy_gets_another(tmp_path: Path) -> None:
    """Moved it is the same store, copied it is not."""
    store = Store.at(tmp_path / "store")
    store.check_writable()
    first = store_id(store)
    assert store_id(store) == first
    assert len(first) == 12
    shutil.copytree(store.root, tmp_path / "copy")
    assert store_id(Store.at(tmp_path / "copy")) != first
    store.root.rename(tmp_path / "moved")
    assert store_id(Store.at(tmp_path / "moved")) == first
    (tmp_path / "moved" / "store_id.json").write_text("torn")
    assert store_id(Store.at(tmp_path / "moved")) != first
