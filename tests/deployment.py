"""What docs/deploy describes, started for real: PostgreSQL, `mlflow server`, a Dask scheduler and workers.

Commands and settings are read from the documents, so that what is tested is what they say; only addresses, ports and
folders are replaced.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from network import Namespace, Network
from service import Service, answers, free_port, listens

DOCS = Path(__file__).parents[1] / "docs" / "deploy"
_S = TypeVar("_S", bound=Service)
_PASSWORD = "not/a secret@all"  # noqa: S105


def documented(start: str, places: Mapping[str, str]) -> list[str]:
    """Returns the first command line of docs/deploy/README.md that begins with certain words.

    Args:
        start: those words.
        places: what stands there, and what it is here.
    """
    program, *words = shlex.split(_replaced(documented_lines(start)[0], places))
    return [str(Path(sys.executable).with_name(program)), *words]


def documented_lines(start: str) -> list[str]:
    """Returns all command lines of docs/deploy/README.md that begin with certain words."""
    text = (DOCS / "README.md").read_text().replace("\\\n", " ")
    lines = re.findall(rf"^\$ ({re.escape(start)}\b.*)$", text, flags=re.MULTILINE)
    assert lines, f"docs/deploy/README.md has no line {start}"
    return lines


def documented_settings(name: str, places: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment variables of a file in docs/deploy."""
    lines = _replaced((DOCS / name).read_text(), places or {}).splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _replaced(text: str, places: Mapping[str, str]) -> str:
    missing = [place for place in places if place not in text]
    assert not missing, f"expected {missing} in: {text}"
    longest_first = sorted(places, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)) or "$^", lambda found: places[found[0]], text)


def write_certificates(folder: Path) -> dict[str, str]:
    """Makes a CA and a certificate as the documents do.

    Returns:
        The environment variables with which Dask uses them.
    """
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here: apt-get install openssl")
    for line in documented_lines("openssl"):
        subprocess.run(shlex.split(line), cwd=folder, check=True, capture_output=True)
    return documented_settings("tls.env.example", {"/etc/tune/tls": str(folder)})


