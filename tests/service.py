"""A process that tests start, disturb and end for sure."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_START_TIMEOUT_S = 120.0


def free_port(host: str = "127.0.0.1") -> int:
    """Returns a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a web server says that all is well."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310
        return True
    return False


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
        return True
    return False


class Service:
    """A process with all that it starts.

    Args:
        command: its command line.
        log: file for what it says.
        ready: whether it does its work; asked until it does.
        settings: environment variables beside those of the tests.
        user: who runs it, if not who runs the tests.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        ready: Callable[[], bool] = lambda: True,
        settings: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.command, self.log = list(command), log
        self._ready, self._settings, self._user = ready, dict(settings or {}), user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether that process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it, and waits until it does its work."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Starts it."""
        assert not self.runs
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=os.environ | self._settings,
                cwd=self.log.parent if self._user is None else "/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **({"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}),
            )

    def wait_until_ready(self) -> None:
        """Returns when it does its work."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._ready():
            assert self.runs, self.log.read_text()
            assert time.monotonic() < deadline, f"{self.command} does not do its work: {self.log.read_text()}"
            time.sleep(0.1)

    def wait(self, timeout_s: float) -> int:
        """Returns its exit status when it has ended by itself."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def ask(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """Asks it to end, and returns its exit status."""
        os.kill(self.pid, number)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL to it and to all that it started, at once."""
        if self._process is None:
            return
        family = self._family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # whom it left behind when it ended
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        psutil.wait_procs(family, timeout=10)
        self._process = None

    def stop(self) -> None:
        """SIGSTOP to it and to all that it started: there, but without a sign of life."""
        for process in self._family():
            process.suspend()

    def go_on(self) -> None:
        """SIGCONT, after `stop`."""
        for process in self._family():
            process.resume()

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        return []
