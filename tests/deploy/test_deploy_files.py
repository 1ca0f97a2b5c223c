"""The files of docs/deploy start the same commands, open nothing to the network unasked, and hold no secrets."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import dask
import distributed  # noqa: F401  # makes its settings known to dask.config
import pytest
import yaml
from deployment import DOCS, documented_settings

PROGRAMS = ("dask scheduler", "dask worker", "mlflow server")
_OWN_ADDRESS = {"--host", "--protocol"}  # where a container has but one, or TLS is wished


def _commands(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Programs of a document with their options."""
    text = re.sub(r"[\[\],]", " ", re.sub(r"\\\n|\n +(?=--)", " ", text)).replace('/bin/dask"', "/bin/dask")
    for line in text.splitlines():
        for program in PROGRAMS:
            if found := re.search(rf"(?:^|[\s/]){program.replace(' ', ' +')}\b (.*)", line):
                words = shlex.split(found[1].rstrip("& "), comments=True)
                options = [number for number, word in enumerate(words) if word.startswith("--")]
                yield program, {words[number]: words[number + 1] for number in options}


def _manifests() -> list[dict[str, Any]]:
    return [part for part in yaml.safe_load_all((DOCS / "kubernetes.yaml").read_text()) if part]


FILES = ["compose.yaml", "kubernetes.yaml", "workers.sbatch", *sorted(path.name for path in DOCS.glob("*.service"))]


def _shown(program: str) -> dict[str, str]:
    """The options of a program in the page, whose lines other tests start."""
    page = re.findall(r"^\$ (.*)$", (DOCS / "README.md").read_text().replace("\\\n", " "), flags=re.MULTILINE)
    return next(options for line in page for found, options in _commands(line) if found == program)


@pytest.mark.parametrize("name", FILES)
def test_all_files_start_what_the_page_starts(name: str) -> None:
    """The same options everywhere: those of the page are the ones that tests run."""
    found = list(_commands((DOCS / name).read_text()))
    assert found
    for program, options in found:
        expected = _shown(program)
        assert set(options) - _OWN_ADDRESS == set(expected) - _OWN_ADDRESS, program
        for option in ("--nthreads", "--nworkers", "--memory-limit", "--death-timeout", "--port", "--workers"):
            assert options.get(option) == expected.get(option), option


def test_compose_opens_ports_on_loopback_alone_and_keeps_the_password_out() -> None:
    """What is open to a network, or secret, is the user's decision."""
    text = (DOCS / "compose.yaml").read_text()
    services, asked = yaml.safe_load(text)["services"], set(re.findall(r"\$\{(\w+):\?", text))
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert all(service["image"].rpartition(":")[2] for service in services.values())
    assert asked == set(re.findall(r"\$\{?(\w+)", text))
    assert asked == set(documented_settings("compose.env.example"))
    assert documented_settings("compose.env.example")["POSTGRES_PASSWORD"] == ""


def test_compose_names_only_what_it_has() -> None:
    """Services wait for services, and mount volumes, that are there."""
    document = yaml.safe_load((DOCS / "compose.yaml").read_text())
    for service in document["services"].values():
        assert set(service.get("depends_on", {})) <= set(document["services"])
        mounted = [volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith("${")]
        assert set(mounted) <= set(document["volumes"])
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in document["services"][needed]


def test_kubernetes_objects_find_each_other() -> None:
    """Selectors meet labels; the service has the port of its container; volumes are claimed or said to be yours."""
    parts = _manifests()
    labels = []
    for part in parts:
        if part["kind"] != "Deployment":
            continue
        assert part["spec"]["selector"]["matchLabels"] == part["spec"]["template"]["metadata"]["labels"]
        labels.append(part["spec"]["template"]["metadata"]["labels"])
    [service] = [part for part in parts if part["kind"] == "Service"]
    assert service["spec"]["selector"] in labels
    assert service["metadata"]["name"] in (DOCS / "kubernetes.yaml").read_text().split("tcp://")[1]
    for part in parts:
        pod = part["spec"].get("template", {}).get("spec")
        if pod:
            mounts = [mount["name"] for box in pod["containers"] for mount in box.get("volumeMounts", [])]
            assert set(mounts) == {volume["name"] for volume in pod.get("volumes", [])}


def test_settings_of_dask_are_ones_that_it_knows() -> None:
    """A misspelt name would leave TLS off without a word."""
    for name in documented_settings("tls.env.example"):
        dask.config.get(name.removeprefix("DASK_").lower().replace("__", "."))  # KeyError otherwise


def test_scripts_are_shell() -> None:
    """The batch script parses."""
    assert subprocess.run(["bash", "-n", str(DOCS / "workers.sbatch")], check=False).returncode == 0