class Postgres(Service):
    """A PostgreSQL server on loopback with an empty database `mlflow`, from the distribution's package.

    Args:
        folder: for its data; readable for all, because PostgreSQL refuses to be run by root.

    Attributes:
        uri: the database's address.
    """

    def __init__(self, folder: Path) -> None:
        self._programs, self._folder, self.port = _postgres_programs(), folder, free_port()
        self._owner = "postgres" if os.getuid() == 0 else None
        self.uri = f"postgresql://mlflow:not%2Fa%20secret%40all@127.0.0.1:{self.port}/mlflow"
        self._initialize()
        command = [str(self._programs / "postgres"), "-D", str(folder / "data"), "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        super().__init__(command, folder / "postgres.log", self._is_ready, user=self._owner)

    def create_database(self) -> None:
        """Makes the database once the server runs."""
        self._run("createdb", "--host", "127.0.0.1", "--port", str(self.port), "--username", "mlflow", "mlflow")

    def _initialize(self) -> None:
        word = self._folder / "password"
        word.write_text(_PASSWORD)
        if self._owner:
            for path in (self._folder, word):
                shutil.chown(path, self._owner)
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", str(word), "-E", "UTF8")

    def _is_ready(self) -> bool:
        asked = [self._programs / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(self.port)]
        return subprocess.run(asked, check=False).returncode == 0

    def _run(self, program: str, *words: str) -> None:
        account = {"user": self._owner, "group": self._owner, "extra_groups": []} if self._owner else {}
        environment = os.environ | {"PGPASSWORD": _PASSWORD, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [self._programs / program, *words],
            cwd="/",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            **account,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _postgres_programs() -> Path:
    """Debian keeps them off the path, by version."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")), Path(shutil.which("initdb") or "/nowhere")]
    if not found[0].exists():
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    return found[0].parent


class MlflowServer(Service):
    """`mlflow server` over a database, with an artifact root that only it reaches.

    Args:
        database: address of the database.
        folder: for artifacts and its log.

    Attributes:
        uri: its address, also before it is started.
    """

    def __init__(self, database: str, folder: Path) -> None:
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        command = documented("mlflow server", {"5000": str(port), "/srv/mlflow": str(folder)})
        example = "postgresql://mlflow:change-me@127.0.0.1:5432/mlflow"
        settings = documented_settings("mlflow.env.example", {example: database})
        super().__init__(command, folder / "mlflow.log", lambda: answers(f"{self.uri}/health"), settings)


class Scheduler(Service):
    """`dask scheduler`.

    Args:
        folder: for its log.
        host: where it listens.
        settings: environment variables, as for TLS.
        protocol: `tcp` or `tls`.

    Attributes:
        host: where it listens.
        address: for workers and studies, the same after a restart.
    """

    def __init__(
        self, folder: Path, host: str = "127.0.0.1", settings: Mapping[str, str] | None = None, protocol: str = "tcp"
    ) -> None:
        port, health = free_port(host), free_port()
        self.host = host
        self.address = f"{protocol}://{host}:{port}"
        start = "dask scheduler --protocol tls" if protocol == "tls" else "dask scheduler"
        command = documented(start, {"10.0.0.1": host, "8786": str(port), "127.0.0.1:8787": f"127.0.0.1:{health}"})
        super().__init__(command, folder / "scheduler.log", lambda: listens(host, port), settings)


class DaskWorker(Service):
    """`dask worker`, with images, cache and files where it is told.

    Args:
        scheduler: to whom it belongs.
        folder: for its files and its log.
        data: its copy of the images.
        settings: environment variables beside those of docs/deploy.
        namespace: a network of its own.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        folder: Path,
        data: Path,
        settings: Mapping[str, str] | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        protocol = scheduler.address.partition(":")[0]
        command = documented(
            f"dask worker {protocol}",
            {
                f"{protocol}://10.0.0.1:8786": scheduler.address,
                "10.0.0.2": namespace.address if namespace else scheduler.host,
                "/scratch/dask": str(folder / "dask"),
            },
        )
        if namespace is not None:
            command = ["ip", "netns", "exec", namespace.name, *command]
        places = {"/scratch/chest_xray": str(data), "/scratch/tune-cache": str(folder / "cache")}
        told = documented_settings("worker.env.example", places) | dict(settings or {})
        super().__init__(command, folder / "worker.log", settings=told)


class Deployment:
    """Services with a folder each, ended for sure, the last first. See `deployed`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._stack = folder, contextlib.ExitStack()

    def postgres(self) -> Postgres:
        """Starts PostgreSQL with an empty database."""
        postgres = self._started(Postgres(self._place("postgres")))
        postgres.create_database()
        return postgres

    def mlflow(self, database: str) -> MlflowServer:
        """Starts an MLflow server over a database."""
        return self._started(MlflowServer(database, self._place("mlflow")))

    def scheduler(
        self, host: str = "127.0.0.1", settings: Mapping[str, str] | None = None, protocol: str = "tcp"
    ) -> Scheduler:
        """Starts a scheduler."""
        return self._started(Scheduler(self._place("scheduler"), host, settings, protocol))

    def worker(
        self,
        scheduler: Scheduler,
        data: Path,
        settings: Mapping[str, str] | None = None,
        namespace: Namespace | None = None,
    ) -> DaskWorker:
        """Starts a worker; it is not waited for."""
        return self._started(DaskWorker(scheduler, self._place("worker"), data, settings, namespace))

    def batch_job(self, scheduler: Scheduler, settings: Mapping[str, str]) -> Service:
        """Starts docs/deploy/workers.sbatch as Slurm would."""
        folder = self._place("job")
        (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
        of_slurm = {"SCHEDULER": scheduler.address, "PROGRAM": str(folder), "SLURM_JOB_ID": "1", "TMPDIR": str(folder)}
        command = ["bash", str(DOCS / "workers.sbatch")]
        return self._started(Service(command, folder / "job.log", settings=of_slurm | dict(settings)))

    def network(self) -> Network:
        """Makes a network of its own."""
        network = Network()
        self._stack.callback(network.down)
        network.up()
        return network

    def end(self) -> None:
        """Ends everything."""
        self._stack.close()

    def _place(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def _started(self, service: _S) -> _S:
        self._stack.callback(service.kill)
        service.start()
        return service


@contextlib.contextmanager
def deployed() -> Iterator[Deployment]:
    """Yields a place to start services in; at the end of the block all are ended and their files are gone."""
    folder = Path(tempfile.mkdtemp(prefix="tune-"))
    folder.chmod(0o755)  # PostgreSQL is run by another user than root
    deployment = Deployment(folder)
    try:
        yield deployment
    finally:
        deployment.end()
        shutil.rmtree(folder, ignore_errors=True)
