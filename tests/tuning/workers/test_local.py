"""Worker processes of this machine: what each sees, and how much memory it may take."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tuning.usage import private_memory_bytes
from tuning.workers import local
from tuning.workers.local import LocalWorkers
from tuning.workers.roster import Member

MAPS_AND_ALLOCATES = """
import mmap, sys
file = open(sys.argv[1], "r+b")
mapped = mmap.mmap(file.fileno(), 0)
seen = sum(mapped[::4096])
taken = bytearray(b"x") * 80_000_000
print("ready", flush=True)
input()
"""


@pytest.fixture(scope="module")
def hungry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A process with 80 MB of its own and 160 MB that are mapped from a file."""
    place = tmp_path_factory.mktemp("mapped") / "activations.bin"
    place.write_bytes(bytes(160_000_000))
    command = [sys.executable, "-S", "-c", MAPS_AND_ALLOCATES, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        process.kill()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells mapped files from other memory")
def test_mapped_activations_are_no_memory_of_a_worker(hungry: int) -> None:
    """The system takes their pages back when it needs them."""
    assert psutil.Process(hungry).memory_info().rss > 240e6
    assert 80e6 < private_memory_bytes(hungry) < 120e6


def test_a_worker_over_its_limit_must_not_go_on(hungry: int) -> None:
    """The reason names limit and option; one within it, without one, or gone already may."""
    worker = Member("tls://127.0.0.1:1", pid=hungry)
    assert LocalWorkers(1, 70_000_000).objection(worker) == "it needed more than 0.07 GB (--worker-memory)"
    assert LocalWorkers(1, 10**9).objection(worker) == ""
    assert LocalWorkers(1).objection(worker) == ""
    assert LocalWorkers(1, 1).objection(Member("tls://127.0.0.1:1", pid=2**22 + 1)) == ""


@pytest.mark.slow
def test_each_worker_has_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU each, also for the process that a nanny starts in place of a lost one."""
    monkeypatch.setattr(local, "gpus_here", lambda: ["4", "7"])
    workers = LocalWorkers(2)
    client = workers.connect(lambda: False)
    try:
        client.wait_for_workers(2, timeout=60)
        assert sorted(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == ["4", "7"]
        [(address, pid)] = list(client.run(os.getpid).items())[:1]
        workers.end(client, Member(address, pid=pid))
        while address in client.scheduler_info()["workers"]:
            client.sync(client._update_scheduler_info)
        client.wait_for_workers(2, timeout=60)
        assert sorted(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == ["4", "7"]
    finally:
        workers.close()
        client.close()
